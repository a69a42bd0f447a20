"""Dates and times as a policy has them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from assay.policy.language.times import end, show, start


def test_a_date_is_a_whole_day() -> None:
    assert start(date(2026, 11, 20)) == datetime(2026, 11, 20, tzinfo=UTC)
    assert end(date(2026, 11, 20)) == datetime(2026, 11, 21, tzinfo=UTC)


def test_a_time_is_itself_in_utc() -> None:
    there = datetime.fromisoformat("2026-11-20T02:00:00+02:00")
    assert start(there) == end(there) == datetime(2026, 11, 20, tzinfo=UTC)
    assert start(there).tzinfo is UTC


@pytest.mark.parametrize("value", [datetime(2026, 11, 20), "2026-11-20", 3, None])  # noqa: DTZ001 - that is the point
def test_what_names_no_instant_is_none(value: object) -> None:
    for reading in (start, end):
        with pytest.raises(ValueError, match="a time with its offset"):
            reading(value)


def test_an_instant_is_shown_no_earlier_than_it_is() -> None:
    assert show(datetime(2026, 11, 24, 14, 0, tzinfo=UTC)) == "2026-11-24 14:00 UTC"
    assert show(datetime(2026, 11, 24, 13, 59, 0, 1, tzinfo=UTC)) == "2026-11-24 14:00 UTC"
    assert show(datetime.fromisoformat("2026-11-24T16:00:00+02:00")) == "2026-11-24 14:00 UTC"
