"""Reader of a feed: reads OSV records from a zip, a file or a directory, and writes them as an archive. Blocking.

Everything that is read is hostile. The number of records, the size of each record and of all records together, and the
nesting of JSON are limited. A broken record is skipped and counted. `reader_process` runs this module in a separate
process with limited memory.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from assay.advisories.archive import Archive, ArchiveError, ArchiveWriter, decode_archive
from assay.advisories.model import MALWARE_PREFIX
from assay.advisories.record import (
    MAX_RECORD_BYTES,
    BrokenRecordError,
    encode_json_object,
    parse_record,
    read_json_object,
)
from assay.errors import InvalidResponseError
from assay.operator_files import read_regular_file
from assay.simple.model import NormalizedName

MAX_FEED_RECORDS: Final = 250_000
"""Maximum number of records of one feed. OSV's export of PyPI has about 20,000."""
MAX_FEED_PACKAGES: Final = 500_000
"""Maximum number of pairs of record and project. The proxy has an index of them in memory."""
MAX_PROJECT_EVENTS: Final = 50_000
"""Maximum number of records about one project and of events in their ranges. Each version of the project is compared
with each event. Projects with many advisories have some hundreds of records with a few events each."""
MAX_TOTAL_BYTES: Final = 768 << 20
"""Maximum size of all records of one feed after decompression."""
MAX_ARCHIVE_BYTES: Final = 512 << 20
"""Maximum size of a stored archive."""
MAX_PROBLEMS: Final = 20
"""Number of broken records that are named in the result."""
_SAMPLES: Final = 16

_ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""Exceptions of `zipfile` for damaged or unsupported zips."""

ReadRecord: TypeAlias = Callable[[], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLimits:
    """Limits of a reader. Tests lower them."""

    records: int = MAX_FEED_RECORDS
    """Maximum number of records, and of the records that stay in force although the feed no longer has them."""
    packages: int = MAX_FEED_PACKAGES
    project_events: int = MAX_PROJECT_EVENTS
    total_bytes: int = MAX_TOTAL_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResult:
    """Outcome of reading a feed."""

    count: int
    """Number of usable records about PyPI projects."""
    skipped: int
    """Number of broken records."""
    unrelated: int
    """Number of records about other ecosystems."""
    missing: int
    """Number of malware records that were in the previous archive, are not in the feed, and stay in force."""
    problems: tuple[str, ...]
    """Names of the first broken records, each with its problem."""


def read_feed(
    source: Path, previous: Path | None, output: Path, now: datetime, limits: ReaderLimits | None = None
) -> ReadResult:
    """Read all records of `source` and write them, with the missing malware records, to `output`. Blocking.

    Args:
        source: a zip of records, a file with one record, or a directory with records in ``*.json`` at any depth.
        previous: archive that is in force; None if there is no such archive.
        output: path of the new archive.
        now: the current time, UTC.
        limits: limits; None for the default.

    Raises:
        InvalidResponseError: the feed as a whole is unusable: damaged, too large, or without any record.
        OSError: a file cannot be read or written.
    """
    limits = limits or ReaderLimits()
    if source.is_dir():
        return _write(_list_directory(source, limits), previous, output, now, limits, may_be_empty=True)
    if not zipfile.is_zipfile(source):
        _require(
            read_regular_file(source, MAX_RECORD_BYTES)[:1] == b"{",
            "expected a complete zip of OSV records, or one record in JSON",
        )
        return _write(
            [(source.name, partial(read_regular_file, source, MAX_RECORD_BYTES))], previous, output, now, limits
        )
    with _open_zip(source) as archive:
        return _write(_list_zip(archive, limits), previous, output, now, limits)


def _list_directory(directory: Path, limits: ReaderLimits) -> list[tuple[str, ReadRecord]]:
    found: list[Path] = []
    for folder, folders, names in os.walk(directory):
        folders.sort()
        found += [Path(folder, name) for name in sorted(names) if name.endswith(".json")]
        _require(len(found) <= limits.records, f"expected at most {limits.records} records")
    return [(str(path.relative_to(directory)), partial(read_regular_file, path, MAX_RECORD_BYTES)) for path in found]


def _open_zip(source: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except _ZIP_ERRORS as error:
        raise InvalidResponseError("expected a complete zip of OSV records") from error


def _list_zip(archive: zipfile.ZipFile, limits: ReaderLimits) -> list[tuple[str, ReadRecord]]:
    members = [each for each in archive.infolist() if each.filename.endswith(".json") and not each.is_dir()]
    _require(len(members) <= limits.records, f"expected at most {limits.records} records, found {len(members)}")
    return [(each.filename, partial(_read_member, archive, each)) for each in members]


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > MAX_RECORD_BYTES:
        raise BrokenRecordError(f"expected at most {MAX_RECORD_BYTES} bytes, found {member.file_size}")
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise BrokenRecordError("expected the compression method deflate, or none")
    try:
        with archive.open(member) as file:
            return file.read(MAX_RECORD_BYTES + 1)
    except _ZIP_ERRORS as error:  # encryption, a wrong checksum or a wrong local header
        raise BrokenRecordError("the entry of the zip is damaged") from error


class _Budget:
    """Counter of the bytes that were read."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    def read(self, read: ReadRecord) -> bytes:
        raw = read()
        self._used += len(raw)
        _require(self._used <= self._limit, f"expected at most {self._limit} bytes after decompression")
        return raw


def _write(
    entries: Sequence[tuple[str, ReadRecord]],
    previous: Path | None,
    output: Path,
    now: datetime,
    limits: ReaderLimits,
    *,
    may_be_empty: bool = False,
) -> ReadResult:
    budget = _Budget(limits.total_bytes)
    writer = ArchiveWriter(_iter_samples(entries, budget))
    problems: list[str] = []
    skipped = unrelated = 0
    events = Counter[NormalizedName]()
    for name, read in entries:
        try:
            record = read_json_object(budget.read(read))
            advisory = parse_record(record)
            raw = b"" if advisory is None else encode_json_object(record)
        except (BrokenRecordError, OSError) as error:
            skipped += 1
            if len(problems) < MAX_PROBLEMS:
                problems.append(f"{name[:100]!a}: {error}")
            continue
        if advisory is None:
            unrelated += 1
        else:
            writer.add(advisory, raw)
            events.update(dict.fromkeys(advisory.projects, 1 + advisory.event_count))
    count = len(writer)
    _require(bool(count) or may_be_empty, "expected at least one usable record about a PyPI project")
    for project, found in events.most_common(1):
        problem = f"expected at most {limits.project_events} records and events about {project}, found {found}"
        _require(found <= limits.project_events, problem)
    _add_missing(writer, previous)
    # Without a limit, a feed that lists other malware each time would fill memory and disk.
    missing = len(writer) - count
    _require(missing <= limits.records, f"expected at most {limits.records} missing malware records, found {missing}")
    packages = writer.package_count
    _require(packages <= limits.packages, f"expected at most {limits.packages} affected packages, found {packages}")
    content = writer.finish(now, skipped)
    _require(len(content) <= MAX_ARCHIVE_BYTES, f"expected at most {MAX_ARCHIVE_BYTES} bytes of compressed records")
    _write_durably(output, content)
    return ReadResult(count=count, skipped=skipped, unrelated=unrelated, missing=missing, problems=tuple(problems))


def _iter_samples(entries: Sequence[tuple[str, ReadRecord]], budget: _Budget) -> Iterator[bytes]:
    for _, read in entries[:: max(1, len(entries) // _SAMPLES)][:_SAMPLES]:
        try:
            yield encode_json_object(read_json_object(budget.read(read)))
        except (BrokenRecordError, OSError):
            continue


def _add_missing(writer: ArchiveWriter, previous: Path | None) -> None:
    """Add the malware records of the previous archive that the feed lacks and has never withdrawn."""
    archive = None if previous is None else load_archive(previous)
    if archive is None:
        return
    for number, advisory_id in enumerate(archive.ids):
        if not advisory_id.startswith(MALWARE_PREFIX) or advisory_id in writer:
            continue
        raw = archive.read(number)
        try:
            advisory = parse_record(read_json_object(raw), is_missing=True)
        except BrokenRecordError:
            continue  # an earlier version of Assay stored the record, and it was never in force
        if advisory is not None and advisory.withdrawn is None:
            writer.add(advisory, raw)


def load_archive(path: Path) -> Archive | None:
    """Return the archive at `path`; None if the file does not exist. Blocking.

    Raises:
        ArchiveError: the file is not a complete archive.
        OSError: the file cannot be read.
    """
    try:
        if path.stat().st_size > MAX_ARCHIVE_BYTES:
            raise ArchiveError("the archive is too large")
        return decode_archive(path.read_bytes())
    except FileNotFoundError:
        return None


def _write_durably(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - opened by descriptor, for its mode
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _require(condition: bool, problem: str) -> None:  # noqa: FBT001 - an assertion
    if not condition:
        raise InvalidResponseError(problem)
