"""Checks of values that are read back from the database. Another program may have written them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, TypeGuard

MAX_TEXT_CHARS: Final = 256
"""Maximum length of a name, version, rule or user in characters."""


def is_text(value: object, max_chars: int = MAX_TEXT_CHARS) -> TypeGuard[str]:
    """Return whether a value is a text that is neither empty nor too long."""
    return isinstance(value, str) and 0 < len(value) <= max_chars


def make_time(value: object, now: datetime) -> datetime | None:
    """Return the time of a row, at most `now`, because the clock may have gone back; None if it is not a time."""
    if not isinstance(value, int) or value < 0:
        return None
    return min(datetime.fromtimestamp(min(value, int(now.timestamp())), UTC), now)
