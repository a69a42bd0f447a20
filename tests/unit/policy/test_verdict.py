"""Verdicts and reasons are values, whichever function constructs them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta
from typing import Any

import pytest

from assay.evidence import INDEX_SOURCE
from assay.policy.verdict import (
    Approved,
    Reason,
    ReasonCode,
    Undecided,
    Withheld,
    Words,
    approve,
    leave_undecided,
    make_reason,
    state_reason,
    withhold,
)
from tests.unit.policy.factories import NOW, UNATTESTED, a_file, a_policy, ago, one

FILE = a_file()


def tell_age(hours: int, days: int) -> Words:
    return Words(
        f"it is {hours} hours old, but the rule requires {days} days", f"at least {days} days old", f"{hours} hours old"
    )


YOUNG = make_reason(ReasonCode.TOO_YOUNG, "cool down", tell_age, (26, 3), NOW)
SAID = state_reason(
    ReasonCode.TOO_YOUNG,
    "cool down",
    "it is 26 hours old, but the rule requires 3 days",
    expected="at least 3 days old",
    found="26 hours old",
    until=NOW,
)


def test_a_reason_that_finds_its_words_when_read_is_the_reason_with_these_words() -> None:
    assert (YOUNG, hash(YOUNG)) == (SAID, hash(SAID))
    assert (SAID, YOUNG) == (YOUNG, SAID)
    assert (YOUNG.code, YOUNG.rule, YOUNG.until) == (ReasonCode.TOO_YOUNG, "cool down", NOW)
    assert (YOUNG.message, YOUNG.expected, YOUNG.found) == SAID.words
    assert repr(YOUNG) == repr(SAID)
    for other in (
        replace(SAID, code=ReasonCode.UPLOADED_AFTER),
        replace(SAID, rule=None),
        replace(SAID, until=ago(1)),
        replace(SAID, facts=(SAID.message, SAID.expected, "25 hours old")),
        SAID.code,
    ):
        assert other != YOUNG
        assert len({YOUNG, other}) == 2


def test_it_is_equal_to_another_one_by_its_words() -> None:
    assert make_reason(ReasonCode.TOO_YOUNG, "cool down", tell_age, (26, 3), NOW) == YOUNG
    assert make_reason(ReasonCode.TOO_YOUNG, "cool down", tell_age, (25, 3), NOW) != YOUNG


def test_its_words_are_not_found_before_they_are_read() -> None:
    told: list[int] = []

    def tell(number: int) -> Words:
        told.append(number)
        return Words(str(number))

    reason = make_reason(ReasonCode.TOO_YOUNG, None, tell, (1,))
    assert (reason.code, told) == (ReasonCode.TOO_YOUNG, [])
    assert (reason.message, told) == ("1", [1])


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda reason: pickle.loads(pickle.dumps(reason))])  # noqa: S301
def test_it_is_copied_and_pickled_with_its_words(again: Callable[[Reason], Reason]) -> None:
    assert again(YOUNG) == again(SAID) == SAID


def test_a_page_s_young_files_have_such_reasons() -> None:
    verdict = one(a_policy('min-age = "3 days"'), a_file(uploaded=ago(1)))
    assert isinstance(verdict, Withheld)
    (reason,) = verdict.reasons
    assert reason == state_reason(
        ReasonCode.TOO_YOUNG,
        "all",
        "the file is 24 hours old, but the rule requires 3 days; allowed from 2026-11-23 12:00 UTC",
        expected="at least 3 days old",
        found="24 hours old",
        until=NOW + timedelta(days=2),
    )
    assert pickle.loads(pickle.dumps(reason)) == reason  # noqa: S301


APPROVED = approve(FILE, rule="all", evidence=UNATTESTED)
WITHHELD = withhold(FILE, (SAID,), True, "all", None, NOW)


@pytest.mark.parametrize("value", [APPROVED, WITHHELD, YOUNG, SAID, leave_undecided(FILE)])
def test_what_is_made_the_quick_way_is_frozen(value: Any) -> None:
    for field in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field.name, None)


def test_what_is_made_the_quick_way_is_what_its_type_makes() -> None:
    assert type(APPROVED) is Approved
    usual = Withheld(file=FILE, reasons=(SAID,), enforced=True, rule="all", changes_at=NOW)
    assert (WITHHELD, hash(WITHHELD), repr(WITHHELD)) == (usual, hash(usual), repr(usual))
    assert type(YOUNG) is Reason
    assert Reason(ReasonCode.TOO_YOUNG, "cool down", tell_age, (26, 3), NOW) == YOUNG
    assert hash(approve(FILE, rule="all", evidence=UNATTESTED)) == hash(APPROVED)


def test_an_undecided_file_names_the_sources_whose_evidence_it_wants() -> None:
    undecided = one(a_policy(), FILE, None)
    assert undecided == Undecided(file=FILE) == leave_undecided(FILE)
    assert isinstance(undecided, Undecided)
    assert undecided.wants == {INDEX_SOURCE}
    assert leave_undecided(FILE, frozenset({"advisories"})) != undecided


def test_no_approval_is_made_from_another_one() -> None:
    with pytest.raises(TypeError, match=r"only assay\.policy"):
        replace(APPROVED, file=a_file("2.0"))
    assert approve(APPROVED.file, rule="all", evidence=UNATTESTED) == APPROVED


def test_an_approval_knows_its_files_digest_and_project() -> None:
    approved = approve(FILE, rule="open", evidence=None)
    assert FILE.distribution is not None
    assert (approved.sha256, approved.project) == (FILE.sha256, FILE.distribution.project)


def test_an_approval_of_a_file_without_digest_or_name_gives_neither() -> None:
    approved = approve(replace(FILE, sha256=None, distribution=None), rule="open", evidence=None)
    with pytest.raises(RuntimeError, match="without a digest"):
        approved.sha256  # noqa: B018 - the property raises
    with pytest.raises(RuntimeError, match="filename is invalid"):
        approved.project  # noqa: B018 - the property raises
