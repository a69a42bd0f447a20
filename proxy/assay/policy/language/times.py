"""Instants as people write them in a policy, and instants and ages as they are told to people. Pure.

A date is a whole day, UTC: as a `from` it counts from its first instant, as an `until` or `before` up to its last. A
time without an offset is an error. `from` is inclusive, `until` and `before` are exclusive (docs/policy-semantics.md,
"Language").
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

_EXPECTED_INSTANT = (
    "a date such as 2026-11-20, or a time with its offset such as 2026-11-20T12:00:00Z, both without quotes"
)
_PAIR: Final = 2
"""From two on a larger unit says enough."""
_NEARLY_A_MINUTE = timedelta(minutes=1, microseconds=-1)
_SCHEMA = WithJsonSchema({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]})


def parse_start(value: object) -> datetime:
    """The first instant of a TOML date, or the TOML time itself; UTC.

    Raises:
        ValueError: neither, or a time without an offset.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time with its offset, such as 2026-11-20T12:00:00Z")
        return value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise ValueError(_EXPECTED_INSTANT)


def parse_end(value: object) -> datetime:
    """The first instant after a TOML date, or the TOML time itself; UTC.

    Raises:
        ValueError: neither, or a time without an offset.
    """
    whole_day = isinstance(value, date) and not isinstance(value, datetime) and value < date.max
    return parse_start(value) + timedelta(days=1) if whole_day else parse_start(value)


InclusiveStart = Annotated[datetime, BeforeValidator(parse_start), _SCHEMA]
"""Inclusive."""
ExclusiveEnd = Annotated[datetime, BeforeValidator(parse_end), _SCHEMA]
"""Exclusive."""


def format_instant(instant: datetime) -> str:
    """``2026-11-24 14:00 UTC``, rounded up to the minute: at the time shown it is already so."""
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    if instant.second or instant.microsecond:
        instant += _NEARLY_A_MINUTE
    # Printf's way takes 0.6 µs, `isoformat` and a slice 1.0, a format string 0.9: pages tell thousands of instants.
    return "%04d-%02d-%02d %02d:%02d UTC" % (  # noqa: UP031
        instant.year,
        instant.month,
        instant.day,
        instant.hour,
        instant.minute,
    )


def format_elapsed(duration: timedelta) -> str:
    """``2 days``, ``5 hours``, ``0 minutes``: whole units, rounded down."""
    if duration.days >= _PAIR:
        return f"{duration.days} days"
    minutes = max(0, duration.days * 1440 + duration.seconds // 60)
    if minutes >= _PAIR * 60:
        return f"{minutes // 60} hours"
    return f"{minutes} minute{'' if minutes == 1 else 's'}"
