"""Hits on used projects, and those that need a person's acceptance."""

from __future__ import annotations

from packaging.utils import NormalizedName

from assay.advisories.snapshot import AdvisorySnapshot, FeedSnapshot
from assay.advisory_feeds.hits import find_used_hits, select_on_hold
from assay.ports import UsedProject
from tests.world.advisories.feeds import NOW, make_feed
from tests.world.advisories.records import RecordDict, make_affected, make_range, make_record


def _records(count: int) -> list[RecordDict]:
    return [make_record(f"MAL-{number}", make_affected(f"p{number}")) for number in range(count)]


def _use(*names: str, versions: tuple[str, ...] = ("1.0",)) -> list[UsedProject]:
    times = dict.fromkeys(versions, NOW)
    return [UsedProject(index="pypi", project=NormalizedName(name), last_used=NOW, versions=times) for name in names]


def _snapshot(*feeds: FeedSnapshot) -> AdvisorySnapshot:
    return AdvisorySnapshot(feeds)


def test_hits_on_more_projects_than_the_limit_are_held_and_up_to_the_limit_act() -> None:
    empty, served = _snapshot(), _use("p0", "p1", "p2")
    assert select_on_hold(empty, _snapshot(make_feed(*_records(10))), served, 3) == frozenset()
    assert select_on_hold(empty, _snapshot(make_feed(*_records(10))), served, 2) == {
        ("MAL-0", "p0"),
        ("MAL-1", "p1"),
        ("MAL-2", "p2"),
    }


def test_only_versions_that_were_served_count() -> None:
    affected = [make_affected(f"p{number}", ranges=[make_range(("introduced", "2"))]) for number in range(3)]
    after = _snapshot(make_feed(make_record("MAL-1", *affected)))
    assert select_on_hold(_snapshot(), after, _use("p0", "p1", "p2"), 0) == frozenset()
    assert len(select_on_hold(_snapshot(), after, _use("p0", "p1", "p2", versions=("2.1",)), 0)) == 3


def test_a_hit_that_was_in_force_before_is_not_new() -> None:
    before = _snapshot(make_feed(*_records(3)))
    renamed = [make_record(f"MAL-again-{number}", make_affected(f"p{number}")) for number in range(3)]
    after = _snapshot(make_feed(*_records(3), *renamed))
    assert select_on_hold(before, after, _use("p0", "p1", "p2"), 0) == frozenset()
    assert len(select_on_hold(_snapshot(), after, _use("p0", "p1", "p2"), 0)) == 6


def test_a_hit_in_force_is_not_put_on_hold_when_it_is_extended_together_with_many_others() -> None:
    def cover(number: int, *versions: str) -> RecordDict:
        return make_record(f"MAL-{number}", make_affected(f"p{number}", versions=list(versions)))

    served = _use("p0", "p1", "p2", versions=("1.0", "2.0"))
    before = _snapshot(make_feed(cover(0, "1.0", "3.0")))
    after = _snapshot(make_feed(cover(0, "1.0", "2.0", "3.0"), cover(1, "1.0"), cover(2, "1.0")))
    assert select_on_hold(before, after, served, 2) == {("MAL-1", "p1"), ("MAL-2", "p2")}
    assert select_on_hold(_snapshot(), after, served, 2) == {("MAL-0", "p0"), ("MAL-1", "p1"), ("MAL-2", "p2")}
    held = AdvisorySnapshot([make_feed(cover(0, "1.0", "3.0"))], on_hold=[("MAL-0", NormalizedName("p0"))])
    assert len(select_on_hold(held, after, served, 2)) == 3


def test_hits_that_are_on_hold_do_not_count_again() -> None:
    feed = make_feed(*_records(3))
    held = frozenset(("MAL-" + str(number), NormalizedName(f"p{number}")) for number in range(3))
    after = AdvisorySnapshot([feed], on_hold=held)
    assert select_on_hold(_snapshot(), after, _use("p0", "p1", "p2"), 0) == frozenset()


def test_other_advisories_than_malware_are_no_hits() -> None:
    after = _snapshot(make_feed(make_record("GHSA-1", make_affected("p0", versions=["1.0"]))))
    assert list(find_used_hits(after, _use("p0"))) == []


def test_a_hit_names_the_served_versions_that_it_covers() -> None:
    after = _snapshot(make_feed(make_record("MAL-1", make_affected("p0", versions=["1", "2"]))))
    (hit,) = find_used_hits(after, _use("p0", versions=("3", "2.0", "1", "no version")))
    assert (hit.versions, hit.key, hit.used.index) == (("2.0", "1"), ("MAL-1", "p0"), "pypi")
