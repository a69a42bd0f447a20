"""Snapshots of made-up records, as a refresh would put them in force."""

from __future__ import annotations

from datetime import UTC, datetime

from assay.advisories.archive import decode_archive, encode_archive
from assay.advisories.model import Advisory
from assay.advisories.record import parse_record
from assay.advisories.snapshot import AdvisorySnapshot, FeedSnapshot
from tests.world.advisories.records import RecordDict, encode_record, make_affected, make_record


def make_snapshot(*records: RecordDict) -> AdvisorySnapshot:
    """Return a snapshot of one feed with these records."""
    pairs: list[tuple[Advisory, bytes]] = []
    for record in records:
        advisory = parse_record(record)
        assert advisory is not None
        pairs.append((advisory, encode_record(record)))
    content = encode_archive(pairs, newest_modified=datetime(2026, 11, 20, tzinfo=UTC))
    return AdvisorySnapshot([FeedSnapshot(decode_archive(content))])


def malware(name: str, *versions: str, record: str = "MAL-2026-1", **more: object) -> RecordDict:
    """Return a malware record about versions of a project; about all versions without `versions`."""
    return make_record(record, make_affected(name, versions=list(versions)), **more)  # type: ignore[arg-type]
