"""Dates and times as a policy has them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from assay.policy.language.times import format_instant, parse_end, parse_start


def test_a_date_is_a_whole_day() -> None:
    assert parse_start(date(2026, 11, 20)) == datetime(2026, 11, 20, tzinfo=UTC)
    assert parse_end(date(2026, 11, 20)) == datetime(2026, 11, 21, tzinfo=UTC)


def test_a_time_is_itself_in_utc() -> None:
    there = datetime.fromisoformat("2026-11-20T02:00:00+02:00")
    assert parse_start(there) == parse_end(there) == datetime(2026, 11, 20, tzinfo=UTC)
    assert parse_start(there).tzinfo is UTC


@pytest.mark.parametrize("value", [datetime(2026, 11, 20), "2026-11-20", 3, None])  # noqa: DTZ001 - that is the point
def test_what_names_no_instant_is_none(value: object) -> None:
    for reading in (parse_start, parse_end):
        with pytest.raises(ValueError, match="a time with its offset"):
            reading(value)


def test_an_instant_is_shown_no_earlier_than_it_is() -> None:
    assert format_instant(datetime(2026, 11, 24, 14, 0, tzinfo=UTC)) == "2026-11-24 14:00 UTC"
    assert format_instant(datetime(2026, 11, 24, 13, 59, 0, 1, tzinfo=UTC)) == "2026-11-24 14:00 UTC"
    assert format_instant(datetime.fromisoformat("2026-11-24T16:00:00+02:00")) == "2026-11-24 14:00 UTC"
