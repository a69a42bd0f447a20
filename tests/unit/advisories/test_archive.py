"""Archive of records: its format, and which record of several is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from assay.advisories.archive import ArchiveError, decode_archive
from tests.world.advisories.feeds import NOW, encode_feed, make_feed
from tests.world.advisories.records import make_affected, make_record

FIRST = make_record("MAL-1", make_affected("foo"), modified="2026-11-20T00:00:00Z", details="first")
SECOND = make_record("MAL-2", make_affected("bar"), modified="2026-11-21T00:00:00Z")


def test_a_changed_archive_is_refused() -> None:
    content = encode_feed(FIRST, SECOND)
    assert decode_archive(content).ids == ("MAL-1", "MAL-2")
    for damaged in (b"", content[:40], content[:-1], content[:-1] + b"?", b"x" + content, content + b"x"):
        with pytest.raises(ArchiveError):
            decode_archive(damaged)


def test_the_digest_depends_on_the_records_and_not_on_order_and_time() -> None:
    digest = make_feed(FIRST, SECOND).digest
    assert make_feed(SECOND, FIRST, now=NOW + timedelta(days=1)).digest == digest
    assert make_feed(FIRST).digest != digest
    assert make_feed(FIRST | {"details": "changed"}, SECOND).digest != digest
    assert make_feed(FIRST, missing=[SECOND]).digest != digest


def test_of_records_with_one_id_the_newest_is_kept() -> None:
    newer = FIRST | {"modified": "2026-11-22T00:00:00Z", "details": "newer"}
    for records in ((FIRST, newer), (newer, FIRST)):
        assert json.loads(make_feed(*records).get_raw("MAL-1") or b"")["details"] == "newer"


def test_times_later_than_now_count_as_now() -> None:
    later = SECOND | {"modified": "2099-01-01T00:00:00Z"}
    assert make_feed(FIRST, later).newest_modified == NOW
    assert make_feed(FIRST).newest_modified == datetime(2026, 11, 20, tzinfo=UTC)
    assert make_feed(FIRST, missing=[SECOND]).newest_modified == datetime(2026, 11, 20, tzinfo=UTC)
    assert make_feed().newest_modified is None
