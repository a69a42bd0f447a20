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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

from assay.advisories.model import Advisory
from assay.advisories.record import MAX_RECORD_BYTES

__all__ = ["Archive", "ArchiveError", "decode_archive", "encode_archive"]

_MAGIC: Final = b"assay-advisories 1"
_LEVEL: Final = 6
_SAMPLES: Final = 16
_SAMPLE_BYTES: Final = 2_000
"""The dictionary for the compression consists of the beginnings of some records. Most records have much in common."""
_MAX_HEADER_BYTES: Final = 128 << 20


class ArchiveError(ValueError):
    """Error for bytes that are not an archive, or not a complete one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Compressed records of one feed with their indexes. A number is the place of a record in the archive."""

    digest: str
    names: Mapping[str, tuple[int, ...]]
    """Numbers of the records of each project, by its normalised name."""
    ids: Mapping[str, int]
    """Number of each record, by its id."""
    missing_ids: Sequence[str]
    newest_modified: datetime | None
    skipped_count: int
    dictionary: bytes
    ends: array[int]
    """Offset of the end of each compressed record in `records`."""
    records: memoryview

    def read(self, number: int) -> bytes:
        """Return a record: JSON in ASCII, without line breaks."""
        start = self.ends[number - 1] if number else 0
        inflate = zlib.decompressobj(zdict=self.dictionary)
        return inflate.decompress(self.records[start : self.ends[number]], MAX_RECORD_BYTES * 6)


def encode_archive(
    records: Sequence[tuple[Advisory, bytes]],
    *,
    missing: Iterable[tuple[Advisory, bytes]] = (),
    newest_modified: datetime | None,
    skipped_count: int = 0,
) -> bytes:
    """Return the archive of `records` as bytes.

    Args:
        records: the records of the feed, each with its JSON text (ASCII, without line breaks). Each id occurs once.
        missing: malware records that the feed no longer contains and that stay in force.
        newest_modified: newest time of a change in the feed's records, UTC.
        skipped_count: number of broken records that were skipped.
    """
    missing = list(missing)
    entries = [*records, *missing]
    samples = [raw[:_SAMPLE_BYTES] for _, raw in entries[:: max(1, len(entries) // _SAMPLES)][:_SAMPLES]]
    dictionary = b"".join(samples)
    compressed = [_deflate(raw, dictionary) for _, raw in entries]
    names: dict[str, list[int]] = {}
    for number, (advisory, _) in enumerate(entries):
        for project in sorted(advisory.projects):
            names.setdefault(project, []).append(number)
    header = {
        "names": names,
        "ids": [advisory.id for advisory, _ in entries],
        "sizes": [len(each) for each in compressed],
        "missing": [advisory.id for advisory, _ in missing],
        "newest-modified": None if newest_modified is None else newest_modified.isoformat(),
        "skipped": skipped_count,
        "dictionary": len(dictionary),
    }
    packed = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), _LEVEL)
    body = b"".join([b"%d\n" % len(packed), packed, dictionary, *compressed])
    return b"%s\n%s\n%s" % (_MAGIC, hashlib.sha256(body).hexdigest().encode(), body)


def _deflate(raw: bytes, dictionary: bytes) -> bytes:
    deflate = zlib.compressobj(_LEVEL, zdict=dictionary)
    return deflate.compress(raw) + deflate.flush()


def decode_archive(content: bytes) -> Archive:
    """Return the archive that `content` contains.

    Raises:
        ArchiveError: `content` is not an archive, is not complete, or was changed.
    """
    magic, _, rest = content[: len(_MAGIC) + 66].partition(b"\n")
    digest, _, _ = rest.partition(b"\n")
    body = memoryview(content)[len(_MAGIC) + 1 + len(digest) + 1 :]
    if magic != _MAGIC or hashlib.sha256(body).hexdigest().encode() != digest:
        raise ArchiveError("not a complete archive of advisories")
    try:
        length, _, _ = bytes(body[:20]).partition(b"\n")
        start = len(length) + 1
        after = start + int(length)
        inflate = zlib.decompressobj()
        header = json.loads(inflate.decompress(body[start:after], _MAX_HEADER_BYTES))
        return _make_archive(digest.decode(), header, body[after:])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ArchiveError("the header of the archive is malformed") from error


def _make_archive(digest: str, header: dict[str, Any], rest: memoryview) -> Archive:
    newest = header["newest-modified"]
    ends = array("Q", accumulate(header["sizes"]))
    dictionary = bytes(rest[: header["dictionary"]])
    return Archive(
        digest=digest,
        names={name: tuple(numbers) for name, numbers in header["names"].items()},
        ids={advisory_id: number for number, advisory_id in enumerate(header["ids"])},
        missing_ids=tuple(header["missing"]),
        newest_modified=None if newest is None else datetime.fromisoformat(newest).astimezone(UTC),
        skipped_count=header["skipped"],
        dictionary=dictionary,
        ends=ends,
        records=rest[len(dictionary) :],
    )
