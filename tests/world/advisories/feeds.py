"""Made-up feeds: snapshots, zips as OSV's export has them, and an export of any size."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from assay.advisories.archive import ArchiveWriter, decode_archive
from assay.advisories.record import parse_record
from assay.advisories.snapshot import FeedSnapshot
from tests.world.advisories.records import RecordDict, encode_record, make_affected, make_range, make_record

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def encode_feed(*records: RecordDict, missing: Iterable[RecordDict] = (), now: datetime = NOW) -> bytes:
    """Return the archive of a feed with these records."""
    writer = ArchiveWriter(map(encode_record, records))
    for record, is_missing in [*((each, False) for each in records), *((each, True) for each in missing)]:
        advisory = parse_record(record, is_missing=is_missing)
        if advisory is None:
            raise ValueError("expected a record about PyPI")
        writer.add(advisory, encode_record(record))
    return writer.finish(now)


def make_feed(*records: RecordDict, missing: Iterable[RecordDict] = (), now: datetime = NOW) -> FeedSnapshot:
    """Return the snapshot of a feed with these records."""
    return FeedSnapshot(decode_archive(encode_feed(*records, missing=missing, now=now)))


def make_zip(*records: RecordDict, more: Mapping[str, bytes] | None = None) -> bytes:
    """Return a zip with a JSON file for each record, and with `more` files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for record in records:
            archive.writestr(f"{record['id']}.json", encode_record(record))
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return made.getvalue()


def iter_export(count: int, *, seed: int = 1) -> Iterable[RecordDict]:
    """Yield records in the proportions of OSV's export of PyPI.

    Half of them are malware, mostly about one unused name. The others have long lists of versions, and concern few
    projects.
    """
    pick = random.Random(seed)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    for number in range(count):
        modified = (start + timedelta(minutes=number * 60)).strftime("%Y-%m-%dT%H:%M:%SZ")
        words = " ".join(f"{pick.getrandbits(40):x}" for _ in range(pick.randint(10, 120)))
        if number % 2:
            name = f"squat-{pick.getrandbits(48):012x}"
            affected = make_affected(name, versions=[f"{pick.randint(0, 9)}.{each}.0" for each in range(3)])
            origin = {
                "database_specific": {"malicious-packages-origins": [{"sha256": f"{pick.getrandbits(256):064x}"}]}
            }
            record = make_record(f"MAL-2026-{number}", affected, modified=modified, details=words)
            yield record | origin
        else:
            versions = [f"{major}.{minor}" for major in range(pick.randint(1, 8)) for minor in range(20)]
            bounds = make_range(("introduced", "0"), ("fixed", f"{pick.randint(1, 8)}.0"))
            affected = make_affected(f"project-{pick.randint(0, count // 8)}", versions=versions, ranges=[bounds])
            aliases = [f"CVE-2026-{number}"]
            yield make_record(f"GHSA-{number:012x}", affected, modified=modified, details=words, aliases=aliases)
