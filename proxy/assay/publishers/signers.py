"""Identity of a signer for the ratchet (provenance continuity), and names of a signer for messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from assay.evidence import INDEX_SOURCE, Attestation, Claims, PublisherIdentity
from assay.publishers.base import ClaimReader, IdentityClaim, PublisherTable
from assay.publishers.globs import lower_ascii
from assay.publishers.registry import PUBLISHER_KINDS, find_publisher_kind, get_publisher_kind, get_table_kind


def _compile_identity(claims: Iterable[IdentityClaim]) -> tuple[tuple[str, ClaimReader, bool], ...]:
    """Return label, reader function and `ignore_case` of each claim, without duplicate claims."""
    return tuple((each.label, attrgetter(each.claim), each.ignore_case) for each in dict.fromkeys(claims))


# A signer that is not a Trusted Publisher (None) is identified and named by the first claim that any kind uses.
_IDENTITY_BY_KIND: Final[dict[str | None, tuple[tuple[str, ClaimReader, bool], ...]]] = {
    None: _compile_identity(each for kind in PUBLISHER_KINDS for each in kind.identity),
    **{kind.name: _compile_identity(kind.identity) for kind in PUBLISHER_KINDS},
}
_NAME_CLAIMS_BY_KIND: Final[dict[str | None, tuple[str, ...]]] = {
    None: (*dict.fromkeys(kind.name_claim for kind in PUBLISHER_KINDS), "san"),
    **{kind.name: (kind.name_claim, "san") for kind in PUBLISHER_KINDS},
}


def identify_publisher(attestation: Attestation) -> PublisherIdentity | None:
    """Return the identity of the publisher that signed an attestation; None if no claim identifies the publisher."""
    claims = attestation.claims
    for label, read, ignore_case in _IDENTITY_BY_KIND[claims.kind]:
        value = read(claims)
        if value:
            subject = f"{label}:{lower_ascii(value)}" if ignore_case else f"{label}:{value}"
            return PublisherIdentity(attestation.trust_root, claims.issuer, subject)
    return None


def make_publisher_block(claims: Claims) -> dict[str, str | None] | None:
    """Return the publisher block of a provenance object (PEP 740) for a signer; None if it is no Trusted Publisher.

    Raises:
        ValueError: the certificate lacks a claim that the block of its kind must have.
    """
    kind = find_publisher_kind(claims.kind)
    if kind is None:
        return None
    block: dict[str, str | None] = {"kind": kind.name}
    for key in kind.block_keys:
        block[key.name] = key.read(claims)
        if key.is_required and block[key.name] is None:
            raise ValueError(f"the certificate has no claim for the key {key.name} of the publisher block")
    return block


def make_signer_key(attestation: Attestation) -> tuple[str | None, ...]:
    """Return the claims that identify or name the signer, as a tuple for use as a dictionary key.

    Attestations with equal keys have the same identity. One identity can have several keys, for example one for each
    workflow.
    """
    claims = attestation.claims
    return (
        attestation.trust_root,
        claims.kind,
        claims.issuer,
        claims.repository_id,
        claims.repository,
        claims.owner_id,
        claims.email,
        claims.project_id,
        claims.pipeline_definition_id,
        claims.vcs_origin,
        claims.project_path,
        claims.workflow,
        claims.environment,
    )


def get_signer_name(claims: Claims) -> str:
    """Return the name of the signer, without its kind: ``pyca/cryptography``."""
    for claim in _NAME_CLAIMS_BY_KIND[claims.kind]:
        name: str | None = getattr(claims, claim)
        if name:
            return name
    return claims.san


def name_signer(claims: Claims) -> str:
    """Return the kind and name of the signer: ``GitHub pyca/cryptography``."""
    return f"{claims.kind} {get_signer_name(claims)}" if claims.kind is not None else get_signer_name(claims)


def describe_signer(claims: Claims) -> str:
    """Return a line that describes the signer.

    Example: ``GitHub pyca/cryptography (workflow pypi-publish.yml, ref refs/tags/v1)``.
    """
    if claims.kind is None:
        return f"{claims.email or claims.san} of {claims.issuer} (not a Trusted Publisher)"
    stated = ((label, read(claims)) for label, read in get_publisher_kind(claims.kind).details)
    rest = ", ".join(f"{label} {value}" for label, value in stated if value)
    return f"{name_signer(claims)} ({rest})" if rest else name_signer(claims)


def describe_attestation(attestation: Attestation) -> str:
    """Return a line that describes the signer, and the evidence source if it is not the file's own index."""
    signer = describe_signer(attestation.claims)
    return signer if attestation.source == INDEX_SOURCE else f"{signer}, from {attestation.source}"


def describe_publisher(publisher: PublisherTable) -> str:
    """Return a line that describes a publisher table, in the format of `describe_signer`."""
    kind = get_table_kind(publisher)
    stated = publisher.model_dump(exclude_none=True, exclude={"kind"})
    if publisher.issuer == kind.issuer:
        del stated["issuer"]
    name = next((str(stated.pop(key)) for key in publisher.identifying_keys if key in stated), "")
    rest = ", ".join(f"{key} {value}" for key, value in stated.items() if value)
    return f"{kind.name} {name} ({rest})" if rest else f"{kind.name} {name}"
