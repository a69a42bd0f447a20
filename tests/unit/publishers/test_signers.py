"""Tests of signers: identities that survive renames, keys that distinguish signers, and names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.evidence import Claims, PublisherIdentity
from assay.publishers.base import PublisherKind
from assay.publishers.registry import PUBLISHER_KINDS
from assay.publishers.signers import (
    describe_publisher,
    describe_signer,
    get_signer_name,
    identify_publisher,
    make_signer_key,
    name_signer,
)
from tests.unit.policy.factories import attestation
from tests.unit.publishers.factories import CLAIM_NAMES, change_claim, make_claims, make_table, set_claim

each_kind = pytest.mark.parametrize("kind", PUBLISHER_KINDS, ids=lambda kind: kind.name)
PERSON = Claims(kind=None, issuer="https://issuer.example", san="Me@example.org", email="Me@example.org")


def identify(claims: Claims) -> PublisherIdentity | None:
    return identify_publisher(attestation(claims=claims))


@each_kind
def test_an_identity_rests_on_the_first_claim_that_a_kind_names(kind: PublisherKind) -> None:
    claims = make_claims(kind)
    first = kind.identity[0]
    found = identify(claims)
    assert found is not None
    assert (found.trust_root, found.issuer) == ("sigstore", kind.issuer)
    assert found.subject == f"{first.label}:{getattr(claims, first.claim)}"
    for claim in CLAIM_NAMES:
        assert (identify(change_claim(claims, claim)) == found) is (claim != first.claim), claim
    assert identify(replace(claims, issuer="https://issuer.example")) != found
    assert identify_publisher(attestation(claims=claims, trust_root="acme")) != found


@each_kind
def test_an_identity_falls_back_to_the_next_claim_and_ends_with_none(kind: PublisherKind) -> None:
    claims = make_claims(kind)
    for each in kind.identity:
        found = identify(claims)
        assert found is not None
        value = str(getattr(claims, each.claim))
        assert found.subject == f"{each.label}:{value}"
        shouted = identify(set_claim(claims, each.claim, value.upper()))
        assert (shouted == found) is (each.ignore_case or value.upper() == value)
        claims = set_claim(claims, each.claim, None)
    assert identify(claims) is None


def test_a_person_is_identified_by_number_or_email() -> None:
    found = identify(PERSON)
    assert found == PublisherIdentity("sigstore", "https://issuer.example", "email:me@example.org")
    numbered = identify(replace(PERSON, repository_id="5"))
    assert numbered == PublisherIdentity("sigstore", "https://issuer.example", "repository-id:5")
    assert identify(replace(PERSON, email=None)) is None


@each_kind
def test_signers_of_equal_keys_have_one_identity_and_one_origin(kind: PublisherKind) -> None:
    """The ratchet caches identities by this key, so two identities must not share a key; extra keys only cost time."""
    claims = make_claims(kind)
    key = make_signer_key(attestation(claims=claims))
    assert make_signer_key(attestation(claims=make_claims(kind))) == key
    for claim in ("repository", "workflow", "environment", *(each.claim for each in kind.identity)):
        assert make_signer_key(attestation(claims=change_claim(claims, claim))) != key, claim
    assert make_signer_key(attestation(claims=replace(claims, issuer="https://issuer.example"))) != key
    assert make_signer_key(attestation(claims=replace(claims, kind=None))) != key
    assert make_signer_key(attestation(claims=claims, trust_root="acme")) != key


@each_kind
def test_a_signer_is_named_as_a_policy_names_it(kind: PublisherKind) -> None:
    claims = make_claims(kind)
    name = getattr(claims, kind.name_claim)
    assert get_signer_name(claims) == name
    assert name_signer(claims) == f"{kind.name} {name}" == describe_publisher(make_table(kind))
    stated = [f"{label} {read(claims)}" for label, read in kind.details if read(claims)]
    assert describe_signer(claims) == (f"{kind.name} {name} ({', '.join(stated)})" if stated else f"{kind.name} {name}")
    assert get_signer_name(set_claim(claims, kind.name_claim, None)) == claims.san


def test_a_person_is_named_and_said_to_be_no_trusted_publisher() -> None:
    assert get_signer_name(PERSON) == name_signer(PERSON) == "Me@example.org"
    assert describe_signer(PERSON) == "Me@example.org of https://issuer.example (not a Trusted Publisher)"
    assert get_signer_name(replace(PERSON, email=None, san="https://x.example")) == "https://x.example"


@each_kind
def test_a_publisher_is_described_by_everything_that_its_table_says(kind: PublisherKind) -> None:
    table = make_table(kind, *kind.claim_keys)
    said = describe_publisher(table)
    for key in kind.claim_keys:
        assert str(getattr(table, key)) in said
    assert kind.issuer not in said
    assert "https://issuer.example" in describe_publisher(table.model_copy(update={"issuer": "https://issuer.example"}))
