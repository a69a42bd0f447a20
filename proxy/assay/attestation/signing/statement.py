"""Statements about files and the Sigstore bundles that contain them. Pure.

A statement is in-toto Statement v1, the envelope is DSSE, and the bundle has version 0.3 of sigstore's protobuf-specs,
with a public key instead of a certificate. The same arguments give the same statement, byte for byte.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay.attestation.trust_roots import TrustKey
from assay.attestation.verification import strict_json
from assay.attestation.verification.document import IN_TOTO_PAYLOAD_TYPE, encode_envelope
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.attestation.verification.public_keys import is_signed_by, load_public_key, verify_key_signature
from assay.attestation.verification.sigstore_bundle import KeySignedEnvelope, read_bundle
from assay.attestation.verification.statement import STATEMENT_TYPE, Statement, write_predicate
from assay.evidence import KeyStatement
from assay.simple.model import File, Sha256

BUNDLE_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""Media type of the bundles that Assay writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Signature of a statement, and what a verifier needs for it."""

    signature: bytes
    material: Mapping[str, Any]
    """Value of ``verificationMaterial`` in the bundle. For a key, it is a hint. A certificate and an entry of a
    transparency log would be other material."""


def build_statement(filename: str, sha256: Sha256, predicate_type: str, predicate: Mapping[str, Any] | None) -> bytes:
    """Return a statement about one file, as JSON.

    Args:
        filename: name of the file, without directories.
        sha256: digest of the file.
        predicate_type: URI of the predicate's type.
        predicate: what is stated about the file; None: nothing but the type.
    """
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": filename, "digest": {"sha256": sha256}}],
        "predicateType": predicate_type,
    }
    return _write_json(statement if predicate is None else {**statement, "predicate": predicate})


def is_too_large(predicate: Mapping[str, Any]) -> bool:
    """Return whether a predicate is so large that verification does not keep it, so that no condition is met."""
    return write_predicate(Statement(subject="", sha256="", predicate_type="", predicate=predicate)) is None


def encode_statement(statement: bytes) -> bytes:
    """Return the bytes that a signature of a statement signs."""
    return encode_envelope(IN_TOTO_PAYLOAD_TYPE, statement)


def build_bundle(statement: bytes, signed: Signed) -> bytes:
    """Return the bundle with a signed statement, as one line of JSON without a line break."""
    return _write_json(
        {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": signed.material,
            "dsseEnvelope": {
                "payload": b64encode(statement).decode(),
                "payloadType": IN_TOTO_PAYLOAD_TYPE,
                "signatures": [{"sig": b64encode(signed.signature).decode()}],
            },
        }
    )


def verify_bundle(bundle: bytes, file: File, key: TrustKey) -> KeyStatement:
    """Verify a bundle as a proxy with the public key does, and return its statement about the file.

    Raises:
        CheckFailed: the bundle is invalid, or is about another file.
        UnknownMaterial: the bundle exceeds a limit.
    """
    signed = read_bundle(strict_json.parse_strict_json(bundle, "bundle"))
    if not isinstance(signed, KeySignedEnvelope):
        raise CheckFailed("signature", "a bundle that a key has signed", "a certificate")
    return verify_key_signature(signed, file, (key,), 0)


def has_statement(bundle: bytes, statement: bytes, key: TrustKey) -> bool:
    """Return whether a bundle has this statement, signed by this key. Any bytes are allowed as the bundle.

    The signatures of a statement may differ, because ECDSA signatures are random.
    """
    try:
        signed = read_bundle(strict_json.parse_strict_json(bundle, "bundle"))
    except (CheckFailed, UnknownMaterial):
        return False
    if not isinstance(signed, KeySignedEnvelope):
        return False
    envelope = signed.envelope
    return (
        envelope.payload_type == IN_TOTO_PAYLOAD_TYPE
        and envelope.payload == statement
        and is_signed_by(load_public_key(key.pem), envelope.signature, encode_statement(statement))
    )


def _write_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
