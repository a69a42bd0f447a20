"""Public keys that countersign, and the verification of the bundles that they have signed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from assay.attestation.trust_roots import TrustKey
from assay.attestation.verification.document import IN_TOTO_PAYLOAD_TYPE, encode_envelope
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial, abbreviate_value
from assay.attestation.verification.sigstore_bundle import KeySignedEnvelope
from assay.attestation.verification.statement import read_bundle_statement, write_predicate
from assay.evidence import KeyStatement
from assay.simple.model import File

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_EXPECTED = "a public key as PEM: ECDSA P-256 or P-384, or Ed25519"


@lru_cache(maxsize=64)
def load_public_key(pem: bytes) -> PublicKey:
    """Return the public key in a PEM file.

    Raises:
        ValueError: the file has no key of a supported kind. The message is the expected value.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(_EXPECTED) from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    raise ValueError(_EXPECTED)


def is_signed_by(key: PublicKey, signature: bytes, content: bytes) -> bool:
    """Return whether a key made a signature of `content`.

    ECDSA uses SHA-256 with P-256 and SHA-384 with P-384, as sigstore's protobuf-specs name these algorithms.
    """
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, content)
        else:
            digest = hashes.SHA256() if isinstance(key.curve, ec.SECP256R1) else hashes.SHA384()
            key.verify(signature, content, ec.ECDSA(digest))
    except InvalidSignature:
        return False
    return True


def verify_key_signature(
    signed: KeySignedEnvelope, file: File, keys: Sequence[TrustKey], position: int
) -> KeyStatement:
    """Verify a bundle that a public key has signed.

    The hint in the bundle is not used: each key is tried.

    Raises:
        CheckFailed: no key made the signature, or the payload is not a statement about the file.
        UnknownMaterial: no keys are configured, or the statement names the same bytes otherwise.
    """
    if not keys:
        raise UnknownMaterial("the bundle is signed by a key, and [trust.keys] names none")
    envelope = signed.envelope
    content = encode_envelope(envelope.payload_type, envelope.payload)
    signer = next((key for key in keys if is_signed_by(load_public_key(key.pem), envelope.signature, content)), None)
    if signer is None:
        hint = f", with the hint {abbreviate_value(signed.hint)}" if signed.hint else ""
        names = ", ".join(key.name for key in keys)
        raise CheckFailed("signature", f"a signature by one of the keys {names}", f"another signature{hint}")
    if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE:
        raise CheckFailed("payload type", IN_TOTO_PAYLOAD_TYPE, envelope.payload_type)
    statement, unbound = read_bundle_statement(envelope.payload, file)
    if unbound is not None:
        raise unbound
    return KeyStatement(
        key=signer.name,
        predicate_type=statement.predicate_type,
        predicate=write_predicate(statement),
        subject=statement.subject,
        bundle=position,
    )
