"""Durations and sizes as people write them in TOML: ``"3 days"``, ``"P3D"``, ``"50 GiB"``.

Owns the two annotated types that settings and policy use. Refuses anything ambiguous: no month or year lengths,
no decimal/binary guessing (``GB`` is 10^9 bytes, ``GiB`` is 2^30), no negative amounts.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

_SECONDS_PER_UNIT = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
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
    """A duration from ``"3 days"``, ``"12 hours"`` or ISO 8601 ``"P3D"``.

    Raises:
        ValueError: anything else, numbers without a unit included.
    """
    if isinstance(text, timedelta):
        return text
    if isinstance(text, str):
        stripped = text.strip()
        if words := _DURATION_WORDS.fullmatch(stripped):
            return timedelta(seconds=float(words[1]) * _SECONDS_PER_UNIT[words[2]])
        if (iso := _ISO_DURATION.fullmatch(stripped)) and any(iso.groups()):
            weeks, days, hours, minutes, seconds = (int(part or 0) for part in iso.groups())
            return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    raise ValueError('a duration such as "3 days", "12 hours" or "P3D"')


def parse_size(text: object) -> int:
    """A number of bytes from an integer or from ``"50 GiB"``.

    Raises:
        ValueError: anything else.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    if isinstance(text, str) and (match := _SIZE.fullmatch(text.strip())):
        return int(float(match[1]) * _BYTES_PER_UNIT[match[2]])
    raise ValueError('a size in bytes or such as "50 GiB"')


def format_size(size: int) -> str:
    """``1536`` as ``"1.5 KiB"``, for people."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004 - the binary step itself
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def format_duration(duration: timedelta) -> str:
    """``timedelta(days=3)`` as ``"3 days"``: the largest unit that divides it, for people."""
    seconds = int(duration.total_seconds())
    for unit, length in sorted(_SECONDS_PER_UNIT.items(), key=lambda item: -item[1]):
        if seconds and seconds % length == 0 and unit != "week":
            count = seconds // length
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return f"{seconds} seconds"


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
