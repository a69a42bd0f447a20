"""Tests of matching a policy's publishers against claims, for every kind and every key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.evidence import Claims
from assay.policy.language.proposal import make_publisher_entry
from assay.publishers.base import PublisherKind
from assay.publishers.matching import ENVIRONMENT_SINCE, compile_publisher
from assay.publishers.registry import PUBLISHER_KINDS, RECORDED_CLAIMS
from tests.unit.policy.factories import attestation
from tests.unit.publishers.factories import change_claim, make_claims, make_table, set_claim

each_kind = pytest.mark.parametrize("kind", PUBLISHER_KINDS, ids=lambda kind: kind.name)
each_key = pytest.mark.parametrize(
    ("kind", "key"),
    [(kind, key) for kind in PUBLISHER_KINDS for key in kind.claim_keys],
    ids=lambda part: part if isinstance(part, str) else part.name,
)
IGNORE_CASE = {
    "GitHub": {"repository", "environment", "runner", "visibility"},
    "GitLab": {"repository", "runner", "visibility"},
    "Google": {"email"},
    "CircleCI": {"project_id", "pipeline_definition_id"},
}


@each_key
def test_every_key_that_is_named_must_be_proven(kind: PublisherKind, key: str) -> None:
    claims, claim = make_claims(kind), kind.claim_keys[key].claim
    covers = compile_publisher(make_table(kind, key)).covers

    def signed(said: Claims) -> bool:
        return covers(attestation(claims=said, not_before=ENVIRONMENT_SINCE))

    assert signed(claims)
    assert not signed(change_claim(claims, claim))
    assert not signed(set_claim(claims, claim, None))


@each_key
def test_which_keys_compare_without_case(kind: PublisherKind, key: str) -> None:
    claims, claim = make_claims(kind), kind.claim_keys[key].claim
    spelled_otherwise = set_claim(claims, claim, str(getattr(claims, claim)).swapcase())
    has_letters = getattr(claims, claim) != getattr(spelled_otherwise, claim)
    covered = compile_publisher(make_table(kind, key)).covers(attestation(claims=spelled_otherwise))
    if has_letters and kind.name in IGNORE_CASE:
        assert covered is (key in IGNORE_CASE[kind.name])


@each_kind
def test_no_kind_covers_another_kind_or_issuer_or_a_person(kind: PublisherKind) -> None:
    claims, covers = make_claims(kind), compile_publisher(make_table(kind)).covers
    assert covers(attestation(claims=claims))
    assert covers(attestation(claims=replace(claims, issuer=f"{kind.issuer}/")))
    assert not covers(attestation(claims=replace(claims, issuer="https://issuer.example")))
    for other in (None, *(each.name for each in PUBLISHER_KINDS if each is not kind)):
        assert not covers(attestation(claims=replace(claims, kind=other)))


@each_kind
def test_a_proposal_covers_what_it_was_made_from_and_nobody_else(kind: PublisherKind) -> None:
    claims = make_claims(kind)
    entry = make_publisher_entry(claims)
    assert entry is not None
    assert [key for key, _ in entry] == ["kind", *kind.proposed_keys]
    covers = compile_publisher(kind.table.model_validate(dict(entry))).covers
    assert covers(attestation(claims=claims))
    for key in kind.proposed_keys:
        assert not covers(attestation(claims=change_claim(claims, kind.claim_keys[key].claim)))
    self_managed = make_publisher_entry(replace(claims, issuer="https://issuer.example"))
    assert dict(self_managed or ())["issuer"] == "https://issuer.example"


@each_key
def test_a_revocation_can_be_held_against_the_audit_trail(kind: PublisherKind, key: str) -> None:
    recorded = {claim: getattr(make_claims(kind), claim) for claim in RECORDED_CLAIMS}
    assert compile_publisher(make_table(kind, key)).covers(attestation(claims=Claims(**recorded)))
