"""Snapshots of made-up records, as a refresh would put them in force."""

from __future__ import annotations

from assay.advisories.snapshot import AdvisorySnapshot
from tests.world.advisories.feeds import make_feed
from tests.world.advisories.records import RecordDict, make_affected, make_record


def make_snapshot(*records: RecordDict) -> AdvisorySnapshot:
    """Return a snapshot of one feed with these records."""
    return AdvisorySnapshot([make_feed(*records)])


def malware(name: str, *versions: str, record: str = "MAL-2026-1", **more: object) -> RecordDict:
    """Return a malware record about versions of a project; about all versions without `versions`."""
    return make_record(record, make_affected(name, versions=list(versions)), **more)  # type: ignore[arg-type]
