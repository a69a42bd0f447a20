"""Snapshots that are refused, and hits that need a person's acceptance."""

from __future__ import annotations

from datetime import timedelta

import pytest
from packaging.utils import NormalizedName
from packaging.version import Version

from assay.advisories.guard import ServedProject, explain_refusal, find_used_hits, select_on_hold
from assay.advisories.snapshot import AdvisorySnapshot, FeedSnapshot
from tests.world.advisories.feeds import NOW, make_feed
from tests.world.advisories.records import RecordDict, make_affected, make_range, make_record


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


def _serve(*names: str, version: str = "1.0") -> list[ServedProject]:
    return [
        ServedProject(index="pypi", project=NormalizedName(name), versions=frozenset({Version(version)}))
        for name in names
    ]


def _snapshot(*feeds: FeedSnapshot) -> AdvisorySnapshot:
    return AdvisorySnapshot(feeds)


def test_hits_on_more_projects_than_the_limit_are_held_and_up_to_the_limit_act() -> None:
    empty, served = _snapshot(), _serve("p0", "p1", "p2")
    assert select_on_hold(empty, _snapshot(make_feed(*_records(10))), served, 3) == frozenset()
    assert select_on_hold(empty, _snapshot(make_feed(*_records(10))), served, 2) == {
        ("MAL-0", "p0"),
        ("MAL-1", "p1"),
        ("MAL-2", "p2"),
    }


def test_only_versions_that_were_served_count() -> None:
    affected = [make_affected(f"p{number}", ranges=[make_range(("introduced", "2"))]) for number in range(3)]
    after = _snapshot(make_feed(make_record("MAL-1", *affected)))
    assert select_on_hold(_snapshot(), after, _serve("p0", "p1", "p2"), 0) == frozenset()
    assert len(select_on_hold(_snapshot(), after, _serve("p0", "p1", "p2", version="2.1"), 0)) == 3


def test_a_hit_that_was_in_force_before_is_not_new() -> None:
    before = _snapshot(make_feed(*_records(3)))
    renamed = [make_record(f"MAL-again-{number}", make_affected(f"p{number}")) for number in range(3)]
    after = _snapshot(make_feed(*_records(3), *renamed))
    assert select_on_hold(before, after, _serve("p0", "p1", "p2"), 0) == frozenset()
    assert len(select_on_hold(_snapshot(), after, _serve("p0", "p1", "p2"), 0)) == 6


def test_hits_that_are_on_hold_do_not_count_again() -> None:
    feed = make_feed(*_records(3))
    held = frozenset(("MAL-" + str(number), NormalizedName(f"p{number}")) for number in range(3))
    after = AdvisorySnapshot([feed], on_hold=held)
    assert select_on_hold(_snapshot(), after, _serve("p0", "p1", "p2"), 0) == frozenset()


def test_other_advisories_than_malware_are_no_hits() -> None:
    after = _snapshot(make_feed(make_record("GHSA-1", make_affected("p0", versions=["1.0"]))))
    assert list(find_used_hits(after, _serve("p0"))) == []


def test_a_hit_names_the_served_versions_that_it_covers() -> None:
    after = _snapshot(make_feed(make_record("MAL-1", make_affected("p0", versions=["1", "2"]))))
    served = ServedProject(
        index="pypi", project=NormalizedName("p0"), versions=frozenset(map(Version, ["3", "2.0", "1"]))
    )
    (hit,) = find_used_hits(after, [served])
    assert ([str(version) for version in hit.versions], hit.key, hit.index) == (["1", "2.0"], ("MAL-1", "p0"), "pypi")
