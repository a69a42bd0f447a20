"""Selection of the byte range of a verified file that a request gets (RFC 9110, section 14). Pure.

A client must never join parts of two responses (docs/architecture.md, "Promises", 2), so one rule is stricter than the
RFC. A client resumes a download with a range that has no end and does not begin at 0. Such a request gets the whole
file with status 200, unless its If-Range has the ETag of the file.

GNU Wget joins parts even then. It skips as many bytes of the 200 response as it already has, and appends the rest
(http.c, ``rb_skip_startpos``). The bytes from an earlier, unverified response would remain. Wget therefore gets 412,
and its user must start the download again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

_RANGE_HEADER = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WholeFile:
    """Selection of the whole file (200)."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Selection of `count` bytes from offset `start` (206)."""

    start: int
    count: int


@dataclass(frozen=True, slots=True)
class UnsatisfiableRange:
    """Selection of no bytes, because the range is outside the file (416)."""


@dataclass(frozen=True, slots=True)
class UnsafeResume:
    """Refusal of a range (412). The client would append the response to bytes that may be unverified."""


RangeSelection: TypeAlias = WholeFile | ByteRange | UnsatisfiableRange | UnsafeResume


def select_range(
    range_header: str | None, if_range: str | None, *, etag: str, size: int, user_agent: str = ""
) -> RangeSelection:
    """Return the part of a file that a GET request with these headers gets.

    A request with several ranges, another unit or a malformed range gets the whole file, as RFC 9110 allows. If-Range
    must equal the strong ETag (section 13.1.5). A date in If-Range never matches, because files have no Last-Modified.

    Args:
        range_header: the ``Range`` header.
        if_range: the ``If-Range`` header.
        etag: strong ETag of the file.
        size: size of the file in bytes.
        user_agent: the ``User-Agent`` header, which identifies GNU Wget.
    """
    match = _RANGE_HEADER.fullmatch(range_header) if range_header is not None else None
    if match is None or match[1] == match[2] == "":
        return WholeFile()
    same = if_range is not None and if_range.strip() == etag
    if if_range is not None and not same:
        return WholeFile()
    first, last = match[1], match[2]
    if not first:
        return _select_suffix(int(last), size)
    start = int(first)
    if not last and start and not same:
        return UnsafeResume() if user_agent.lower().startswith("wget") else WholeFile()
    if last and int(last) < start:
        return WholeFile()
    if start >= size:
        return UnsatisfiableRange()
    end = min(int(last), size - 1) if last else size - 1
    return ByteRange(start=start, count=end - start + 1)


def _select_suffix(length: int, size: int) -> RangeSelection:
    """Select the last `length` bytes of a file, for ``bytes=-N``."""
    if not length or not size:
        return UnsatisfiableRange()
    count = min(length, size)
    return ByteRange(start=size - count, count=count)
