"""Snapshots that are refused until a person accepts them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assay.advisories.guard import explain_refusal
from tests.world.advisories.feeds import NOW, make_feed
from tests.world.advisories.records import RecordDict, make_affected, make_record


def _records(count: int, first: int = 0, modified: str = "2026-11-20T00:00:00Z") -> list[RecordDict]:
    return [
        make_record(f"MAL-{number}", make_affected(f"p{number}"), modified=modified) for number in range(first, count)
    ]


@pytest.mark.parametrize(("before", "after", "is_refused"), [(100, 91, False), (100, 90, True), (100, 0, True)])
def test_a_snapshot_that_lost_a_tenth_of_its_records_is_refused(before: int, after: int, is_refused: bool) -> None:
    newest = make_record("GHSA-1", make_affected("foo"), modified="2026-11-21T00:00:00Z")
    reason = explain_refusal(make_feed(*_records(before - 1), newest), make_feed(*_records(max(after - 1, 0)), newest))
    assert (reason is not None) is is_refused
    if reason is not None and after:
        assert reason == (
            f"the snapshot has {after} records and the previous one had {before}; at most a tenth may be missing"
        )


def test_missing_malware_that_stays_in_force_is_not_counted() -> None:
    previous = make_feed(*_records(20), missing=_records(40, 20))
    assert explain_refusal(previous, make_feed(*_records(19))) is None
    assert explain_refusal(make_feed(*_records(20)), make_feed(*_records(18), missing=_records(20, 18))) is not None


def test_a_snapshot_whose_newest_change_is_older_is_refused() -> None:
    old, new = _records(3), [*_records(2), *_records(3, 2, modified="2026-11-21T00:00:00Z")]
    assert explain_refusal(make_feed(*old), make_feed(*new)) is None
    assert explain_refusal(make_feed(*new), make_feed(*new)) is None
    assert explain_refusal(make_feed(*new), make_feed(*old)) == (
        "the newest change in the snapshot is of 2026-11-20 00:00:00 UTC, before that of the previous one,"
        " 2026-11-21 00:00:00 UTC"
    )


def test_a_time_in_the_future_does_not_block_the_feed() -> None:
    wrong = make_feed(*_records(2), make_record("MAL-9", make_affected("foo"), modified="2099-01-01T00:00:00Z"))
    corrected = make_record("MAL-9", make_affected("foo"), modified="2026-11-29T12:10:00Z")
    later = NOW + timedelta(minutes=15)
    assert explain_refusal(wrong, make_feed(*_records(2), corrected, now=later)) is None
