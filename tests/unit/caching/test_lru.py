"""What is held in memory stays within its limit, and what was asked for last stays longest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from assay.caching.lru import ByteCache
from assay.simple.model import Sha256

A, B, C = (Sha256(letter * 64) for letter in "abc")


def test_what_was_not_asked_for_longest_goes_first() -> None:
    held = ByteCache(max_total_bytes=10, max_item_bytes=5)
    held.put(A, b"12345")
    held.put(B, b"12345")
    assert held.get(A) == b"12345"
    held.put(C, b"1")
    assert held.snapshot() == {A: b"12345", C: b"1"}
    assert (A in held, B in held) == (True, False)


def test_what_is_too_large_is_not_held_and_what_is_held_stays_as_it_is() -> None:
    held = ByteCache(max_total_bytes=10, max_item_bytes=5)
    held.put(A, b"123456")
    assert held.get(A) is None
    assert (held.fits(5), held.fits(6)) == (True, False)
    held.put(A, b"1")
    held.put(A, b"2")
    assert held.get(A) == b"1"


def test_after_an_hour_the_store_is_asked_again() -> None:
    now = [100.0]
    held = ByteCache(max_total_bytes=10, max_item_bytes=5, clock=lambda: now[0])
    held.put(A, b"12345")
    now[0] += 3600
    assert held.get(A) == b"12345"
    now[0] += 1
    assert held.get(A) is None
    held.put(B, b"12345")
    held.put(A, b"12345")
    assert held.snapshot() == {B: b"12345", A: b"12345"}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 8))))
def test_it_never_holds_more_than_its_limit(asked: list[tuple[int, int]]) -> None:
    held = ByteCache(max_total_bytes=20, max_item_bytes=6)
    for name, size in asked:
        held.put(Sha256(str(name) * 64), bytes(size))
        assert sum(map(len, held.snapshot().values())) <= 20
