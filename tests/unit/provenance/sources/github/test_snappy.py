"""Tests of the Snappy decoder against the format description, and of its limits."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.provenance.sources.github.snappy import SnappyError, decode_snappy
from tests.world.index.snappy_block import encode_snappy

LIMIT = 10_000


@given(st.lists(st.sampled_from([b"a", b"bc", b"abcabc", b"x" * 70, bytes(range(256)), b"{}" * 40])).map(b"".join))
def test_what_was_encoded_is_decoded(data: bytes) -> None:
    assert decode_snappy(encode_snappy(data), max(1, len(data))) == data


@pytest.mark.parametrize(
    ("block", "decoded"),
    [
        (b"\x00", b""),
        (b"\x03\x08abc", b"abc"),
        (b"\x08\x00a\x0d\x01", b"a" * 8),  # a copy of one to four bits of length overlaps itself
        (b"\x07\x08abc\x0e\x03\x00", b"abcabca"),  # a copy with an offset of two bytes
        (b"\x06\x08abc\x0b\x03\x00\x00\x00", b"abcabc"),  # a copy with an offset of four bytes
        (b"\x02\xf0\x01ab", b"ab"),  # a literal with its length in one byte
        (b"\x02\xf4\x01\x00ab", b"ab"),  # … and in two
    ],
)
def test_each_kind_of_element_is_decoded(block: bytes, decoded: bytes) -> None:
    assert decode_snappy(block, LIMIT) == decoded


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\xff\xff\xff\xff\xff",  # no end of the size
        b"\x03\x08ab",  # a truncated literal
        b"\x03\xf4\x01",  # a truncated length
        b"\x05\x08abc\x0e\x03",  # a truncated offset
        b"\x04\x08abc",  # fewer bytes than stated
        b"\x02\x08abc",  # more bytes than stated
        b"\x07\x08abc\x0e\x04\x00",  # a copy from before the beginning
        b"\x07\x08abc\x0e\x00\x00",  # a copy of nothing
    ],
)
def test_a_malformed_block_is_refused(block: bytes) -> None:
    with pytest.raises(SnappyError):
        decode_snappy(block, LIMIT)


def test_a_block_above_the_limit_is_refused_before_it_is_decoded() -> None:
    bomb = b"\xff\xff\xff\xff\x0f" + b"\x00a" + b"\xfe\x01\x00" * 1000
    with pytest.raises(SnappyError, match="4294967295 bytes, more than 10000"):
        decode_snappy(bomb, LIMIT)
    data = b"a" * LIMIT
    assert decode_snappy(encode_snappy(data), LIMIT) == data
    with pytest.raises(SnappyError):
        decode_snappy(encode_snappy(data + b"a"), LIMIT)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(block: bytes) -> None:
    with contextlib.suppress(SnappyError):
        assert len(decode_snappy(block, LIMIT)) <= LIMIT
