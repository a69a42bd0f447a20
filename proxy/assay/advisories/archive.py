"""Archive: the compressed records of one feed with their indexes, and the format in which they are stored. Pure.

Format: a line with the name and the version of the format, a line with the SHA-256 of everything after it, a line with
the length of the header, the header (JSON, compressed), the dictionary for the compression, and the compressed records.
An archive on disk is only a copy of what the feed sent. If it cannot be read, the feed is fetched again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

from assay.advisories.model import Advisory
from assay.advisories.record import MAX_RECORD_BYTES
from assay.simple.model import NormalizedName

__all__ = ["Archive", "ArchiveError", "ArchiveWriter", "decode_archive"]

_MAGIC: Final = b"assay-advisories 1"
_LEVEL: Final = 6
_SAMPLE_BYTES: Final = 2_000
_MAX_DICTIONARY_BYTES: Final = 32_000
"""Maximum length of the dictionary for the compression. zlib uses at most 32 KiB."""
_MAX_HEADER_BYTES: Final = 128 << 20


class ArchiveError(ValueError):
    """Error for bytes that are not an archive, or not a complete one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Compressed records of one feed with their indexes. A number is the place of a record in the archive."""

    digest: str
    """SHA-256 of the records, in hexadecimal. It does not depend on their order and on times."""
    names: Mapping[NormalizedName, tuple[int, ...]]
    """Numbers of the records of each project, by its normalised name."""
    ids: tuple[str, ...]
    """Ids of the records, sorted."""
    numbers: Mapping[str, int]
    """Number of each record, by its id."""
    missing_ids: frozenset[str]
    """Ids of the malware records that the feed no longer contained, and that stay in force."""
    newest_modified: datetime | None
    """Newest time of a change in the feed's records, but at most the time at which the feed was read."""
    skipped_count: int
    """Number of broken records that were skipped."""
    dictionary: bytes
    ends: array[int]
    """Offset of the end of each compressed record in `records`."""
    records: memoryview

    def read(self, number: int) -> bytes:
        """Return a record: JSON in ASCII, without line breaks."""
        start = self.ends[number - 1] if number else 0
        inflate = zlib.decompressobj(zdict=self.dictionary)
        return inflate.decompress(self.records[start : self.ends[number]], MAX_RECORD_BYTES + 1)


@dataclass(frozen=True, slots=True)
class _Entry:
    modified: datetime
    projects: frozenset[NormalizedName]
    content_digest: bytes
    compressed: bytes
    is_missing: bool


class ArchiveWriter:
    """Writer of an archive. It keeps only compressed records in memory.

    Args:
        samples: some typical records. The dictionary for the compression consists of their beginnings.
    """

    def __init__(self, samples: Iterable[bytes] = ()) -> None:
        self._dictionary = b"".join(each[:_SAMPLE_BYTES] for each in samples)[:_MAX_DICTIONARY_BYTES]
        self._entries: dict[str, _Entry] = {}

    def __contains__(self, advisory_id: object) -> bool:
        """Return whether a record with this id was added."""
        return advisory_id in self._entries

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._entries)

    @property
    def package_count(self) -> int:
        """Number of pairs of record and project."""
        return sum(len(each.projects) for each in self._entries.values())

    def add(self, advisory: Advisory, raw: bytes) -> None:
        """Add a record. Of several records with the same id, the most recently modified one is kept.

        Args:
            advisory: the parsed record.
            raw: the record as JSON in ASCII, without line breaks.
        """
        known = self._entries.get(advisory.id)
        if known is not None and known.modified >= advisory.modified:
            return
        deflate = zlib.compressobj(_LEVEL, zdict=self._dictionary)
        self._entries[advisory.id] = _Entry(
            advisory.modified,
            advisory.projects,
            hashlib.sha256(raw).digest(),
            deflate.compress(raw) + deflate.flush(),
            advisory.is_missing,
        )

    def finish(self, now: datetime, skipped_count: int = 0) -> bytes:
        """Return the archive as bytes.

        Args:
            now: the current time, UTC. Later times of changes count as this time.
            skipped_count: number of broken records that were skipped.
        """
        entries = [(advisory_id, self._entries[advisory_id]) for advisory_id in sorted(self._entries)]
        names: dict[str, list[int]] = {}
        content = hashlib.sha256()
        for number, (advisory_id, entry) in enumerate(entries):
            content.update(b"%s %s %d\n" % (advisory_id.encode(), entry.content_digest, entry.is_missing))
            for project in sorted(entry.projects):
                names.setdefault(project, []).append(number)
        newest = max((entry.modified for _, entry in entries if not entry.is_missing), default=None)
        header = {
            "digest": content.hexdigest(),
            "names": names,
            "ids": [advisory_id for advisory_id, _ in entries],
            "sizes": [len(entry.compressed) for _, entry in entries],
            "missing": [advisory_id for advisory_id, entry in entries if entry.is_missing],
            "newest-modified": None if newest is None else min(newest, now).isoformat(),
            "skipped": skipped_count,
            "dictionary": len(self._dictionary),
        }
        packed = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), _LEVEL)
        parts = [b"%d\n" % len(packed), packed, self._dictionary, *(entry.compressed for _, entry in entries)]
        checksum = hashlib.sha256()
        for part in parts:
            checksum.update(part)
        return b"".join([b"%s\n%s\n" % (_MAGIC, checksum.hexdigest().encode()), *parts])


def decode_archive(content: bytes) -> Archive:
    """Return the archive that `content` contains.

    Raises:
        ArchiveError: `content` is not an archive, is not complete, or was changed.
    """
    magic, _, rest = content[: len(_MAGIC) + 66].partition(b"\n")
    checksum, _, _ = rest.partition(b"\n")
    body = memoryview(content)[len(_MAGIC) + 1 + len(checksum) + 1 :]
    if magic != _MAGIC or hashlib.sha256(body).hexdigest().encode() != checksum:
        raise ArchiveError("expected a complete archive of advisories")
    try:
        length, _, _ = bytes(body[:20]).partition(b"\n")
        start = len(length) + 1
        after = start + int(length)
        header = json.loads(zlib.decompressobj().decompress(body[start:after], _MAX_HEADER_BYTES))
        return _make_archive(header, body[after:])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ArchiveError("the header of the archive is malformed") from error


def _make_archive(header: dict[str, Any], rest: memoryview) -> Archive:
    newest = header["newest-modified"]
    dictionary = bytes(rest[: header["dictionary"]])
    ids = tuple(header["ids"])
    return Archive(
        digest=header["digest"],
        names={name: tuple(numbers) for name, numbers in header["names"].items()},
        ids=ids,
        numbers={advisory_id: number for number, advisory_id in enumerate(ids)},
        missing_ids=frozenset(header["missing"]),
        newest_modified=None if newest is None else datetime.fromisoformat(newest).astimezone(UTC),
        skipped_count=header["skipped"],
        dictionary=dictionary,
        ends=array("Q", accumulate(header["sizes"])),
        records=rest[len(dictionary) :],
    )
