"""Snapshot of advisories and the archive in which it is stored."""

from __future__ import annotations

import json

from packaging.utils import NormalizedName

from assay.advisories.snapshot import AdvisorySnapshot
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
    assert (len(snapshot), list(snapshot.iter_projects())) == (2, ["foo", "bar"])


def test_a_withdrawn_record_is_found_by_id_only() -> None:
    record = make_record("MAL-1", make_affected("foo"), withdrawn="2026-11-20T00:00:00Z")
    snapshot = AdvisorySnapshot([make_feed(record)])
    assert snapshot.find(FOO) == ()
    assert snapshot.get("MAL-1") is not None


def test_the_newest_of_several_records_with_one_id_counts() -> None:
    old = make_record("MAL-1", make_affected("foo", versions=["1"]))
    new = make_record("MAL-1", make_affected("bar"), modified="2026-11-21T00:00:00Z")
    gone = make_record("MAL-1", make_affected("foo"), modified="2026-11-22T00:00:00Z", withdrawn="2026-11-22T00:00:00Z")
    assert [each.id for each in AdvisorySnapshot([make_feed(old), make_feed(new)]).find(FOO)] == []
    assert [each.id for each in AdvisorySnapshot([make_feed(old), make_feed(new)]).find(BAR)] == ["MAL-1"]
    assert AdvisorySnapshot([make_feed(old), make_feed(gone)]).find(FOO) == ()
    assert json.loads(AdvisorySnapshot([make_feed(old), make_feed(new)]).get_raw("MAL-1") or b"") == new


def test_a_hit_on_hold_withholds_nothing() -> None:
    feed = make_feed(make_record("MAL-1", make_affected("foo"), make_affected("bar")))
    snapshot = AdvisorySnapshot([feed], on_hold=[("MAL-1", FOO)])
    assert [each.withholds for each in snapshot.find(FOO)] == [False]
    assert [each.withholds for each in snapshot.find(BAR)] == [True]
    assert snapshot.digest != AdvisorySnapshot([feed]).digest


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
