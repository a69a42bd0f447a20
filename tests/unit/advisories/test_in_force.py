"""Holder of the snapshot in force."""

from __future__ import annotations

from assay.advisories.in_force import AdvisoriesInForce
from assay.advisories.snapshot import EMPTY_SNAPSHOT, AdvisorySnapshot
from tests.world.advisories.feeds import make_feed
from tests.world.advisories.records import make_affected, make_record


def test_subscribers_hear_of_another_snapshot_only() -> None:
    told: list[tuple[AdvisorySnapshot, AdvisorySnapshot]] = []
    in_force = AdvisoriesInForce(not_ready="advisories: no snapshot yet")
    in_force.subscribe(lambda before, after: told.append((before, after)))
    assert in_force.explain_not_ready() == "advisories: no snapshot yet"

    new = AdvisorySnapshot([make_feed(make_record("MAL-1", make_affected("foo")))])
    in_force.put(new)
    in_force.put(AdvisorySnapshot([make_feed(make_record("MAL-1", make_affected("foo")))]))
    assert told == [(EMPTY_SNAPSHOT, new)]
    assert in_force.explain_not_ready() is None
    assert len(in_force.current()) == 1
