"""Correction of first-seen times that are later than the clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from assay.policy.first_sight import find_clock_corrections
from assay.ports import ProjectHistory
from tests.contract.ledger_contract import NOON, seen, signer

YEARS = timedelta(days=3650)
DAY = timedelta(days=1)


def test_a_file_seen_in_the_future_is_seen_now() -> None:
    history = ProjectHistory(files={"a": seen("a", at=NOON + YEARS, late=True), "b": seen("b", at=NOON)}, known=True)
    assert find_clock_corrections(history, NOON) == {"a": NOON}


@pytest.mark.parametrize("ahead", [-DAY, timedelta(0), timedelta(minutes=1)])
def test_a_file_seen_before_or_about_now_stays(ahead: timedelta) -> None:
    history = ProjectHistory(files={"a": seen("a", at=NOON + ahead)}, known=True)
    assert find_clock_corrections(history, NOON) == {}


def test_a_time_is_corrected_only_once() -> None:
    corrected = replace(seen("a", at=NOON), corrected=True)
    assert find_clock_corrections(ProjectHistory(files={"a": corrected}, known=True), NOON - YEARS) == {}


def test_no_time_is_set_below_the_log_time() -> None:
    history = ProjectHistory(
        files={"a": seen("a", at=NOON + YEARS), "b": seen("b", at=NOON + DAY)},
        signers=(signer("a", logged=NOON + DAY), signer("a", logged=NOON), signer("b", logged=NOON + 2 * DAY)),
        known=True,
    )
    assert find_clock_corrections(history, NOON) == {"a": NOON + DAY}
