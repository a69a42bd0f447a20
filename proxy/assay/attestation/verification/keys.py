"""A trust root's keys, loaded: which authorities and logs there are, when each may speak, and what they vouched for.

Owns the lookup by exact identity. The reference treats a log id as a hint and tries every key; here an id that the root
doesn't list is unknown, and a key outside its validity window vouches for nothing.

The memo: certificate chain and SCT are the same for every file of a release and cost more than all other checks, so
their success is remembered, per trust root, by the SHA-256 of the certificate's DER. Only what was verified enters it;
a hit counts only while every certificate of the chain is valid at the time asked about; nothing else is remembered.
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
"""Certificates, about 1 kB each, per trust root and worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransparencyLog:
    """A transparency log's one key."""

    name: str
    keyring: sigstore_private.Keyring
    start: datetime
    end: datetime | None
    fingerprint: str
    """SHA-256 of its entry in the trust root: changes when anything about it does."""

    def check_validity(self, time: datetime, step: str) -> None:
        """The key may speak for `time`.

        Raises:
            CheckFailed: it may not.
        """
        if time < self.start or (self.end is not None and time > self.end):
            window = f"{self.start.isoformat()} to {self.end.isoformat() if self.end else 'now'}"
            raise CheckFailed(step, f"a time at which the key of {self.name} is valid ({window})", time.isoformat())


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedChain:
    """An authority and a CT log stand behind a certificate, between these times."""

    start: datetime
    end: datetime
    material: tuple[str, ...]
    """Fingerprints of the authority and of the CT log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CertificateAuthority:
    certificates: frozenset[bytes]
    start: datetime
    end: datetime | None
    fingerprint: str


class TrustedKeys:
    """Everything that one trusted_root.json lets us check. Not for several threads at once."""

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
        """Whether the certificate names one of this root's authorities, or names none."""
        return certificate.authority_key_id is None or certificate.authority_key_id in self._key_ids

    def verify_chain(self, certificate: SigningCertificate, fingerprint: str, time: datetime) -> VerifiedChain:
        """Steps (1) and (2): an authority and a CT log of this root stand behind the certificate at `time`.

        Args:
            certificate: the leaf.
            fingerprint: SHA-256 of its DER, hexadecimal.
            time: the integrated time.

        Raises:
            CheckFailed: they don't.
            UnknownMaterial: a CT log that this root doesn't list.
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
            raise CheckFailed("certificate chain", "a chain to an authority of the trust root", error) from error
        authority = self._find_authority(chain, time)
        # (2): Verify the signing certificate's SCT.
        log = self._find_ct_log(certificate)
        try:
            sigstore_private.verify_embedded_sct(certificate.x509, chain, log.keyring)
        except SigstoreError as error:
            raise CheckFailed("certificate timestamp", f"an SCT signed by {log.name}", error) from error
        ends = [one.not_valid_after_utc for one in (certificate.x509, *chain)]
        return VerifiedChain(
            start=max(one.not_valid_before_utc for one in (certificate.x509, *chain)),
            end=min(ends if authority.end is None else [*ends, authority.end]),
            material=(authority.fingerprint, log.fingerprint),
        )

    def _find_authority(self, chain: list[x509.Certificate], time: datetime) -> _CertificateAuthority:
        """The authority that the chain ends in; the reference reads no authority's `validFor`."""
        issuer = chain[0].public_bytes(Encoding.DER)
        listed = [one for one in self._authorities if issuer in one.certificates]
        for authority in listed:
            if authority.start <= time and (authority.end is None or time <= authority.end):
                return authority
        windows = ", ".join(f"{one.start.isoformat()} to {one.end or 'now'}" for one in listed)
        raise CheckFailed("certificate chain", f"a time at which the authority is valid ({windows})", time.isoformat())

    def _find_ct_log(self, certificate: SigningCertificate) -> TransparencyLog:
        stamps = certificate.scts
        if len(stamps) != 1:
            raise CheckFailed("certificate timestamp", "exactly one embedded SCT", f"{len(stamps)}")
        log = self._ct_logs.get(stamps[0].log_id)
        if log is None:
            raise UnknownMaterial(f"CT log {stamps[0].log_id.hex()} is not in the trust root")
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
    """The keys in a trusted_root.json, loaded once for each content.

    Raises:
        ConfigurationError: it is none, or has no authority or log in it.
        PrivateApiChangedError: the installed sigstore is not the one that was read.
    """
    sigstore_private.require_known_version()
    try:
        return TrustedKeys(content)
    except (ValueError, SigstoreError) as error:
        raise ConfigurationError(f"trust root: expected a Sigstore trusted_root.json, found {error}") from error
