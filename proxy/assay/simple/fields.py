"""The fields that JSON and HTML pages share, read one by one; each refuses what its PEP does not allow. Pure.

Two kinds of wrong: a value of the wrong *type* makes the page nonsense (`InvalidResponseError` with the path to it);
a value of the right type that means nothing (a digest that is none, a date that is none) is as if it were absent, and
policy withholds what needed it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from assay.errors import InvalidResponseError
from assay.simple.model import CoreMetadata, Sha256

__all__ = [
    "PageLimits",
    "find_sha256",
    "make_page_error",
    "parse_api_version",
    "parse_serial",
    "parse_sha256",
    "parse_time",
    "quote_for_message",
]

_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_API_VERSION = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
MAX_INTEGER = 2**63 - 1
"""Sizes and serials beyond it are no numbers of anything, and no database would hold them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimits:
    """What one project page may hold; bytes are limited by whoever fetched it."""

    max_files: int = 100_000
    """The largest project on PyPI has some 15,000."""
    max_depth: int = 32
    """Nesting of values under unknown keys."""


def make_page_error(where: str, expected: str, found: object) -> InvalidResponseError:
    """What to raise where a page cannot be used: ``files[3].url: expected a string, found 7``."""
    return InvalidResponseError(f"{where}: expected {expected}, found {quote_for_message(found)}")


MAX_UPLOAD_TIME = datetime(9000, 1, 1, tzinfo=UTC)


def quote_for_message(value: object) -> str:
    """A value of others for a message: escaped and short."""
    text = ascii(value) if isinstance(value, (str, bytes, int, float, bool, type(None))) else type(value).__name__
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - a line of a terminal


def intern_text(text: str | None) -> str | None:
    """The same text, once for all who have it: most files of a project say the same of Python."""
    return None if text is None else sys.intern(text)


def parse_sha256(text: str) -> Sha256 | None:
    """The digest that `text` is, lower-cased; None where it is not 64 hexadecimal digits."""
    if _SHA256.fullmatch(text) is None:
        return None
    lowered = text.lower()
    # `lower` makes a new string always; most are lower-case already, and a page has thousands, kept in memory.
    return Sha256(text if lowered == text else lowered)


def find_sha256(hashes: Iterable[tuple[str, str]]) -> Sha256 | None:
    """Return the SHA-256 among a file's hashes by algorithm; None if there is none, or no valid one."""
    for algorithm, digest in hashes:
        if algorithm == "sha256":
            return parse_sha256(digest)
    return None


def parse_time(text: str) -> datetime | None:
    """An ISO 8601 instant in UTC; None for anything else, a date without a time included.

    "The upload-time … MUST be in UTC" (PEP 700), so that a time without an offset, which some mirrors send, is UTC.
    Whatever is later than `MAX_UPLOAD_TIME` is taken for that: to be told, and added to, an instant needs room behind
    it.
    """
    if len(text) <= len("yyyy-mm-dd"):
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.year >= MAX_UPLOAD_TIME.year:
            return MAX_UPLOAD_TIME
        if moment.tzinfo is UTC:
            return moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_serial(value: object, where: str) -> int | None:
    """``_last-serial``: an integer, or a string of digits as a mirror sends it; None where there is none.

    Raises:
        InvalidResponseError: anything else.
    """
    if value is None:
        return None
    if isinstance(value, str) and _DIGITS.fullmatch(value) is not None:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER:
        return value
    raise make_page_error(where, "a serial number", value)


def parse_api_version(value: object, where: str) -> tuple[int, int]:
    """PEP 629: (1, 0) where an index says nothing; only major 1 is understood.

    "Clients introspecting this value MUST … hard fail with an appropriate error message" on another major version; a
    newer minor version "MAY" be warned of, and is taken.

    Raises:
        InvalidResponseError: not ``1.N``.
    """
    if value is None:
        return (1, 0)
    match = _API_VERSION.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) != 1:
        raise make_page_error(where, 'an API version "1.N" (PEP 629)', value)
    return (1, int(match[2]))


def parse_core_metadata(value: object, where: str) -> CoreMetadata | None:
    """PEP 714: ``true``, or a dictionary of hashes. A digest that is none withdraws the offer rather than its check.

    Raises:
        InvalidResponseError: neither a boolean nor a dictionary of strings.
    """
    if value is None or value is False:
        return None
    if value is True:
        return CoreMetadata(sha256=None)
    if not isinstance(value, dict):
        raise make_page_error(where, "a boolean or a dictionary of hashes", value)
    digest = value.get("sha256")
    if digest is None:
        return CoreMetadata(sha256=None)
    if not isinstance(digest, str):
        raise make_page_error(f"{where}.sha256", "a string", digest)
    sha256 = parse_sha256(digest)
    return None if sha256 is None else CoreMetadata(sha256=sha256)
