"""Parsers of the fields that JSON and HTML pages share. Pure.

A value of the wrong *type* makes its page, or its entry on the page, unusable. It raises an `InvalidResponseError` with
the path to the value. A value of the right type that cannot be parsed, such as a malformed digest or date, counts as
absent. Policy withholds the file if it needs that value.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from packaging.version import Version

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
    "parse_version",
    "quote_for_message",
]

_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_API_VERSION = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
MAX_INTEGER = 2**63 - 1
"""Largest accepted size or serial. SQLite stores integers of 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimits:
    """Limits on the content of one project page. The upstream client limits the size of the page in bytes."""

    max_files: int = 100_000
    """Maximum number of files. The largest project on PyPI has about 15,000."""
    max_depth: int = 32
    """Maximum nesting depth of the values of unknown keys."""


def make_page_error(where: str, expected: str, found: object) -> InvalidResponseError:
    """Return the error for an unusable value, with a message such as ``files[3].url: expected a string, found 7``."""
    return InvalidResponseError(f"{where}: expected {expected}, found {quote_for_message(found)}")


MAX_UPLOAD_TIME = datetime(9000, 1, 1, tzinfo=UTC)
"""Latest upload time. It replaces every later time, so that adding a duration to an upload time cannot overflow."""


def quote_for_message(value: object) -> str:
    """Return an untrusted value as text for a message: an ASCII literal of at most 80 characters.

    For a list or an object, return only the name of its type.
    """
    text = ascii(value) if isinstance(value, (str, bytes, int, float, bool, type(None))) else type(value).__name__
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - fits on a terminal's line


def intern_text(text: str | None) -> str | None:
    """Return the same object for equal texts, which saves memory. Most files of a project have equal texts."""
    return None if text is None else sys.intern(text)


def parse_sha256(text: str) -> Sha256 | None:
    """Return `text` as a lower-case SHA-256 digest; None if `text` is not 64 hexadecimal digits."""
    if _SHA256.fullmatch(text) is None:
        return None
    lowered = text.lower()
    # `lower` always creates a new string. Most digests are lower-case already, and a page keeps thousands in memory.
    return Sha256(text if lowered == text else lowered)


def parse_version(text: str) -> Version | None:
    """Return a version (PEP 440), or None for any other text."""
    try:
        return Version(text)
    except ValueError:  # InvalidVersion, or a number of more digits than Python converts
        return None


def find_sha256(hashes: Iterable[tuple[str, str]]) -> Sha256 | None:
    """Return the SHA-256 from pairs of algorithm and digest; None if the SHA-256 is missing or malformed."""
    for algorithm, digest in hashes:
        if algorithm == "sha256":
            return parse_sha256(digest)
    return None


def parse_time(text: str) -> datetime | None:
    """Parse an ISO 8601 date and time, and convert it to UTC; return None for any other text, such as a bare date.

    "The upload-time … MUST be in UTC" (PEP 700). Some mirrors send a time without an offset, which is taken as UTC. A
    time after `MAX_UPLOAD_TIME` gives `MAX_UPLOAD_TIME`.
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
    """Parse ``_last-serial``; return None if it is absent.

    The value is an integer. Some mirrors send a string of digits, which is accepted.

    Raises:
        InvalidResponseError: `value` has another type, or is negative or larger than `MAX_INTEGER`.
    """
    if value is None:
        return None
    if isinstance(value, str) and _DIGITS.fullmatch(value) is not None:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER:
        return value
    raise make_page_error(where, "a serial number", value)


def parse_api_version(value: object, where: str) -> tuple[int, int]:
    """Parse the API version of a page as (major, minor) (PEP 629); an absent version is (1, 0).

    For another major version, PEP 629 requires that clients "hard fail with an appropriate error message". For a newer
    minor version, clients may warn; this function accepts it without a warning.

    Raises:
        InvalidResponseError: `value` is not of the form ``1.N``.
    """
    if value is None:
        return (1, 0)
    match = _API_VERSION.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) != 1:
        raise make_page_error(where, 'an API version "1.N" (PEP 629)', value)
    return (1, int(match[2]))


def parse_core_metadata(value: object, where: str) -> CoreMetadata | None:
    """Parse ``core-metadata`` (PEP 714), a boolean or a dictionary of hashes; return None if no METADATA is offered.

    A malformed SHA-256 also gives None, because METADATA that cannot be checked is not offered.

    Raises:
        InvalidResponseError: `value` is neither a boolean nor a dictionary, or its SHA-256 is not a string.
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
