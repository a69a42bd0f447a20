"""Which bytes of a verified file a request wants (RFC 9110, 14). Pure.

Stricter than the RFC in one point, so that two responses can never be spliced (docs/architecture.md, "Promises", 2): an
open-ended range that does not begin at 0 is how clients resume, and gets the whole file unless its If-Range names this
very file. One client splices even then: GNU Wget takes a 200 to such a request, drops as many bytes as it already has,
and appends the rest (http.c, ``rb_skip_startpos``), so that what it was once sent unverified would stay. It gets 412
and starts again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

_RANGE_HEADER = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WholeFile:
    """200 and everything."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """206 and `count` bytes from `start`."""

    start: int
    count: int


@dataclass(frozen=True, slots=True)
class UnsatisfiableRange:
    """416."""


@dataclass(frozen=True, slots=True)
class UnsafeResume:
    """412: this client would put the answer behind bytes that nobody vouches for."""


RangeSelection: TypeAlias = WholeFile | ByteRange | UnsatisfiableRange | UnsafeResume


def select_range(
    range_header: str | None, if_range: str | None, *, etag: str, size: int, user_agent: str = ""
) -> RangeSelection:
    """What a GET with these headers gets of a file of `size` bytes.

    Several ranges, other units and malformed ones are ignored, as RFC 9110 allows; If-Range needs strong comparison
    (13.1.5), and a date never matches, since these files have none.
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
    """``bytes=-N``: the last N bytes."""
    if not length or not size:
        return UnsatisfiableRange()
    count = min(length, size)
    return ByteRange(start=size - count, count=count)
