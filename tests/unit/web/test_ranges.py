"""Ranges of verified files, and requests whose responses a client could splice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.web.ranges import ByteRange, RangeSelection, UnsafeResume, UnsatisfiableRange, WholeFile, select_range

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("range_header", "if_range", "selection"),
    [
        (None, None, WholeFile()),
        ("bytes=0-9", None, ByteRange(0, 10)),
        ("bytes=90-200", None, ByteRange(90, 10)),
        ("bytes=0-", None, ByteRange(0, 100)),
        ("bytes=-10", None, ByteRange(90, 10)),
        ("bytes=-1000", None, ByteRange(0, 100)),
        ("bytes=100-110", None, UnsatisfiableRange()),
        ("bytes=-0", None, UnsatisfiableRange()),
        # Resuming: only with this very file's ETag, strongly compared.
        ("bytes=40-", None, WholeFile()),
        ("bytes=40-", '"other"', WholeFile()),
        ("bytes=40-", 'W/"abc"', WholeFile()),
        ("bytes=40-", "Wed, 21 Oct 2026 07:28:00 GMT", WholeFile()),
        ("bytes=40-", ETAG, ByteRange(40, 60)),
        ("bytes=100-", ETAG, UnsatisfiableRange()),
        ("bytes=0-9", '"other"', WholeFile()),
        # Ignored, as RFC 9110 14.2 allows.
        ("bytes=0-1,5-6", None, WholeFile()),
        ("bytes=9-1", None, WholeFile()),
        ("bytes=-", None, WholeFile()),
        ("bytes", None, WholeFile()),
        ("lines=0-1", None, WholeFile()),
        ("bytes=0x1-2", None, WholeFile()),
        ("bytes=" + "9" * 40 + "-", None, WholeFile()),
    ],
)
def test_a_range_selects(range_header: str | None, if_range: str | None, selection: RangeSelection) -> None:
    assert select_range(range_header, if_range, etag=ETAG, size=100) == selection


@given(st.text() | st.from_regex(r"bytes=\d{0,4}-\d{0,4}", fullmatch=True), st.none() | st.text(), st.integers(0, 300))
def test_a_part_lies_within_the_file_and_an_open_end_needs_a_validator(
    range_header: str, if_range: str | None, size: int
) -> None:
    match select_range(range_header, if_range, etag=ETAG, size=size):
        case ByteRange(start=start, count=count):
            assert 0 <= start < start + count <= size
            assert start == 0 or if_range == ETAG or not range_header.strip().endswith("-")
        case WholeFile() | UnsatisfiableRange() | UnsafeResume():
            pass


def test_wget_which_appends_the_end_of_any_200_is_told_to_start_again() -> None:
    wget = "Wget/1.21.3"
    assert select_range("bytes=40-", None, etag=ETAG, size=100, user_agent=wget) == UnsafeResume()
    assert select_range("bytes=40-", ETAG, etag=ETAG, size=100, user_agent=wget) == ByteRange(40, 60)
    assert select_range(None, None, etag=ETAG, size=100, user_agent=wget) == WholeFile()
    assert select_range("bytes=40-", None, etag=ETAG, size=100, user_agent="curl/7.88") == WholeFile()
