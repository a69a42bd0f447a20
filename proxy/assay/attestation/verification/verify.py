"""Verification of a document, which returns evidence for any input bytes.

There are two formats of documents: `verify` takes a provenance document (PEP 740), and `verify_bundles` takes a list of
Sigstore bundles. Both functions make the same checks. They raise an exception only for failures of Assay itself: no
memory, an invalid trust root, or an unsupported version of sigstore.

The checks have the same numbers as in sigstore (`sigstore.verify.Verifier`):

- (0) The signature has a time: the integrated time of the log entry, which (5) proves.
- (1) The signing certificate chains to an authority of the trust root and was valid at that time.
- (2) A CT log of the trust root signed the certificate's SCT.
- (3) The certificate conforms to Sigstore's profile. Its claims agree with each other and with the index's publisher
  block. The settings permit the trust root to vouch for the OIDC issuer in the certificate.
- (4) The inclusion proof and the signed checkpoint of the log entry are valid.
- (5) The inclusion promise (signed entry timestamp, SET) of the log entry is valid.
- (6) The integrated time lies within the certificate's validity period.
- (7) The certificate's key verifies the signature of the envelope.
- (8) The body of the log entry records this envelope and this certificate.
- (9) The statement names this file, and its predicate agrees with the certificate.

Checks that need no trust root run first. So a document that contradicts itself is forged even if the trust root does
not contain the certificate's authority.

The formats differ in what a failure means. A forged attestation of a provenance document makes the file forged. A
bundle that fails a check is rejected: it does not count, and has no effect on the other bundles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypedDict

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from assay.attestation.trust_roots import TrustKey, TrustRoot
from assay.attestation.verification import sigstore_private
from assay.attestation.verification.certificate import CERTIFICATE_KEY_STEP, SigningCertificate, load_certificate
from assay.attestation.verification.claims import check_publisher, read_claims
from assay.attestation.verification.document import (
    IN_TOTO_PAYLOAD_TYPE,
    PublisherBlock,
    SignedStatement,
    UnknownPublisher,
    encode_envelope,
    read_attestation,
    read_document,
)
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial, abbreviate_value
from assay.attestation.verification.keys import load_keys
from assay.attestation.verification.log_entry import LogEntry, check_body, read_entry
from assay.attestation.verification.public_keys import verify_key_signature
from assay.attestation.verification.sigstore_bundle import KeySignedEnvelope, read_bundle, read_bundle_list
from assay.attestation.verification.statement import (
    Statement,
    check_predicate,
    check_subject,
    read_bundle_statement,
    read_statement,
    write_predicate,
)
from assay.errors import ConfigurationError, PrivateApiChangedError
from assay.evidence import (
    PROVENANCE_PREDICATE_TYPES,
    Attestation,
    Attested,
    Claims,
    Evidence,
    Forged,
    KeyStatement,
    LogIdentity,
    Rejection,
    Slsa,
    Unattested,
    Unverifiable,
)
from assay.ports import DocumentFormat
from assay.simple.model import File

_ECDSA: Final = ec.ECDSA(Prehashed(hashes.SHA256()))
_MAX_CACHED_SIGNERS: Final = 64
"""Maximum number of parsed leaf certificates in memory. Each has at most 16 KiB of DER (`MAX_CERTIFICATE_BYTES`)."""


def verify(provenance: bytes, file: File, roots: Sequence[TrustRoot]) -> Evidence:
    """Return the evidence that a provenance document gives about a file.

    Args:
        provenance: the document as the index serves it; untrusted.
        file: the file. The signed statements must name its filename and its SHA-256.
        roots: trust roots, tried in order for each attestation. Each vouches only for its own issuers.

    Returns:
        `Forged` if any attestation is forged; else `Attested` if any attestation verified; else `Unverifiable` with the
        reasons. `Unattested` if the document contains no attestation.

    Raises:
        MemoryError: no memory is left.
        ConfigurationError: a trust root is invalid.
        PrivateApiChangedError: the installed sigstore differs from the supported version.
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


def verify_bundles(bundles: bytes, file: File, roots: Sequence[TrustRoot], keys: Sequence[TrustKey] = ()) -> Evidence:
    """Return the evidence that a list of Sigstore bundles gives about a file.

    Args:
        bundles: the JSON list as the evidence source offers it; untrusted.
        file: the file. A signed statement must have its SHA-256 as the digest of exactly one subject. The last part of
            that subject's path must be its filename.
        roots: trust roots, tried in order for each bundle. Each vouches only for its own issuers.
        keys: public keys, for bundles without a certificate.

    Returns:
        `Attested` if any bundle verified; else `Unverifiable` with the reasons why bundles do not count, or why the
        list cannot be read; else `Unattested`. The result is never `Forged`: it contains the bundles that failed a
        check as rejections.

    Raises:
        MemoryError: no memory is left.
        ConfigurationError: a trust root is invalid.
        PrivateApiChangedError: the installed sigstore differs from the supported version.
    """
    try:
        listed = read_bundle_list(bundles)
    except UnknownMaterial as error:
        return Unverifiable(reason=error.reason)
    proven: list[Attestation] = []
    unknown: list[str] = []
    rejected: list[Rejection] = []
    stated: list[KeyStatement] = []
    for position, value in enumerate(listed):
        match verify_bundle(value, file, roots, keys, position=position):
            case Attestation() as attestation:
                proven.append(attestation)
            case KeyStatement() as statement:
                stated.append(statement)
            case Unverifiable(reason=reason):
                unknown.append(reason)
            case Rejection() as rejection:
                rejected.append(rejection)
    others: _Others = {"rejected": tuple(rejected), "key_statements": tuple(stated)}
    if proven:
        return Attested(attestations=tuple(proven), ignored=tuple(unknown), **others)
    if unknown:
        return Unverifiable(reason="; ".join(dict.fromkeys(unknown)), **others)
    return Unattested(**others)


def verify_bundle(
    value: object, file: File, roots: Sequence[TrustRoot], keys: Sequence[TrustKey] = (), *, position: int = 0
) -> Attestation | KeyStatement | Rejection | Unverifiable:
    """Verify one Sigstore bundle; return the attestation or statement, or why the bundle does not count.

    Args:
        value: the bundle as parsed JSON; untrusted.
        file: the file that the bundle must be about.
        roots: trust roots, tried in order.
        keys: public keys, tried in order if the bundle has no certificate.
        position: position of the bundle in its list, from 0.

    Raises:
        MemoryError: no memory is left.
        ConfigurationError: a trust root is invalid.
        PrivateApiChangedError: the installed sigstore differs from the supported version.
    """
    try:
        signed = read_bundle(value)
        if isinstance(signed, KeySignedEnvelope):
            return verify_key_signature(signed, file, keys, position)
        return _verify_or_raise(signed, None, file, roots, bundle=position, document_format=DocumentFormat.BUNDLES)
    except Exception as error:  # noqa: BLE001 - see `_failure_to_evidence`
        match _failure_to_evidence(error):
            case Forged(step=step, found=found) if step == CERTIFICATE_KEY_STEP:
                # PEP 740 permits only ECDSA P-256; Sigstore permits other keys.
                return Unverifiable(reason=f"unsupported key in the certificate: {found}")
            case Forged(step=step, expected=expected, found=found):
                return Rejection(step=step, expected=expected, found=found, bundle=position)
            case unverifiable:
                return unverifiable


class _Others(TypedDict):
    """Parts of evidence from bundles beside the attestations."""

    rejected: tuple[Rejection, ...]
    key_statements: tuple[KeyStatement, ...]


def verify_attestation(
    value: object, publisher: PublisherBlock | None, file: File, roots: Sequence[TrustRoot], *, bundle: int = 0
) -> Attestation | Forged | Unverifiable:
    """Verify one attestation object; return the attestation, or the evidence that it is forged or unverifiable.

    Args:
        value: the attestation object as parsed JSON; untrusted.
        publisher: the index's publisher block; None if the attestation has no such block.
        file: the file that the attestation must name.
        roots: trust roots, tried in order.
        bundle: position of the attestation's bundle in the document, from 0.

    Raises:
        MemoryError: no memory is left.
        ConfigurationError: a trust root is invalid.
        PrivateApiChangedError: the installed sigstore differs from the supported version.
    """
    try:
        return _verify_or_raise(
            read_attestation(value), publisher, file, roots, bundle=bundle, document_format=DocumentFormat.PROVENANCE
        )
    except Exception as error:  # noqa: BLE001 - see `_failure_to_evidence`
        return _failure_to_evidence(error)


def _failure_to_evidence(error: Exception) -> Forged | Unverifiable:
    """Return the evidence for an exception that ended the checks; raise the exception again if Assay itself failed.

    An unexpected exception becomes `Forged`, because only hostile input should cause it.

    Raises:
        MemoryError: no memory is left.
        ConfigurationError: a trust root is invalid.
        PrivateApiChangedError: the installed sigstore differs from the supported version.
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
            return Forged(
                step="verification", expected="an attestation without content that causes an error", found=found
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ConsistentAttestation:
    """Attestation whose parts agree with each other, with the file and with the index.

    No trust root has been tried yet.
    """

    certificate: SigningCertificate
    fingerprint: str
    claims: Claims
    statement: Statement
    unbound: UnknownMaterial | None
    """The exception to raise after all other checks, if the statement of a bundle is not bound to the file by name."""
    entry: LogEntry


def _verify_or_raise(
    signed: SignedStatement,
    publisher: PublisherBlock | None,
    file: File,
    roots: Sequence[TrustRoot],
    *,
    bundle: int,
    document_format: DocumentFormat,
) -> Attestation:
    consistent = _check_consistency(signed, publisher, file, document_format)
    slsa, unknown = _check_predicate(consistent, document_format)
    root, material, log = _verify_against_roots(consistent, roots)
    if isinstance(publisher, UnknownPublisher):
        raise UnknownMaterial(f"unknown publisher kind {publisher.kind}")
    for each in (consistent.unbound, unknown):
        if each is not None:
            raise each
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
        log=log,
        predicate=None
        if consistent.statement.predicate_type in PROVENANCE_PREDICATE_TYPES
        else write_predicate(consistent.statement),
    )


def _check_consistency(
    signed: SignedStatement, publisher: PublisherBlock | None, file: File, document_format: DocumentFormat
) -> _ConsistentAttestation:
    # (3): Check the signing certificate against Sigstore's X.509 profile, and its claims against the publisher block.
    signer = _load_signer(signed.certificate)
    certificate, claims = signer.certificate, signer.claims
    if publisher is not None and not isinstance(publisher, UnknownPublisher):
        check_publisher(publisher, claims)
    # (7): Verify the envelope's signature against the signing certificate's public key.
    _check_signature(certificate, signed)
    # (9): Check that the statement names this file. It is parsed only after its signature has verified.
    statement, unbound = _read_statement(signed.statement, file, document_format)
    # (0): Establish a time for the signature. (4), first half: verify that the log's tree contains the entry.
    entry = read_entry(signed.log_entry)
    # (6): Verify the timely insertion of the log entry against the validity period of the signing certificate.
    start, end = certificate.x509.not_valid_before_utc, certificate.x509.not_valid_after_utc
    if not start <= entry.integrated_time <= end:
        window = f"an integrated time within the certificate's validity ({start.isoformat()} to {end.isoformat()})"
        raise CheckFailed("log time", window, entry.integrated_time.isoformat())
    # (8): Verify the log entry's body against the other materials.
    check_body(entry, signed)
    return _ConsistentAttestation(
        certificate=certificate,
        fingerprint=signer.fingerprint,
        claims=claims,
        statement=statement,
        unbound=unbound,
        entry=entry,
    )


def _read_statement(
    raw: bytes, file: File, document_format: DocumentFormat
) -> tuple[Statement, UnknownMaterial | None]:
    """Parse a statement and check that it is about the file, as `read_bundle_statement` describes.

    Raises:
        CheckFailed: the statement is malformed or about another file.
        UnknownMaterial: the statement cannot be about a file with this name and digest.
    """
    if document_format is DocumentFormat.BUNDLES:
        return read_bundle_statement(raw, file)
    statement = read_statement(raw)
    check_subject(statement, file)
    return statement, None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signer:
    """Parsed leaf certificate, with the claims in it and the SHA-256 of its DER."""

    certificate: SigningCertificate
    claims: Claims
    fingerprint: str


@lru_cache(maxsize=_MAX_CACHED_SIGNERS)
def _load_signer(der: bytes) -> _Signer:
    """Parse a leaf certificate and its claims. The result is cached for the other files of a release; errors are not.

    Raises:
        CheckFailed: the certificate violates Sigstore's profile, or its parts contradict each other.
        UnknownMaterial: the Subject Alternative Name is neither a URI nor an e-mail address.
    """
    certificate = load_certificate(der)
    claims = read_claims(certificate)
    return _Signer(certificate=certificate, claims=claims, fingerprint=hashlib.sha256(der).hexdigest())


def _check_signature(certificate: SigningCertificate, signed: SignedStatement) -> None:
    encoded = encode_envelope(IN_TOTO_PAYLOAD_TYPE, signed.statement)
    try:
        certificate.key.verify(signed.signature, hashlib.sha256(encoded).digest(), _ECDSA)
    except InvalidSignature as error:
        expected = "a signature of the statement by the key in the certificate"
        raise CheckFailed("signature", expected, "a signature that does not verify with this key") from error


def _check_predicate(
    consistent: _ConsistentAttestation, document_format: DocumentFormat
) -> tuple[Slsa | None, UnknownMaterial | None]:
    """Check the predicate (part of check 9); return its SLSA facts, or the exception if the predicate is unknown.

    In a bundle, a predicate may be of any type. Only the types that prove who published or built the file are checked.

    The caller raises the exception after all other checks. So an attestation that also fails another check is forged.

    Raises:
        CheckFailed: the predicate is malformed or disagrees with the certificate.
    """
    statement = consistent.statement
    if document_format is DocumentFormat.BUNDLES and statement.predicate_type not in PROVENANCE_PREDICATE_TYPES:
        return None, None
    try:
        return check_predicate(statement, consistent.claims), None
    except UnknownMaterial as unknown:
        return None, unknown


def _verify_against_roots(
    consistent: _ConsistentAttestation, roots: Sequence[TrustRoot]
) -> tuple[TrustRoot, tuple[str, ...], LogIdentity]:
    """Return the first trust root that vouches for the attestation.

    Returns:
        The trust root, and the fingerprints of its entries that vouch for the attestation: authority, CT log and
        transparency log.

    Raises:
        CheckFailed: no root vouches, and a check failed under at least one root.
        UnknownMaterial: no root vouches, because none knows the authority or the logs.
    """
    refusals: list[CheckFailed | UnknownMaterial] = []
    for root in roots:
        try:
            return root, *_verify_against_root(consistent, root)
        except (CheckFailed, UnknownMaterial) as refusal:
            refusals.append(refusal)
    broken = next((one for one in refusals if isinstance(one, CheckFailed)), None)
    if broken is not None:
        raise broken
    reasons = dict.fromkeys(one.reason for one in refusals if isinstance(one, UnknownMaterial))
    raise UnknownMaterial("; ".join(reasons) or "no trust root is configured for this index")


def _verify_against_root(consistent: _ConsistentAttestation, root: TrustRoot) -> tuple[tuple[str, ...], LogIdentity]:
    keys = load_keys(root.content)
    entry, certificate = consistent.entry, consistent.certificate
    if not keys.knows_issuer(certificate):
        raise UnknownMaterial(f"the certificate's authority is not in the trust root {root.name}")
    log = keys.logs.get(entry.log_id)
    if log is None:
        raise UnknownMaterial(f"the transparency log {entry.log_id.hex()} is not in the trust root {root.name}")
    # (3): a trust root vouches for its own issuers only, whatever its authority signs.
    if root.issuers is not None and consistent.claims.issuer not in root.issuers:
        allowed = ", ".join(sorted(root.issuers)) or "none"
        raise CheckFailed(
            "issuer", f"an issuer that the trust root {root.name} may vouch for: {allowed}", consistent.claims.issuer
        )
    # (1), (2): certificate chain and SCT.
    vouched = keys.verify_chain(certificate, consistent.fingerprint, entry.integrated_time)
    log.check_validity(entry.integrated_time, "log key")
    # (4), second half: the log signed the checkpoint.
    signature = entry.checkpoint.find_signature(entry.log_id)
    if signature is None or not sigstore_private.is_signed_by(
        log.keyring, entry.log_id, signature, entry.checkpoint.note
    ):
        found = "no signature by this log" if signature is None else "a signature by another key, or of other bytes"
        raise CheckFailed("checkpoint", f"a checkpoint signed by {log.name}", found)
    # (5): Verify the inclusion promise for the log entry.
    if not sigstore_private.is_signed_by(
        log.keyring, entry.log_id, entry.signed_entry_timestamp, entry.signed_entry_payload
    ):
        found = "a signature by another key, or of another log entry, log index or time"
        raise CheckFailed("inclusion promise", f"a signed entry timestamp (SET) by {log.name}", found)
    return (*vouched.material, log.fingerprint), LogIdentity(id=entry.log_id.hex(), url=log.name)
