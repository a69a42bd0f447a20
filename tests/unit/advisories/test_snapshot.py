"""Snapshot of advisories and the archive in which it is stored."""

from __future__ import annotations

import json

from packaging.utils import NormalizedName
from packaging.version import Version

from assay.advisories.snapshot import AdvisorySnapshot, FeedSnapshot
from tests.world.advisories.feeds import make_feed
from tests.world.advisories.records import make_affected, make_record

FOO, BAR = NormalizedName("foo"), NormalizedName("bar")


def test_records_are_found_by_project_and_by_id() -> None:
    both = make_record("MAL-2", make_affected("foo"), make_affected("Bar"))
    snapshot = AdvisorySnapshot([make_feed(both, make_record("GHSA-1", make_affected("foo", versions=["1"])))])
    assert [each.id for each in snapshot.find(FOO)] == ["GHSA-1", "MAL-2"]
    assert [each.id for each in snapshot.find(BAR)] == ["MAL-2"]
    assert snapshot.find(NormalizedName("baz")) == ()
    assert json.loads(snapshot.get_raw("MAL-2") or b"") == both
    assert snapshot.get("MAL-3") is None
    assert snapshot.get_raw("MAL-3") is None
    assert len(snapshot) == 2


def test_a_withdrawn_record_is_found_by_id_only() -> None:
    record = make_record("MAL-1", make_affected("foo"), withdrawn="2026-11-20T00:00:00Z")
    snapshot = AdvisorySnapshot([make_feed(record)])
    assert snapshot.find(FOO) == ()
    assert snapshot.get("MAL-1") is not None


OLD = make_record("MAL-1", make_affected("foo", versions=["1"]))
NEW = make_record("MAL-1", make_affected("foo", versions=["2"]), modified="2026-11-21T00:00:00Z", summary="newer")
GONE = make_record("MAL-1", make_affected("foo"), modified="2026-11-22T00:00:00Z", withdrawn="2026-11-22T00:00:00Z")
HIT = ("MAL-1", FOO)


def _withheld(*feeds: FeedSnapshot) -> list[str]:
    """Return the versions of foo that are withheld."""
    records = AdvisorySnapshot(feeds).find(FOO)
    return [
        text for text in ("1", "2", "3") if any(each.withholds and each.covers(FOO, Version(text)) for each in records)
    ]


def test_records_of_several_feeds_with_one_id_are_returned_as_one() -> None:
    snapshot = AdvisorySnapshot([make_feed(OLD), make_feed(NEW)])
    assert [(each.id, each.summary) for each in snapshot.find(FOO)] == [("MAL-1", "newer")]
    assert _withheld(make_feed(OLD), make_feed(NEW)) == _withheld(make_feed(NEW), make_feed(OLD)) == ["1", "2"]
    assert json.loads(snapshot.get_raw("MAL-1") or b"") == NEW
    (same,) = AdvisorySnapshot([make_feed(OLD), make_feed(OLD)]).find(FOO)
    assert same == make_feed(OLD).get("MAL-1")


def test_a_record_that_one_feed_moves_to_another_project_stays_in_force_for_the_other_feed() -> None:
    moved = make_record("MAL-1", make_affected("bar"), modified="2026-11-21T00:00:00Z")
    assert _withheld(make_feed(OLD), make_feed(moved)) == ["1"]
    assert _withheld(make_feed(moved)) == []


def test_a_record_is_withdrawn_only_for_the_feed_that_withdrew_it() -> None:
    assert _withheld(make_feed(OLD), make_feed(GONE)) == _withheld(make_feed(GONE), make_feed(OLD)) == ["1"]
    assert _withheld(make_feed(GONE)) == _withheld(make_feed(GONE), make_feed(GONE)) == []
    both = AdvisorySnapshot([make_feed(OLD), make_feed(GONE)])
    assert json.loads(both.get_raw("MAL-1") or b"") == OLD
    assert [
        each is not None and each.withdrawn is None for each in (both.get("MAL-1"), make_feed(GONE).get("MAL-1"))
    ] == [
        True,
        False,
    ]


def test_a_hit_on_hold_withholds_nothing() -> None:
    feed = make_feed(make_record("MAL-1", make_affected("foo"), make_affected("bar")))
    snapshot = AdvisorySnapshot([feed.put_on_hold([HIT])])
    assert [each.withholds for each in snapshot.find(FOO)] == [False]
    assert [each.withholds for each in snapshot.find(BAR)] == [True]
    assert snapshot.digest != AdvisorySnapshot([feed]).digest


def test_a_hold_of_one_feed_does_not_hold_the_record_of_another_feed() -> None:
    held = make_feed(NEW).put_on_hold([HIT])
    assert _withheld(make_feed(OLD), held) == _withheld(held, make_feed(OLD)) == ["1"]
    assert _withheld(make_feed(OLD).put_on_hold([HIT]), held) == []
    assert _withheld(make_feed(OLD), make_feed(NEW)) == ["1", "2"]
    (shown,) = AdvisorySnapshot([make_feed(OLD).put_on_hold([HIT]), held]).find(FOO)
    assert shown.on_hold


def test_the_digest_of_a_project_changes_with_the_records_and_holds_of_each_feed() -> None:
    other = make_record("MAL-2", make_affected("bar"))
    feeds = [
        [make_feed(OLD), make_feed(NEW)],
        [make_feed(OLD | {"summary": "changed"}), make_feed(NEW)],
        [make_feed(OLD), make_feed(NEW).put_on_hold([HIT])],
        [make_feed(OLD).put_on_hold([HIT]), make_feed(NEW)],
        [make_feed(OLD), make_feed(GONE)],
        [make_feed(missing=[OLD]), make_feed(NEW)],
    ]
    digests = [AdvisorySnapshot(each).compute_digest(FOO) for each in feeds]
    assert len(set(digests)) == len(feeds)
    assert AdvisorySnapshot([make_feed(OLD, other), make_feed(NEW)]).compute_digest(FOO) == digests[0]


def test_missing_malware_is_marked() -> None:
    feed = make_feed(make_record("MAL-1", make_affected("foo")), missing=(make_record("MAL-2", make_affected("foo")),))
    assert [(each.id, each.is_missing, each.withholds) for each in AdvisorySnapshot([feed]).find(FOO)] == [
        ("MAL-1", False, True),
        ("MAL-2", True, True),
    ]
    assert feed.feed_count == 1


def test_records_other_than_malware_can_be_left_out() -> None:
    feed = make_feed(make_record("MAL-1", make_affected("foo")), make_record("GHSA-1", make_affected("foo")))
    snapshot = AdvisorySnapshot([feed])
    assert [each.id for each in snapshot.find(FOO)] == ["GHSA-1", "MAL-1"]
    assert [each.id for each in snapshot.find(FOO, only_malware=True)] == ["MAL-1"]
    assert feed.malware_count == 1
