"""Factories of claims for every kind of publisher, derived from the list of kinds so that they cover new kinds."""

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
    "email": "build@acme.iam.gserviceaccount.com",
    "project_id": _UUID,
    "pipeline_definition_id": _UUID,
    "ref": "refs/tags/v1",
    "trigger": "release",
    "visibility": "public",
    "builder": "https://github.com/octo/ci/.github/workflows/build.yml@refs/heads/main",
    "vcs_origin": "github.com/octo/widget",
    "vcs_ref": "refs/heads/main",
}
_OTHER_VALUES = {
    "repository": "evil/widget",
    "repository_id": "666",
    "owner_id": "666",
    "workflow": ".github/workflows/evil.yml",
    "email": "evil@acme.iam.gserviceaccount.com",
    "project_id": _OTHER_UUID,
    "pipeline_definition_id": _OTHER_UUID,
}
CLAIM_NAMES = tuple(field.name for field in fields(Claims) if field.name not in {"kind", "issuer", "san"})


def used_claims(kind: PublisherKind) -> tuple[str, ...]:
    """Return the names of the claims that the keys and identities of a kind name."""
    return tuple(
        dict.fromkeys([*(key.claim for key in kind.claim_keys.values()), *(each.claim for each in kind.identity)])
    )


def make_claims(kind: PublisherKind) -> Claims:
    """Return claims of a kind with a value for every claim that it uses."""
    values = {claim: _VALUES.get(claim, f"some-{claim}") for claim in used_claims(kind)}
    return Claims(kind=kind.name, issuer=kind.issuer, san="https://signer.example/san", **values)


def change_claim(claims: Claims, claim: str) -> Claims:
    """Return a copy of the claims in which one has another publisher's value."""
    return set_claim(claims, claim, _OTHER_VALUES.get(claim, f"other-{claim}"))


def set_claim(claims: Claims, claim: str, value: str | None) -> Claims:
    """Return a copy of the claims with one value replaced."""
    changes: dict[str, Any] = {claim: value}
    return replace(claims, **changes)


def make_table(kind: PublisherKind, *keys: str) -> PublisherTable:
    """Return a publisher table with these keys that matches the claims of `make_claims`."""
    claims = make_claims(kind)
    return kind.table.model_validate(
        {"kind": kind.name, **{key: kind.claim_keys[key].propose(claims) for key in (kind.name_key, *keys)}}
    )
