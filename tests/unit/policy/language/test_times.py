"""Dates and times in a policy."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from assay.policy.language.times import LAST_INSTANT, add_duration, format_instant, parse_end, parse_start


def test_a_date_is_a_whole_day() -> None:
    assert parse_start(date(2026, 11, 20)) == datetime(2026, 11, 20, tzinfo=UTC)
    assert parse_end(date(2026, 11, 20)) == datetime(2026, 11, 21, tzinfo=UTC)


def test_a_time_is_itself_in_utc() -> None:
    there = datetime.fromisoformat("2026-11-20T02:00:00+02:00")
    assert parse_start(there) == parse_end(there) == datetime(2026, 11, 20, tzinfo=UTC)
    assert parse_start(there).tzinfo is UTC


@pytest.mark.parametrize("value", [datetime(2026, 11, 20), "2026-11-20", 3, None])  # noqa: DTZ001 - the missing offset is tested
def test_what_names_no_instant_is_none(value: object) -> None:
    for reading in (parse_start, parse_end):
        with pytest.raises(ValueError, match="a time with an offset"):
            reading(value)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"])
def test_an_instant_beyond_the_range_of_utc_is_refused(text: str) -> None:
    beyond = datetime.fromisoformat(text)
    for reading in (parse_start, parse_end):
        with pytest.raises(ValueError, match=r"a time in the years 1 to 9999 of UTC, such as 2026"):
            reading(beyond)
        assert reading(beyond.replace(tzinfo=UTC)) == beyond.replace(tzinfo=UTC)


def test_the_last_instants_can_be_shown_and_added_to() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert format_instant(last) == format_instant(parse_end(date.max) + timedelta(hours=23, minutes=59))
    assert format_instant(last) == "9999-12-31 23:59 UTC"
    assert add_duration(last, timedelta(days=1)) == LAST_INSTANT
    assert add_duration(datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1)) == datetime(2026, 1, 2, tzinfo=UTC)


def test_an_instant_is_shown_no_earlier_than_it_is() -> None:
    assert format_instant(datetime(2026, 11, 24, 14, 0, tzinfo=UTC)) == "2026-11-24 14:00 UTC"
    assert format_instant(datetime(2026, 11, 24, 13, 59, 0, 1, tzinfo=UTC)) == "2026-11-24 14:00 UTC"
    assert format_instant(datetime.fromisoformat("2026-11-24T16:00:00+02:00")) == "2026-11-24 14:00 UTC"
