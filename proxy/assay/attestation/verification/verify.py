"""The verification of a provenance document: any bytes to evidence.

`verify` is total: whatever the bytes, it returns evidence. It raises only what is a failure of ours: no memory, or a
trust root that doesn't load.

The steps carry the numbers that sigstore gives them (`sigstore.verify.Verifier`):

- (0) establish a time for the signature: the log's integrated time, which (5) proves
- (1) the signing certificate chains to the root of trust and was valid at that time
- (2) its SCT is by a CT log that the root lists
- (3) it conforms to Sigstore's profile, its claims agree with each other, with the index's publisher block, and with
  the issuers that the root may speak for
- (4) inclusion proof and signed checkpoint of the log entry
- (5) its inclusion promise (SET)
- (6) the integrated time lies within the certificate's validity
- (7) the envelope's signature is by the certificate's key
- (8) the log entry's body is about this envelope and this certificate
- (9) the statement is about this file, and its predicate agrees with the certificate

What needs no root comes first, so that a document which contradicts itself is forged whatever the root knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from assay.attestation.trust_roots import TrustRoot
from assay.attestation.verification import sigstore_private
from assay.attestation.verification.certificate import SigningCertificate, load_certificate
from assay.attestation.verification.claims import check_publisher, read_claims
from assay.attestation.verification.document import (
    PublisherBlock,
    SignedStatement,
    UnknownPublisher,
    read_attestation,
    read_document,
)
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial, abbreviate_value
from assay.attestation.verification.keys import load_keys
from assay.attestation.verification.log_entry import LogEntry, check_body, read_entry
from assay.attestation.verification.statement import Statement, check_predicate, check_subject, read_statement
from assay.errors import ConfigurationError, PrivateApiChangedError
from assay.evidence import Attestation, Attested, Claims, Evidence, Forged, Slsa, Unattested, Unverifiable
from assay.simple.model import File

_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_ECDSA: Final = ec.ECDSA(Prehashed(hashes.SHA256()))
_MAX_CACHED_SIGNERS: Final = 64
"""Leaves remembered, of at most 16 kB (`MAX_CERTIFICATE_BYTES`)."""


def verify(provenance: bytes, file: File, roots: Sequence[TrustRoot]) -> Evidence:
    """What `provenance` proves about `file`.

    Args:
        provenance: the document as the index serves it; hostile.
        file: its filename and SHA-256 are what the statements must name.
        roots: tried in order for each attestation; each speaks for its own issuers only.

    Returns:
        `Forged` when any attestation is; else `Attested` with those that verified; else `Unverifiable`, with the
        reasons; `Unattested` where there is no attestation at all.
    """
    try:
        bundles = read_document(provenance)
    except Exception as error:  # noqa: BLE001 - see `_failure_to_evidence`
        return _failure_to_evidence(error)
    proven: list[Attestation] = []
    unknown: list[str] = []
    for position, bundle in enumerate(bundles):
        for listed in bundle.attestations:
            match verify_attestation(listed, bundle.publisher, file, roots, bundle=position):
                case Attestation() as attestation:
                    proven.append(attestation)
                case Unverifiable(reason=reason):
                    unknown.append(reason)
                case Forged() as forged:
                    return forged
    if proven:
        return Attested(attestations=tuple(proven), ignored=tuple(unknown))
    return Unverifiable(reason="; ".join(dict.fromkeys(unknown))) if unknown else Unattested()


def verify_attestation(
    value: object, publisher: PublisherBlock | None, file: File, roots: Sequence[TrustRoot], *, bundle: int = 0
) -> Attestation | Forged | Unverifiable:
    """One attestation object, as JSON values. `publisher`: None where nobody claims to know who signed."""
    try:
        return _verify_or_raise(value, publisher, file, roots, bundle)
    except Exception as error:  # noqa: BLE001 - see `_failure_to_evidence`
        return _failure_to_evidence(error)


def _failure_to_evidence(error: Exception) -> Forged | Unverifiable:
    """Turn a check that stopped into evidence: any exception but our own means `Forged`, with its reason.

    Raises:
        MemoryError: there is none left.
        ConfigurationError: a trust root doesn't load.
        PrivateApiChangedError: the installed sigstore is not the one that was read.
    """
    match error:
        case CheckFailed(step=step, expected=expected, found=found):
            return Forged(step=step, expected=expected, found=found)
        case UnknownMaterial(reason=reason):
            return Unverifiable(reason=reason)
        case MemoryError() | ConfigurationError() | PrivateApiChangedError():
            raise error
        case _:
            found = abbreviate_value(f"{type(error).__name__}: {error}")
            return Forged(step="verification", expected="an attestation that can be verified", found=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ConsistentAttestation:
    """An attestation that agrees with itself, the file and the index; nobody vouches for it yet."""

    certificate: SigningCertificate
    fingerprint: str
    claims: Claims
    statement: Statement
    entry: LogEntry


def _verify_or_raise(
    value: object, publisher: PublisherBlock | None, file: File, roots: Sequence[TrustRoot], bundle: int
) -> Attestation:
    signed = read_attestation(value)
    consistent = _check_consistency(signed, publisher, file)
    slsa, unknown = _check_predicate(consistent)
    root, material = _verify_against_roots(consistent, roots)
    if isinstance(publisher, UnknownPublisher):
        raise UnknownMaterial(f"publisher kind {publisher.kind}")
    if unknown is not None:
        raise unknown
    certificate = consistent.certificate.x509
    return Attestation(
        trust_root=root.name,
        bundle=bundle,
        predicate_type=consistent.statement.predicate_type,
        claims=consistent.claims,
        integrated_time=consistent.entry.integrated_time,
        log_index=consistent.entry.log_index,
        certificate=consistent.fingerprint,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        slsa=slsa,
        subject=consistent.statement.subject,
        material=material,
    )


def _check_consistency(signed: SignedStatement, publisher: PublisherBlock | None, file: File) -> _ConsistentAttestation:
    # (3): Verify the signing certificate against the Sigstore X.509 profile, and its claims against the index's.
    signer = _load_signer(signed.certificate)
    certificate, claims = signer.certificate, signer.claims
    if publisher is not None and not isinstance(publisher, UnknownPublisher):
        check_publisher(publisher, claims)
    # (7): Verify the envelope's signature against the signing certificate's public key.
    _check_signature(certificate, signed)
    # (9): The statement is about this file. Parsed only after its signature is known to be good.
    statement = read_statement(signed.statement)
    check_subject(statement, file)
    # (0): Establish a time for the signature. (4), first half: the log's tree contains the entry.
    entry = read_entry(signed.log_entry)
    # (6): Verify the timely insertion of the log entry against the validity period of the signing certificate.
    start, end = certificate.x509.not_valid_before_utc, certificate.x509.not_valid_after_utc
    if not start <= entry.integrated_time <= end:
        window = f"a time within the certificate's validity ({start.isoformat()} to {end.isoformat()})"
        raise CheckFailed("log time", window, entry.integrated_time.isoformat())
    # (8): Verify the log entry's body against the other materials.
    check_body(entry, signed)
    return _ConsistentAttestation(
        certificate=certificate,
        fingerprint=signer.fingerprint,
        claims=claims,
        statement=statement,
        entry=entry,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signer:
    """What a leaf says by itself."""

    certificate: SigningCertificate
    claims: Claims
    fingerprint: str


@lru_cache(maxsize=_MAX_CACHED_SIGNERS)
def _load_signer(der: bytes) -> _Signer:
    """Read once for all files that it signed, which are one release's; a refusal is not remembered.

    Raises:
        CheckFailed: no leaf by Sigstore's profile, or it contradicts itself.
        UnknownMaterial: of a name that cannot be compared.
    """
    certificate = load_certificate(der)
    claims = read_claims(certificate)
    return _Signer(certificate=certificate, claims=claims, fingerprint=hashlib.sha256(der).hexdigest())


def _check_signature(certificate: SigningCertificate, signed: SignedStatement) -> None:
    content = signed.statement
    # DSSE's pre-authentication encoding; PEP 740 fixes the payload type.
    encoded = f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(content)} ".encode() + content
    try:
        certificate.key.verify(signed.signature, hashlib.sha256(encoded).digest(), _ECDSA)
    except InvalidSignature as error:
        expected = "a signature of the statement by the certificate's key"
        raise CheckFailed("signature", expected, "another signature") from error


def _check_predicate(consistent: _ConsistentAttestation) -> tuple[Slsa | None, UnknownMaterial | None]:
    """(9) An unknown predicate is found out last, so that what is broken besides is said to be broken."""
    try:
        return check_predicate(consistent.statement, consistent.claims), None
    except UnknownMaterial as unknown:
        return None, unknown


def _verify_against_roots(
    consistent: _ConsistentAttestation, roots: Sequence[TrustRoot]
) -> tuple[TrustRoot, tuple[str, ...]]:
    """The first root that vouches for the attestation, and which of its entries did."""
    refusals: list[CheckFailed | UnknownMaterial] = []
    for root in roots:
        try:
            return root, _verify_against_root(consistent, root)
        except (CheckFailed, UnknownMaterial) as refusal:
            refusals.append(refusal)
    broken = next((one for one in refusals if isinstance(one, CheckFailed)), None)
    if broken is not None:
        raise broken
    reasons = dict.fromkeys(one.reason for one in refusals if isinstance(one, UnknownMaterial))
    raise UnknownMaterial("; ".join(reasons) or "there is no trust root for this index")


def _verify_against_root(consistent: _ConsistentAttestation, root: TrustRoot) -> tuple[str, ...]:
    keys = load_keys(root.content)
    entry, certificate = consistent.entry, consistent.certificate
    if not keys.knows_issuer(certificate):
        raise UnknownMaterial(f"the certificate's authority is not in the trust root {root.name}")
    log = keys.logs.get(entry.log_id)
    if log is None:
        raise UnknownMaterial(f"transparency log {entry.log_id.hex()} is not in the trust root {root.name}")
    # (3): a root speaks for its own issuers only, whatever its authority signs.
    if root.issuers is not None and consistent.claims.issuer not in root.issuers:
        allowed = ", ".join(sorted(root.issuers)) or "none"
        raise CheckFailed(
            "issuer", f"one that the trust root {root.name} may speak for: {allowed}", consistent.claims.issuer
        )
    # (1), (2): certificate chain and SCT.
    vouched = keys.verify_chain(certificate, consistent.fingerprint, entry.integrated_time)
    log.check_validity(entry.integrated_time, "log key")
    # (4), second half: the log signed the checkpoint.
    signature = entry.checkpoint.find_signature(entry.log_id)
    if signature is None or not sigstore_private.is_signed_by(
        log.keyring, entry.log_id, signature, entry.checkpoint.note
    ):
        found = "no signature of it" if signature is None else "a signature by another key, or of another text"
        raise CheckFailed("checkpoint", f"a checkpoint signed by {log.name}", found)
    # (5): Verify the inclusion promise for the log entry.
    if not sigstore_private.is_signed_by(
        log.keyring, entry.log_id, entry.signed_entry_timestamp, entry.signed_entry_payload
    ):
        found = "a signature by another key, or of another entry, index or time"
        raise CheckFailed("inclusion promise", f"a signed entry timestamp by {log.name}", found)
    return (*vouched.material, log.fingerprint)
