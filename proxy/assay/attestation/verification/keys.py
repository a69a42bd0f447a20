"""Loaded keys of a trust root: its authorities and logs with their validity periods, and a cache of verified chains.

Logs are looked up by their exact id. A log id that the trust root does not list is unknown. A key is rejected outside
its validity period. The reference implementation, in contrast, treats a log id as a hint and tries every key.

All files of a release have the same certificate chain and SCT. Verifying these two costs more than all other checks
together. Each trust root therefore has a cache of verified chains, by the SHA-256 of the leaf's DER. Failures are not
cached. A cached chain is used only if two conditions hold at the time of the signature: all certificates of the chain
are valid, and so is the trust root's entry of the authority.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sigstore.errors import Error as SigstoreError
from sigstore.verify import Verifier
from sigstore_models.common.v1 import TimeRange
from sigstore_models.trustroot.v1 import TransparencyLogInstance
from sigstore_models.trustroot.v1 import TrustedRoot as WireTrustedRoot

from assay.attestation.trust_roots import fingerprint_entry
from assay.attestation.verification import sigstore_private
from assay.attestation.verification.certificate import SigningCertificate
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.caching.lru import Lru
from assay.errors import ConfigurationError

MAX_CACHED_CERTIFICATES: Final = 4096
"""Maximum number of verified chains in memory, for each trust root in each worker process. A chain takes about 1 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransparencyLog:
    """Public key of a transparency log or CT log, with the key's validity period."""

    name: str
    keyring: sigstore_private.Keyring
    start: datetime
    end: datetime | None
    fingerprint: str
    """SHA-256 of the log's entry in the trust root, hexadecimal. It changes if any part of the entry changes."""

    def check_validity(self, time: datetime, step: str) -> None:
        """Check that the key is valid at `time`.

        Args:
            time: time of the signature.
            step: name of the check, for the error.

        Raises:
            CheckFailed: `time` is outside the key's validity period.
        """
        if time < self.start or (self.end is not None and time > self.end):
            window = f"{self.start.isoformat()} to {self.end.isoformat() if self.end else 'now'}"
            expected = f"a signature made while the key of {self.name} is valid ({window})"
            raise CheckFailed(step, expected, f"a signature made at {time.isoformat()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedChain:
    """Result of verifying a certificate's chain and SCT. It holds for signatures from `start` to `end`."""

    start: datetime
    end: datetime
    material: tuple[str, ...]
    """Fingerprints of the authority and of the CT log that vouch for the certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CertificateAuthority:
    certificates: frozenset[bytes]
    start: datetime
    end: datetime | None
    fingerprint: str


class TrustedKeys:
    """Keys of one trusted_root.json, and the checks that use the keys. Not thread-safe."""

    def __init__(self, content: bytes) -> None:
        root = WireTrustedRoot.from_json(content)
        listed = json.loads(content)
        self._verifier: Verifier = sigstore_private.create_verifier(root)
        self._authorities = [
            _CertificateAuthority(
                certificates=frozenset(one.raw_bytes for one in authority.cert_chain.certificates),
                start=authority.valid_for.start,
                end=authority.valid_for.end,
                fingerprint=fingerprint_entry(entry),
            )
            for authority, entry in zip(root.certificate_authorities, listed["certificateAuthorities"], strict=True)
        ]
        self._key_ids = {
            identifier
            for authority in root.certificate_authorities
            for one in authority.cert_chain.certificates
            if (identifier := _get_subject_key_id(x509.load_der_x509_certificate(one.raw_bytes))) is not None
        }
        self.logs = _index_logs(root.tlogs, listed["tlogs"])
        self._ct_logs = _index_logs(root.ctlogs, listed["ctlogs"])
        self._verified_chains = Lru[str, VerifiedChain](max_items=MAX_CACHED_CERTIFICATES)

    def knows_issuer(self, certificate: SigningCertificate) -> bool:
        """Return True if the key that signed the certificate belongs to an authority of this trust root.

        Also return True if the certificate does not identify this key.
        """
        return certificate.authority_key_id is None or certificate.authority_key_id in self._key_ids

    def verify_chain(self, certificate: SigningCertificate, fingerprint: str, time: datetime) -> VerifiedChain:
        """Verify that an authority and a CT log of the trust root vouch for a certificate.

        These are the checks 1 and 2 of `verify`. A successful result is cached.

        Args:
            certificate: the leaf certificate.
            fingerprint: SHA-256 of the leaf certificate's DER, hexadecimal.
            time: integrated time of the log entry, at which the whole chain must be valid.

        Raises:
            CheckFailed: the chain or the SCT does not verify, or is not valid at `time`.
            UnknownMaterial: the SCT names a CT log that this trust root does not list.
        """
        known = self._verified_chains.get(fingerprint)
        if known is not None and known.start <= time <= known.end:
            return known
        vouched = self._verify_chain(certificate, time)
        self._verified_chains.put(fingerprint, vouched)
        return vouched

    def _verify_chain(self, certificate: SigningCertificate, time: datetime) -> VerifiedChain:
        # (1): Verify that the signing certificate chains to the root of trust and is valid at the time of signing.
        try:
            chain = sigstore_private.verify_chain(self._verifier, certificate.x509, time)
        except SigstoreError as error:
            raise CheckFailed(
                "certificate chain", "a certificate chain to an authority of the trust root", error
            ) from error
        authority = self._find_authority(chain, time)
        # (2): Verify the signing certificate's SCT.
        log = self._find_ct_log(certificate)
        try:
            sigstore_private.verify_embedded_sct(certificate.x509, chain, log.keyring)
        except SigstoreError as error:
            raise CheckFailed(
                "certificate timestamp", f"a signed certificate timestamp (SCT) by {log.name}", error
            ) from error
        ends = [one.not_valid_after_utc for one in (certificate.x509, *chain)]
        return VerifiedChain(
            start=max(authority.start, *(one.not_valid_before_utc for one in (certificate.x509, *chain))),
            end=min(ends if authority.end is None else [*ends, authority.end]),
            material=(authority.fingerprint, log.fingerprint),
        )

    def _find_authority(self, chain: list[x509.Certificate], time: datetime) -> _CertificateAuthority:
        """Return the trust root's entry for the authority that issued the leaf certificate.

        The entry's validity period (`validFor`) must contain `time`. The reference implementation does not check this.

        Raises:
            CheckFailed: no entry of the authority is valid at `time`.
        """
        issuer = chain[0].public_bytes(Encoding.DER)
        listed = [one for one in self._authorities if issuer in one.certificates]
        for authority in listed:
            if authority.start <= time and (authority.end is None or time <= authority.end):
                return authority
        windows = ", ".join(f"{one.start.isoformat()} to {one.end or 'now'}" for one in listed)
        expected = f"a signature made while the authority is valid ({windows})"
        raise CheckFailed("certificate chain", expected, f"a signature made at {time.isoformat()}")

    def _find_ct_log(self, certificate: SigningCertificate) -> TransparencyLog:
        stamps = certificate.scts
        if len(stamps) != 1:
            raise CheckFailed(
                "certificate timestamp",
                "exactly one embedded signed certificate timestamp (SCT)",
                f"{len(stamps)} SCTs",
            )
        log = self._ct_logs.get(stamps[0].log_id)
        if log is None:
            raise UnknownMaterial(f"the CT log {stamps[0].log_id.hex()} is not in the trust root")
        log.check_validity(stamps[0].timestamp.replace(tzinfo=UTC), "certificate timestamp")
        return log


def _index_logs(listed_logs: list[TransparencyLogInstance], entries: list[object]) -> dict[bytes, TransparencyLog]:
    logs: dict[bytes, TransparencyLog] = {}
    for one, entry in zip(listed_logs, entries, strict=True):
        keyring = sigstore_private.create_keyring(one.public_key)
        window: TimeRange | None = one.public_key.valid_for
        if keyring is not None:
            logs[one.log_id.key_id] = TransparencyLog(
                name=one.base_url,
                keyring=keyring,
                start=window.start if window else datetime.min.replace(tzinfo=UTC),
                end=window.end if window else None,
                fingerprint=fingerprint_entry(entry),
            )
    return logs


def _get_subject_key_id(certificate: x509.Certificate) -> bytes | None:
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectKeyIdentifier):
            return extension.value.digest
    return None


@lru_cache(maxsize=16)
def load_keys(content: bytes) -> TrustedKeys:
    """Return the keys of a trusted_root.json. The result is cached by the content.

    Raises:
        ConfigurationError: the content is not a valid trusted_root.json.
        PrivateApiChangedError: the installed sigstore differs from the supported version.
    """
    sigstore_private.require_known_version()
    try:
        return TrustedKeys(content)
    except (ValueError, SigstoreError) as error:
        raise ConfigurationError(
            f"trust root: expected a valid Sigstore trusted_root.json, found an error: {error}"
        ) from error
