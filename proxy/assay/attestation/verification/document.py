"""Parser of provenance objects (PEP 740): bundles, publisher blocks and attestation objects.

The parser is strict about the keys that PEP 740 defines. It ignores other keys, which PyPI may add. An unknown kind of
publisher is returned as a value. An unknown version of an attestation raises an exception for this attestation only. So
neither affects the rest of the document. The parser verifies no signature: nothing that it returns is proven.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from assay.attestation.verification import strict_json
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.attestation.verification.strict_json import get_base64, get_member
from assay.publishers.base import PublisherKind
from assay.publishers.registry import find_publisher_kind

IN_TOTO_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
"""Type of the payload that an attestation signs. PEP 740 fixes it."""
_STEP: Final = "document"


def encode_envelope(payload_type: str, payload: bytes) -> bytes:
    """Return what a DSSE signature signs: the pre-authentication encoding (PAE) of type and payload."""
    kind = payload_type.encode()
    return b" ".join((b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload))


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPublisher:
    """Publisher according to the index. It is only a claim: the signing certificate proves the publisher."""

    kind: PublisherKind
    fields: tuple[tuple[str, str], ...]
    """Pairs of name and value for the fields that the index sent and that this kind of publisher defines. The values
    are unchanged. An optional field is left out if its value is null. An empty ``environment`` is left out too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownPublisher:
    """Publisher of a kind that Assay does not know, according to the index."""

    kind: str


PublisherBlock: TypeAlias = StatedPublisher | UnknownPublisher


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement:
    """Decoded parts of one attestation object: certificate, log entry, statement and signature."""

    certificate: bytes
    log_entry: dict[str, Any]
    """The only transparency log entry of the attestation, as parsed JSON."""
    statement: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationBundle:
    """Publisher block of one bundle, with the bundle's attestation objects as parsed JSON."""

    publisher: PublisherBlock
    attestations: tuple[Any, ...]


def read_document(raw: bytes) -> tuple[AttestationBundle, ...]:
    """Return the bundles of a provenance object, in order.

    Raises:
        CheckFailed: the document is malformed, or exceeds a limit of `strict_json`.
        UnknownMaterial: the format version of the document is not 1.
    """
    if len(raw) > strict_json.MAX_DOCUMENT_BYTES:
        raise CheckFailed(_STEP, f"at most {strict_json.MAX_DOCUMENT_BYTES} bytes", f"{len(raw)} bytes")
    document = strict_json.parse_strict_json(raw, _STEP)
    _check_version(document, "provenance")
    listed: list[Any] = get_member(document, "attestation_bundles", list, _STEP)
    if len(listed) > strict_json.MAX_BUNDLES:
        raise CheckFailed(_STEP, f"at most {strict_json.MAX_BUNDLES} bundles", f"{len(listed)} bundles")
    bundles = tuple(_read_bundle(one) for one in listed)
    total = sum(len(bundle.attestations) for bundle in bundles)
    if total > strict_json.MAX_ATTESTATIONS:
        raise CheckFailed(_STEP, f"at most {strict_json.MAX_ATTESTATIONS} attestations", f"{total} attestations")
    return bundles


def _check_version(json_object: dict[str, Any], what: str) -> None:
    """Check that the format version of a JSON object is 1 (PEP 740).

    Raises:
        CheckFailed: the version is missing or not an integer.
        UnknownMaterial: the version is another integer, which a later format may use.
    """
    version: int = get_member(json_object, "version", int, _STEP)
    if version != 1:
        raise UnknownMaterial(f"unsupported {what} format version {version}; Assay supports only version 1")


def _read_bundle(value: object) -> AttestationBundle:
    if not isinstance(value, dict):
        raise CheckFailed(_STEP, "a JSON object for each attestation bundle", type(value).__name__)
    return AttestationBundle(
        publisher=_read_publisher(get_member(value, "publisher", dict, _STEP)),
        attestations=tuple(get_member(value, "attestations", list, _STEP)),
    )


def _read_publisher(block: dict[str, Any]) -> PublisherBlock:
    name: str = get_member(block, "kind", str, "publisher")
    kind = find_publisher_kind(name)
    if kind is None:
        return UnknownPublisher(kind=name)
    stated = (key.name for key in kind.block_keys if key.is_required or block.get(key.name) not in key.absent)
    return StatedPublisher(kind=kind, fields=tuple((key, get_member(block, key, str, "publisher")) for key in stated))


def read_attestation(value: object) -> SignedStatement:
    """Return the decoded parts of one attestation object.

    Raises:
        CheckFailed: the object is malformed, or exceeds a limit of `strict_json`.
        UnknownMaterial: the format version of the object is not 1.
    """
    if not isinstance(value, dict):
        raise CheckFailed(_STEP, "a JSON object for each attestation", type(value).__name__)
    _check_version(value, "attestation")
    material: dict[str, Any] = get_member(value, "verification_material", dict, _STEP)
    envelope: dict[str, Any] = get_member(value, "envelope", dict, _STEP)
    entries: list[Any] = get_member(material, "transparency_entries", list, _STEP)
    # PEP 740 allows one or more, but no signer writes more than one: the reference implementation reads the first and
    # ignores the rest.
    if len(entries) != 1:
        raise CheckFailed("log entries", "exactly one transparency log entry", f"{len(entries)} entries")
    if not isinstance(entries[0], dict):
        raise CheckFailed("log entry", "a JSON object", type(entries[0]).__name__)
    return SignedStatement(
        certificate=get_base64(
            material, "certificate", strict_json.MAX_CERTIFICATE_BYTES, "certificate", allow_newlines=True
        ),
        log_entry=entries[0],
        statement=get_base64(envelope, "statement", strict_json.MAX_STATEMENT_BYTES, "statement", allow_newlines=True),
        signature=get_base64(envelope, "signature", strict_json.MAX_SIGNATURE_BYTES, "signature", allow_newlines=True),
    )
