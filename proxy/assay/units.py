"""Parsers and formatters of durations and sizes in TOML: ``"3 days"``, ``"P3D"``, ``"50 GiB"``.

Settings and policies use the types `Duration` and `Size`. Months and years are rejected, because their length varies.
Negative amounts are rejected too. ``GB`` is 10^9 bytes, and ``GiB`` is 2^30 bytes.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

_SECONDS_PER_UNIT = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
MAX_DURATION = timedelta(days=36_500)
"""Longest duration, so that its sum with a time of an index stays within the range of `datetime`."""
_DURATION_WORDS = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(second|minute|hour|day|week)s?", re.ASCII)
# ISO 8601 durations without years and months, whose length depends on the calendar.
_ISO_DURATION = re.compile(
    r"P(?:(\d{1,9})W|(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?)", re.ASCII
)
_BYTES_PER_UNIT = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    unit: 2 ** (10 * power) for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB"), start=1)
}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)", re.ASCII)


def parse_duration(text: object) -> timedelta:
    """Parse a duration such as ``"3 days"``, ``"12 hours"`` or ``"P3D"`` (ISO 8601).

    Raises:
        ValueError: `text` is not a duration, for example a number without a unit, or is longer than `MAX_DURATION`.
    """
    if isinstance(text, timedelta):
        return text
    seconds = _parse_seconds(text.strip()) if isinstance(text, str) else None
    if seconds is None:
        raise ValueError('a duration such as "3 days", "12 hours" or "P3D"')
    if seconds > MAX_DURATION.total_seconds():
        raise ValueError(f'a duration of at most {MAX_DURATION.days} days, such as "3 days"')
    return timedelta(seconds=seconds)


def _parse_seconds(text: str) -> float | None:
    """Return the length of a duration in seconds, without a limit; None if the text is not a duration."""
    if words := _DURATION_WORDS.fullmatch(text):
        return float(words[1]) * _SECONDS_PER_UNIT[words[2]]
    if (iso := _ISO_DURATION.fullmatch(text)) and any(iso.groups()):
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in iso.groups())
        return ((weeks * 7 + days) * 24 + hours) * 3600 + minutes * 60 + seconds
    return None


def parse_size(text: object) -> int:
    """Parse a number of bytes, given as an integer or as a text such as ``"50 GiB"``.

    Raises:
        ValueError: `text` is not a size.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    if isinstance(text, str) and (match := _SIZE.fullmatch(text.strip())):
        return int(float(match[1]) * _BYTES_PER_UNIT[match[2]])
    raise ValueError('a number of bytes, or a size such as "50 GiB"')


def format_size(size: int) -> str:
    """Return a number of bytes in the largest fitting binary unit: ``1536`` as ``"1.5 KiB"``."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004 - the binary step itself
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def format_duration(duration: timedelta) -> str:
    """Return a duration in the largest unit that divides it: ``timedelta(days=3)`` as ``"3 days"``.

    The largest unit is the day. A fraction of a second is dropped.
    """
    seconds = int(duration.total_seconds())
    for unit, length in sorted(_SECONDS_PER_UNIT.items(), key=lambda item: -item[1]):
        if seconds and seconds % length == 0 and unit != "week":
            count = seconds // length
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return f"{seconds} seconds"


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
