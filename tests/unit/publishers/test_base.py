"""Tests of the parts of a publisher kind: all are required, and they agree with each other."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields

import pytest

from assay.evidence import Claims
from assay.publishers.base import PublisherKind, PublisherTable
from assay.publishers.extensions import InvalidClaimsError
from assay.publishers.registry import PUBLISHER_KINDS
from tests.unit.publishers.factories import change_claim, make_claims

each_kind = pytest.mark.parametrize("kind", PUBLISHER_KINDS, ids=lambda kind: kind.name)
CLAIMS = {field.name for field in fields(Claims)}


def test_no_part_of_a_kind_can_be_left_out() -> None:
    parts = fields(PublisherKind)
    assert {part.name for part in parts if part.default is not MISSING or part.default_factory is not MISSING} == set()
    complete = {part.name: getattr(PUBLISHER_KINDS[0], part.name) for part in parts}
    assert PublisherKind(**complete).name == PUBLISHER_KINDS[0].name
    for part in parts:
        with pytest.raises(TypeError, match=part.name):
            PublisherKind(**{name: value for name, value in complete.items() if name != part.name})


@each_kind
def test_every_key_of_a_table_is_compared(kind: PublisherKind) -> None:
    assert issubclass(kind.table, PublisherTable)
    assert set(kind.claim_keys) == set(kind.table.model_fields) - {"kind", "issuer"}
    assert {key.claim for key in kind.claim_keys.values()} <= CLAIMS
    assert kind.table.identifying_keys
    assert set(kind.table.identifying_keys) <= set(kind.claim_keys)


@each_kind
def test_every_key_and_table_says_what_it_means(kind: PublisherKind) -> None:
    assert inspect.getdoc(kind.table)
    assert kind.table.__doc__ != PublisherTable.__doc__


@each_kind
def test_a_proposal_holds_to_the_identity(kind: PublisherKind) -> None:
    assert kind.identity
    assert set(kind.proposed_keys) <= set(kind.claim_keys)
    assert kind.name_key in kind.proposed_keys
    assert {each.claim for each in kind.identity} <= {kind.claim_keys[key].claim for key in kind.proposed_keys}


@each_kind
def test_a_block_of_the_index_can_be_pasted(kind: PublisherKind) -> None:
    names = [key.name for key in kind.block_keys]
    assert len(set(names)) == len(names)
    assert set(names) <= set(kind.claim_keys)
    required = [key.is_required for key in kind.block_keys]
    assert required[0]
    assert required == sorted(required, reverse=True)


@each_kind
def test_the_index_is_held_to_every_key_of_its_block(kind: PublisherKind) -> None:
    claims = make_claims(kind)
    for key in kind.block_keys:
        proposed = kind.claim_keys[key.name]
        said = proposed.propose(claims)
        assert said is not None
        key.check(said, claims)
        with pytest.raises(InvalidClaimsError) as refused:
            key.check(said, change_claim(claims, proposed.claim))
        assert refused.value.step == f"publisher {key.name}"
        assert said in str(refused.value.found)


@each_kind
def test_details_are_read_from_any_claims(kind: PublisherKind) -> None:
    for claims in (make_claims(kind), Claims(kind=kind.name, issuer="", san="")):
        assert all(isinstance(read(claims), str | None) for _, read in kind.details)
