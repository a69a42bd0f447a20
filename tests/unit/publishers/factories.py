"""Claims of every kind of publisher, made from the list of kinds, so that the laws hold for a new kind as well."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from assay.evidence import Claims
from assay.publishers.base import PublisherKind, PublisherTable

_UUID, _OTHER_UUID = "0b5c0a6e-1111-4222-8333-444455556666", "ffffffff-1111-4222-8333-444455556666"
_VALUES = {
    "repository": "octo/widget",
    "repository_id": "1001",
    "owner_id": "77",
    "workflow": ".github/workflows/release.yml",
    "email": "build@acme.example",
    "project_id": _UUID,
    "pipeline_definition_id": _UUID,
}
_OTHER_VALUES = {
    "repository": "evil/widget",
    "repository_id": "666",
    "owner_id": "666",
    "workflow": ".github/workflows/evil.yml",
    "email": "evil@acme.example",
    "project_id": _OTHER_UUID,
    "pipeline_definition_id": _OTHER_UUID,
}
CLAIM_NAMES = tuple(field.name for field in fields(Claims) if field.name not in {"kind", "issuer", "san"})


def used_claims(kind: PublisherKind) -> tuple[str, ...]:
    """The claims that any part of a kind reads, as far as it says so."""
    return tuple(
        dict.fromkeys([*(key.claim for key in kind.claim_keys.values()), *(each.claim for each in kind.identity)])
    )


def make_claims(kind: PublisherKind) -> Claims:
    """Claims of this kind, with every claim that it uses."""
    values = {claim: _VALUES.get(claim, f"some-{claim}") for claim in used_claims(kind)}
    return Claims(kind=kind.name, issuer=kind.issuer, san="https://signer.example/san", **values)


def change_claim(claims: Claims, claim: str) -> Claims:
    """The same claims but for one, which is another's."""
    return set_claim(claims, claim, _OTHER_VALUES.get(claim, f"other-{claim}"))


def set_claim(claims: Claims, claim: str, value: str | None) -> Claims:
    """The same claims but for one."""
    changes: dict[str, Any] = {claim: value}
    return replace(claims, **changes)


def make_table(kind: PublisherKind, *keys: str) -> PublisherTable:
    """A policy's table with these keys, which names the publisher of `make_claims`."""
    claims = make_claims(kind)
    return kind.table.model_validate(
        {"kind": kind.name, **{key: kind.claim_keys[key].propose(claims) for key in (kind.name_key, *keys)}}
    )
