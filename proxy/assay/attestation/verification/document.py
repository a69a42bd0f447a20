"""A provenance object (PEP 740) taken apart, strictly where PEP 740 speaks and leniently where PyPI may add.

Owns the document's shape: bundles, publisher blocks, attestation objects as bytes. Judges nothing: an unknown publisher
kind or version is a value of its own and doesn't spoil the rest of the document. Nothing here is proven.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from assay.attestation.verification import strict_json
from assay.attestation.verification.errors import Broken, Unknown
from assay.attestation.verification.strict_json import binary, member
from assay.evidence import PublisherKind

_WHAT: Final = "document"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """What the index says of who published; only the certificate proves it."""

    kind: PublisherKind
    fields: tuple[tuple[str, str], ...]
    """Those fields of its kind that say something, as sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownPublisher:
    """A kind of publisher that this verifier has never heard of."""

    kind: str


PublisherBlock: TypeAlias = Publisher | UnknownPublisher


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement:
    """One attestation object's parts, decoded."""

    certificate: bytes
    entry: dict[str, Any]
    """Its one transparency log entry, as JSON."""
    statement: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A publisher and the attestation objects under it, as JSON."""

    publisher: PublisherBlock
    attestations: tuple[Any, ...]


# PyPI's own names (pypi_attestations 0.0.30, `_Publisher`): those that must be there, those that may.
_FIELDS: Final[dict[PublisherKind, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    PublisherKind.GITHUB: (("repository", "workflow"), ("environment",)),
    PublisherKind.GITLAB: (("repository", "workflow_filepath"), ("environment",)),
    PublisherKind.GOOGLE: (("email",), ()),
    PublisherKind.CIRCLECI: (("project_id", "pipeline_definition_id"), ("vcs_origin", "vcs_ref")),
}


def read_document(raw: bytes) -> tuple[Bundle, ...]:
    """The bundles of a provenance object, in order.

    Raises:
        Broken: it is none, or larger than any honest one.
        Unknown: a version of the format other than 1.
    """
    if len(raw) > strict_json.DOCUMENT_BYTES:
        raise Broken(_WHAT, f"at most {strict_json.DOCUMENT_BYTES} bytes", f"{len(raw)} bytes")
    document = strict_json.parse_json(raw, _WHAT)
    _version(document, "provenance")
    listed: list[Any] = member(document, "attestation_bundles", list, _WHAT)
    if len(listed) > strict_json.BUNDLES:
        raise Broken(_WHAT, f"at most {strict_json.BUNDLES} bundles", f"{len(listed)} bundles")
    bundles = tuple(_bundle(one) for one in listed)
    total = sum(len(bundle.attestations) for bundle in bundles)
    if total > strict_json.ATTESTATIONS:
        raise Broken(_WHAT, f"at most {strict_json.ATTESTATIONS} attestations", f"{total} attestations")
    return bundles


def _version(of: dict[str, Any], what: str) -> None:
    """PEP 740: "version" is 1. Another number is a format of the future, anything else none at all."""
    version: int = member(of, "version", int, _WHAT)
    if version != 1:
        raise Unknown(f"{what} format version {version}; this verifier knows version 1")


def _bundle(listed: object) -> Bundle:
    if not isinstance(listed, dict):
        raise Broken(_WHAT, "each bundle an object", type(listed).__name__)
    return Bundle(
        publisher=_publisher(member(listed, "publisher", dict, _WHAT)),
        attestations=tuple(member(listed, "attestations", list, _WHAT)),
    )


def _publisher(block: dict[str, Any]) -> PublisherBlock:
    name: str = member(block, "kind", str, "publisher")
    try:
        kind = PublisherKind(name)
    except ValueError:
        return UnknownPublisher(kind=name)
    required, optional = _FIELDS[kind]
    fields = [(key, member(block, key, str, "publisher")) for key in required]
    # Through the years the same absence was "", null, and no key at all.
    fields += [(key, member(block, key, str, "publisher")) for key in optional if block.get(key) not in (None, "")]
    return Publisher(kind=kind, fields=tuple(fields))


def read_attestation(listed: object) -> SignedStatement:
    """The parts of one attestation object.

    Raises:
        Broken: it is none.
        Unknown: a version of the format other than 1.
    """
    if not isinstance(listed, dict):
        raise Broken(_WHAT, "each attestation an object", type(listed).__name__)
    _version(listed, "attestation")
    material: dict[str, Any] = member(listed, "verification_material", dict, _WHAT)
    envelope: dict[str, Any] = member(listed, "envelope", dict, _WHAT)
    entries: list[Any] = member(material, "transparency_entries", list, _WHAT)
    # PEP 740 says "one or more", and no signer makes more: the reference reads the first and ignores the rest.
    if len(entries) != 1:
        raise Broken("log entries", "exactly one transparency log entry", f"{len(entries)} entries")
    if not isinstance(entries[0], dict):
        raise Broken("log entry", "an object", type(entries[0]).__name__)
    return SignedStatement(
        certificate=binary(material, "certificate", strict_json.CERTIFICATE_BYTES, "certificate", wrapped=True),
        entry=entries[0],
        statement=binary(envelope, "statement", strict_json.STATEMENT_BYTES, "statement", wrapped=True),
        signature=binary(envelope, "signature", strict_json.SIGNATURE_BYTES, "signature", wrapped=True),
    )
