"""Hits on used projects, and those that need a person's acceptance."""

from __future__ import annotations

from packaging.utils import NormalizedName

from assay.advisories.snapshot import AdvisorySnapshot, FeedSnapshot, Hit
from assay.advisory_feeds.hits import find_used_hits, review_hits
from assay.ports import UsedProject
from tests.world.advisories.feeds import NOW, make_feed
from tests.world.advisories.records import RecordDict, make_affected, make_range, make_record

HITS: frozenset[Hit] = frozenset((f"MAL-{number}", NormalizedName(f"p{number}")) for number in range(3))


def _records(count: int) -> list[RecordDict]:
    return [make_record(f"MAL-{number}", make_affected(f"p{number}")) for number in range(count)]


def _use(*names: str, versions: tuple[str, ...] = ("1.0",)) -> list[UsedProject]:
    times = dict.fromkeys(versions, NOW)
    return [UsedProject(index="pypi", project=NormalizedName(name), last_used=NOW, versions=times) for name in names]


def _select(
    before: FeedSnapshot, after: FeedSnapshot, served: list[UsedProject], limit: int, *others: FeedSnapshot
) -> frozenset[Hit]:
    """Return the hits that are put on hold when a feed with the snapshot `before` gets the snapshot `after`."""
    return review_hits(AdvisorySnapshot([before, *others]), before, after, served, limit).on_hold


def test_hits_on_more_projects_than_the_limit_are_held_and_up_to_the_limit_act() -> None:
    empty, served = make_feed(), _use("p0", "p1", "p2")
    assert _select(empty, make_feed(*_records(10)), served, 3) == frozenset()
    assert _select(empty, make_feed(*_records(10)), served, 2) == {
        ("MAL-0", "p0"),
        ("MAL-1", "p1"),
        ("MAL-2", "p2"),
    }


def test_only_versions_that_were_served_count() -> None:
    affected = [make_affected(f"p{number}", ranges=[make_range(("introduced", "2"))]) for number in range(3)]
    after = make_feed(make_record("MAL-1", *affected))
    assert _select(make_feed(), after, _use("p0", "p1", "p2"), 0) == frozenset()
    assert len(_select(make_feed(), after, _use("p0", "p1", "p2", versions=("2.1",)), 0)) == 3


def test_a_hit_that_was_in_force_before_is_not_new() -> None:
    before = make_feed(*_records(3))
    renamed = [make_record(f"MAL-again-{number}", make_affected(f"p{number}")) for number in range(3)]
    after = make_feed(*_records(3), *renamed)
    assert _select(before, after, _use("p0", "p1", "p2"), 0) == frozenset()
    assert len(_select(make_feed(), after, _use("p0", "p1", "p2"), 0)) == 6


def test_versions_that_another_feed_withholds_do_not_count_and_those_it_has_on_hold_do() -> None:
    other, served = make_feed(*_records(3)), _use("p0", "p1", "p2")
    assert _select(make_feed(), make_feed(*_records(3)), served, 0, other) == frozenset()
    held = other.put_on_hold(HITS)
    assert _select(make_feed(), make_feed(*_records(3)), served, 0, held) == HITS


def _cover(number: int, *versions: str) -> RecordDict:
    return make_record(f"MAL-{number}", make_affected(f"p{number}", versions=list(versions)))


def test_a_hit_in_force_is_not_put_on_hold_when_it_is_extended_together_with_many_others() -> None:
    served = _use("p0", "p1", "p2", versions=("1.0", "2.0"))
    before = make_feed(_cover(0, "1.0", "3.0"))
    after = make_feed(_cover(0, "1.0", "2.0", "3.0"), _cover(1, "1.0"), _cover(2, "1.0"))
    assert _select(before, after, served, 2) == {("MAL-1", "p1"), ("MAL-2", "p2")}
    assert _select(make_feed(), after, served, 2) == HITS
    assert _select(make_feed(), after, served, 2, before) == HITS  # another feed's record stays in force
    assert _select(before.put_on_hold(HITS), after, served, 2) == HITS


def test_hits_that_are_on_hold_do_not_count_again() -> None:
    after = make_feed(*_records(3)).put_on_hold(HITS)
    assert _select(make_feed(), after, _use("p0", "p1", "p2"), 0) == frozenset()


def test_hits_in_force_are_known_without_the_snapshot_that_had_them() -> None:
    served, after = _use("p0", "p1", "p2"), make_feed(*_records(3))
    nothing = AdvisorySnapshot()
    first = review_hits(nothing, (), after, served, 3)
    assert (first.on_hold, first.in_force) == (frozenset(), HITS)
    again = review_hits(nothing, first.in_force, after, served, 0)
    assert (again.on_hold, again.in_force) == (frozenset(), HITS)
    lost = review_hits(nothing, (), after, served, 0)
    assert (lost.on_hold, lost.in_force) == (HITS, frozenset())
    known = HITS - {("MAL-2", "p2")}
    assert review_hits(nothing, known, after, served, 0).on_hold == HITS - known
    assert review_hits(nothing, known, after, served, 1).on_hold == frozenset()


def test_other_advisories_than_malware_are_no_hits() -> None:
    after = AdvisorySnapshot([make_feed(make_record("GHSA-1", make_affected("p0", versions=["1.0"])))])
    assert list(find_used_hits(after, _use("p0"))) == []


def test_a_hit_names_the_served_versions_that_it_covers() -> None:
    after = AdvisorySnapshot([make_feed(make_record("MAL-1", make_affected("p0", versions=["1", "2"])))])
    (hit,) = find_used_hits(after, _use("p0", versions=("3", "2.0", "1", "no version")))
    assert (hit.versions, hit.key, hit.used.index) == (("2.0", "1"), ("MAL-1", "p0"), "pypi")
