from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.units import MAX_DURATION, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 days", timedelta(days=3)),
        ("1 day", timedelta(days=1)),
        ("12 hours", timedelta(hours=12)),
        ("90minutes", timedelta(minutes=90)),
        ("0 days", timedelta()),
        ("1.5 hours", timedelta(minutes=90)),
        ("2 weeks", timedelta(days=14)),
        ("P3D", timedelta(days=3)),
        ("P2W", timedelta(days=14)),
        ("PT12H", timedelta(hours=12)),
        ("P1DT2H3M4S", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        (timedelta(days=3), timedelta(days=3)),
    ],
)
def test_a_duration_is_read_as_it_is_written(text: object, expected: object) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["3", 3, 3.0, "", "-1 days", "3 months", "P1Y", "P1M", "P", "PT", "3 days 2 hours", "³ days", None, True]
)
def test_what_is_ambiguous_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["36501 days", "3000000 days", "999999999 weeks", "P999999999W", "P5215W", "876001 hours", "PT999999999H"]
)
def test_a_duration_of_more_than_a_hundred_years_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration of at most 36500 days, such as"):
        parse_duration(text)
    assert parse_duration("36500 days") == parse_duration("876000 hours") == MAX_DURATION


@pytest.mark.parametrize(
    ("text", "expected"),
    [(0, 0), (1024, 1024), ("50 GiB", 50 * 2**30), ("2 GB", 2 * 10**9), ("1.5 KiB", 1536), ("7B", 7), ("1 TiB", 2**40)],
)
def test_a_size_is_read_as_it_is_written(text: object, expected: object) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", [-1, True, 1.5, "50", "50 Gib", "50 gigabytes", "", "-5 GB", None])
def test_what_is_ambiguous_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="a number of bytes"):
        parse_size(text)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (timedelta(days=3), "3 days"),
        (timedelta(days=14), "14 days"),
        (timedelta(days=1), "1 day"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(seconds=61), "61 seconds"),
        (timedelta(), "0 seconds"),
    ],
)
def test_a_duration_is_shown_in_the_largest_unit_that_divides_it(duration: timedelta, expected: object) -> None:
    assert format_duration(duration) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (50 * 2**30, "50.0 GiB"), (2**41, "2.0 TiB")],
)
def test_a_size_is_shown_in_binary_units(size: int, expected: object) -> None:
    assert format_size(size) == expected


@given(st.integers(min_value=0, max_value=10**8))
def test_a_whole_duration_survives_being_shown_and_read(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)
