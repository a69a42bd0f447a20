"""A provenance object (PEP 740) taken apart, strictly where PEP 740 speaks and leniently where PyPI may add.

Owns the document's shape: bundles, publisher blocks, attestation objects as bytes. Judges nothing: an unknown publisher
kind or version is a value of its own and doesn't spoil the rest of the document. Nothing here is proven.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from assay.attestation.verification import strict_json
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.attestation.verification.strict_json import get_base64, get_member
from assay.publishers.base import PublisherKind
from assay.publishers.registry import find_publisher_kind

_STEP: Final = "document"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPublisher:
    """What the index says of who published; only the certificate proves it."""

    kind: PublisherKind
    fields: tuple[tuple[str, str], ...]
    """Those fields of its kind that say something, as sent: "" too, but for an environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownPublisher:
    """A kind of publisher that this verifier has never heard of."""

    kind: str


PublisherBlock: TypeAlias = StatedPublisher | UnknownPublisher


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement:
    """One attestation object's parts, decoded."""

    certificate: bytes
    log_entry: dict[str, Any]
    """Its one transparency log entry, as JSON."""
    statement: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationBundle:
    """A publisher and the attestation objects under it, as JSON."""

    publisher: PublisherBlock
    attestations: tuple[Any, ...]


def read_document(raw: bytes) -> tuple[AttestationBundle, ...]:
    """The bundles of a provenance object, in order.

    Raises:
        CheckFailed: it is none, or larger than any honest one.
        UnknownMaterial: a version of the format other than 1.
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
    """PEP 740: "version" is 1. Another number is a format of the future, anything else none at all."""
    version: int = get_member(json_object, "version", int, _STEP)
    if version != 1:
        raise UnknownMaterial(f"{what} format version {version}; this verifier knows version 1")


def _read_bundle(value: object) -> AttestationBundle:
    if not isinstance(value, dict):
        raise CheckFailed(_STEP, "each bundle an object", type(value).__name__)
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
    """The parts of one attestation object.

    Raises:
        CheckFailed: it is none.
        UnknownMaterial: a version of the format other than 1.
    """
    if not isinstance(value, dict):
        raise CheckFailed(_STEP, "each attestation an object", type(value).__name__)
    _check_version(value, "attestation")
    material: dict[str, Any] = get_member(value, "verification_material", dict, _STEP)
    envelope: dict[str, Any] = get_member(value, "envelope", dict, _STEP)
    entries: list[Any] = get_member(material, "transparency_entries", list, _STEP)
    # PEP 740 says "one or more", and no signer makes more: the reference reads the first and ignores the rest.
    if len(entries) != 1:
        raise CheckFailed("log entries", "exactly one transparency log entry", f"{len(entries)} entries")
    if not isinstance(entries[0], dict):
        raise CheckFailed("log entry", "an object", type(entries[0]).__name__)
    return SignedStatement(
        certificate=get_base64(
            material, "certificate", strict_json.MAX_CERTIFICATE_BYTES, "certificate", allow_newlines=True
        ),
        log_entry=entries[0],
        statement=get_base64(envelope, "statement", strict_json.MAX_STATEMENT_BYTES, "statement", allow_newlines=True),
        signature=get_base64(envelope, "signature", strict_json.MAX_SIGNATURE_BYTES, "signature", allow_newlines=True),
    )
