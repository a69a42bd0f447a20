"""Parser of Sigstore bundles, versions 0.1 to 0.3, in a JSON list of bundles.

A bundle is a `dev.sigstore.bundle.v1.Bundle` message of sigstore's protobuf-specs in Protobuf's JSON mapping. The
parser accepts bundles with a DSSE envelope, a Fulcio certificate, and one entry of Rekor v1. Bundles that need anything
else are unknown, not forged: other versions, keys that these versions do not define, signatures of bare bytes, entries
of Rekor v2, and RFC 3161 timestamps. A bundle that a public key has signed needs no certificate and no entry. The
parser verifies no signature: nothing that it returns is proven.

Rekor v1 gives each entry a signed time, so a bundle with such an entry needs no RFC 3161 timestamp. If the bundle has
timestamps too, they are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509

from assay.attestation.verification import strict_json
from assay.attestation.verification.document import IN_TOTO_PAYLOAD_TYPE, SignedStatement
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.attestation.verification.strict_json import get_base64, get_member

_STEP: Final = "bundle"
_VERSIONS: Final = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": "0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2": "0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3": "0.3",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "0.3",
}
"""Supported versions by media type. Version 0.3 has two media types."""
_BUNDLE_KEYS: Final = frozenset({"mediaType", "verificationMaterial", "messageSignature", "dsseEnvelope"})
_MATERIAL_KEYS: Final = frozenset({
    "certificate", "x509CertificateChain", "publicKey", "tlogEntries", "timestampVerificationData",
})  # fmt: skip
_ENVELOPE_KEYS: Final = frozenset({"payload", "payloadType", "signatures"})
_SIGNATURE_KEYS: Final = frozenset({"sig", "keyid"})
_SIGNERS: Final = ("certificate", "x509CertificateChain", "publicKey")
"""Keys of the verification material of which exactly one names the signer."""
_MAX_CHAIN_CERTIFICATES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySigner:
    """Signer of a bundle that is signed by a key without a certificate."""

    hint: str
    """Hint for the key, which the bundle's producer has chosen; untrusted. It may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DsseEnvelope:
    """Decoded DSSE envelope with exactly one signature."""

    payload_type: str
    payload: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySignedEnvelope:
    """Decoded parts of a bundle that a key has signed. Log entries and timestamps in it are ignored."""

    hint: str
    envelope: DsseEnvelope


def read_bundle_list(raw: bytes) -> list[Any]:
    """Return the bundles of a list as parsed JSON, in order.

    Raises:
        UnknownMaterial: the document exceeds a limit of `strict_json`, or is not a JSON list.
    """
    if len(raw) > strict_json.MAX_BUNDLE_LIST_BYTES:
        raise UnknownMaterial(
            f"the list of bundles has {len(raw)} bytes; Assay reads at most {strict_json.MAX_BUNDLE_LIST_BYTES}"
        )
    if raw.count(b"{") + raw.count(b"[") > strict_json.MAX_LIST_CONTAINERS:
        raise UnknownMaterial(f"the list has more than {strict_json.MAX_LIST_CONTAINERS} JSON objects and arrays")
    try:
        listed = strict_json.parse_strict_json_list(raw, _STEP)
    except CheckFailed as error:
        raise UnknownMaterial(
            f"not a list of Sigstore bundles: expected {error.expected}, found {error.found}"
        ) from error
    if len(listed) > strict_json.MAX_LISTED_BUNDLES:
        raise UnknownMaterial(
            f"the list has {len(listed)} bundles; Assay reads at most {strict_json.MAX_LISTED_BUNDLES}"
        )
    return listed


def read_bundle(value: object) -> SignedStatement | KeySignedEnvelope:
    """Return the decoded parts of one bundle, which a certificate or a key has signed.

    Raises:
        CheckFailed: the bundle is malformed, or a certificate, signature or log entry exceeds a limit of `strict_json`.
        UnknownMaterial: the bundle needs something that Assay does not support, or its statement exceeds the limit.
    """
    if not isinstance(value, dict):
        raise CheckFailed(_STEP, "a JSON object for each bundle", type(value).__name__)
    version = _read_version(value)
    _check_keys(value, _BUNDLE_KEYS)
    material: dict[str, Any] = get_member(value, "verificationMaterial", dict, _STEP)
    _check_keys(material, _MATERIAL_KEYS)
    signer = read_signer(material, version)
    envelope = read_envelope(value)
    if isinstance(signer, KeySigner):
        return KeySignedEnvelope(hint=signer.hint, envelope=envelope)
    if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE:
        raise UnknownMaterial(f"the envelope has the payload type {envelope.payload_type}, not {IN_TOTO_PAYLOAD_TYPE}")
    return SignedStatement(
        certificate=signer,
        log_entry=_read_log_entry(material, version),
        statement=envelope.payload,
        signature=envelope.signature,
    )


def _read_version(bundle: dict[str, Any]) -> str:
    media_type: str = get_member(bundle, "mediaType", str, _STEP)
    version = _VERSIONS.get(media_type)
    if version is None:
        raise UnknownMaterial(f"unsupported bundle format {media_type}; Assay supports the versions 0.1 to 0.3")
    return version


def _check_keys(json_object: dict[str, Any], known: frozenset[str]) -> None:
    """Check that a JSON object has no other keys than `known`, as Protobuf's JSON mapping requires.

    Raises:
        UnknownMaterial: it has another key, which a later version may define.
    """
    if unknown := json_object.keys() - known:
        raise UnknownMaterial(f"the bundle has unknown keys: {', '.join(sorted(unknown))}")


def read_signer(material: dict[str, Any], version: str) -> bytes | KeySigner:
    """Return the DER of the signing certificate, or the hint for the signing key.

    Up to version 0.2, bundles have the certificate's chain. Only its first certificate, the leaf, is used: authorities
    come from the trust root.

    Raises:
        CheckFailed: the material does not name exactly one signer in the way of its version, its certificate is
            malformed, or its chain contains a root certificate, which sigstore's protobuf-specs forbid.
    """
    named = [key for key in _SIGNERS if material.get(key) is not None]
    if len(named) != 1:
        raise CheckFailed(_STEP, f"exactly one of {', '.join(_SIGNERS)}", ", ".join(named) or "none of them")
    if named[0] == ("x509CertificateChain" if version == "0.3" else "certificate"):
        raise CheckFailed(_STEP, f"the signing certificate as in version {version}", named[0])
    content: dict[str, Any] = get_member(material, named[0], dict, "certificate")
    match named[0]:
        case "publicKey":
            return KeySigner(hint=get_member(content, "hint", str, _STEP) if "hint" in content else "")
        case "x509CertificateChain":
            return _read_chain(get_member(content, "certificates", list, "certificate"))
        case _:
            return _read_certificate(content)


def _read_chain(listed: list[Any]) -> bytes:
    """Return the DER of the leaf, which is the first certificate of a chain."""
    if not 1 <= len(listed) <= _MAX_CHAIN_CERTIFICATES:
        raise CheckFailed("certificate", f"1 to {_MAX_CHAIN_CERTIFICATES} certificates", f"{len(listed)} certificates")
    leaf, *others = (_read_certificate(one) for one in listed)
    for der in others:
        try:
            certificate = x509.load_der_x509_certificate(der)
            is_root = certificate.issuer == certificate.subject
        except ValueError as error:
            raise CheckFailed("certificate", "well-formed X.509 certificates", error) from error
        if is_root:
            raise CheckFailed("certificate", "a chain without a root certificate", "a root certificate")
    return leaf


def _read_certificate(value: object) -> bytes:
    if not isinstance(value, dict):
        raise CheckFailed("certificate", "a JSON object for each certificate", type(value).__name__)
    _check_keys(value, frozenset({"rawBytes"}))
    return get_base64(value, "rawBytes", strict_json.MAX_CERTIFICATE_BYTES, "certificate")


def read_envelope(bundle: dict[str, Any]) -> DsseEnvelope:
    """Return the bundle's DSSE envelope. Its payload is of any type.

    Raises:
        CheckFailed: the envelope is malformed or does not have exactly one signature, or the bundle also has a message
            signature.
        UnknownMaterial: the bundle signs bare bytes instead of a statement, or the payload exceeds the limit.
    """
    if bundle.get("messageSignature") is not None:
        if bundle.get("dsseEnvelope") is not None:
            raise CheckFailed(_STEP, "either a DSSE envelope or a message signature", "both")
        raise UnknownMaterial("the bundle signs the file's bytes and contains no statement about them")
    envelope: dict[str, Any] = get_member(bundle, "dsseEnvelope", dict, _STEP)
    signatures: list[Any] = get_member(envelope, "signatures", list, "signature")
    if len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise CheckFailed("signature", "exactly one signature", f"{len(signatures)} signatures")
    _check_keys(envelope, _ENVELOPE_KEYS)
    _check_keys(signatures[0], _SIGNATURE_KEYS)
    if signatures[0].get("keyid") is not None:
        get_member(signatures[0], "keyid", str, "signature")
    payload = envelope.get("payload")
    if isinstance(payload, str) and len(payload) > strict_json.MAX_STATEMENT_BYTES * 4 // 3 + 4:
        raise UnknownMaterial(f"the statement is longer than {strict_json.MAX_STATEMENT_BYTES} bytes")
    return DsseEnvelope(
        payload_type=get_member(envelope, "payloadType", str, _STEP),
        payload=get_base64(envelope, "payload", strict_json.MAX_STATEMENT_BYTES, "statement"),
        signature=get_base64(signatures[0], "sig", strict_json.MAX_SIGNATURE_BYTES, "signature"),
    )


def _read_log_entry(material: dict[str, Any], version: str) -> dict[str, Any]:
    """Return the only log entry of a bundle, as parsed JSON.

    Raises:
        CheckFailed: the bundle has several entries, or neither an entry nor a timestamp.
        UnknownMaterial: only an RFC 3161 timestamp gives the bundle a time; or the bundle has version 0.1 and no
            inclusion proof with a checkpoint, which that version allows.
    """
    entries = material.get("tlogEntries")
    if not entries and _has_timestamps(material):
        raise UnknownMaterial("the bundle has an RFC 3161 timestamp instead of a log entry of Rekor v1")
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        found = f"{len(entries)} entries" if isinstance(entries, list) else "none"
        raise CheckFailed("log entries", "exactly one transparency log entry", found)
    entry: dict[str, Any] = entries[0]
    if entry.get("inclusionPromise") is None and _has_timestamps(material):
        raise UnknownMaterial(
            "the log entry has no signed time (Rekor v2 gives none), so the bundle needs its RFC 3161 timestamp"
        )
    proof = entry.get("inclusionProof")
    if version == "0.1" and not (isinstance(proof, dict) and proof.get("checkpoint")):
        raise UnknownMaterial(
            "the bundle of version 0.1 has no inclusion proof with a checkpoint, which Assay requires"
        )
    return entry


def _has_timestamps(material: dict[str, Any]) -> bool:
    data = material.get("timestampVerificationData")
    return isinstance(data, dict) and bool(data.get("rfc3161Timestamps"))
