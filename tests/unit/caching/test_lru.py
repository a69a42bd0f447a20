"""Tests of `Lru`: it keeps the most recently used items within its limits of count, weight and age."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.caching.lru import Lru


def test_the_least_recently_used_item_is_evicted_first() -> None:
    cache = Lru[str, int](max_items=2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert cache.snapshot() == {"a": 1, "c": 3}
    assert ("a" in cache, "b" in cache, cache.get("b"), len(cache)) == (True, False, None, 2)


def test_peek_contains_and_snapshot_do_not_count_as_use() -> None:
    cache = Lru[str, int](max_items=2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert (cache.peek("a"), cache.peek("c"), "a" in cache, list(cache.snapshot())) == (1, None, True, ["a", "b"])
    cache.put("c", 3)
    assert "a" not in cache


def test_a_put_replaces_the_value_and_its_weight_and_counts_as_use() -> None:
    cache = Lru[str, bytes](max_weight=10, weigh=len)
    cache.put("a", b"12345")
    cache.put("b", b"12345")
    cache.put("a", b"1")
    assert (cache.total_weight, list(cache.snapshot())) == (6, ["b", "a"])
    cache.put("c", b"12345")
    assert cache.snapshot() == {"a": b"1", "c": b"12345"}


def test_pop_and_clear_give_back_the_weight() -> None:
    cache = Lru[str, bytes](max_weight=10, weigh=len, max_age_seconds=1)
    cache.put("a", b"12345")
    cache.put("b", b"123")
    assert (cache.pop("a"), cache.pop("a"), cache.total_weight, len(cache)) == (b"12345", None, 3, 1)
    cache.clear()
    assert (cache.total_weight, len(cache), cache.snapshot()) == (0, 0, {})
    cache.put("a", b"1234567890")
    assert cache.total_weight == 10


def test_a_value_is_weighed_once() -> None:
    weighed = list[bytes]()

    def weigh(value: bytes) -> int:
        weighed.append(value)
        return len(value)

    cache = Lru[int, bytes](max_weight=10, weigh=weigh)
    for number in range(20):
        cache.put(number, bytes(4))
        cache.get(number)
    assert (len(weighed), len(cache), cache.total_weight) == (20, 2, 8)


def test_a_value_that_grows_weighs_what_it_weighed_when_it_was_put() -> None:
    cache = Lru[str, list[int]](max_weight=10, weigh=len)
    growing = [1]
    cache.put("a", growing)
    growing += [2, 3]
    cache.put("b", [1, 2])
    assert cache.pop("a") == [1, 2, 3]
    assert cache.total_weight == 2


def test_an_item_over_its_limit_is_not_held_and_one_at_the_limit_is() -> None:
    cache = Lru[str, bytes](max_weight=10, max_item_weight=5, weigh=len)
    cache.put("a", b"123456")
    assert (cache.get("a"), cache.total_weight, cache.fits(5), cache.fits(6)) == (None, 0, True, False)
    cache.put("a", b"12345")
    assert cache.get("a") == b"12345"
    cache.put("a", b"123456")
    assert "a" not in cache, "the earlier value is not the current one"
    assert Lru[str, bytes](max_weight=1, weigh=len).fits(100)


def test_the_last_item_stays_although_it_alone_is_over_the_limit_of_all() -> None:
    cache = Lru[str, bytes](max_weight=4, weigh=len)
    cache.put("a", b"1")
    cache.put("b", b"123456")
    assert (cache.snapshot(), cache.total_weight) == ({"b": b"123456"}, 6)
    cache.put("c", b"1")
    assert cache.snapshot() == {"c": b"1"}


def test_an_item_past_its_age_is_not_returned_and_its_weight_is_given_back() -> None:
    now = [100.0]
    cache = Lru[str, bytes](max_weight=10, weigh=len, max_age_seconds=3600, clock=lambda: now[0])
    cache.put("a", b"12345")
    now[0] += 3600
    assert (cache.get("a"), "a" in cache) == (b"12345", True)
    now[0] += 1
    assert (cache.peek("a"), "a" in cache, cache.snapshot(), len(cache)) == (None, False, {}, 1)
    assert (cache.get("a"), len(cache), cache.total_weight) == (None, 0, 0)
    cache.put("a", b"12345")
    assert cache.get("a") == b"12345"


def test_a_cache_without_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="max_items or max_weight"):
        Lru[str, int](max_item_weight=3)


class Model:
    """Simple model of an `Lru`: a list of its items, the least recently used first."""

    def __init__(self, max_items: int | None, max_weight: int | None, max_item_weight: int | None) -> None:
        self.items: list[tuple[int, bytes]] = []
        self.max_items, self.max_weight, self.max_item_weight = max_items, max_weight, max_item_weight

    def get(self, key: int) -> bytes | None:
        for item in self.items:
            if item[0] == key:
                self.items.remove(item)
                self.items.append(item)
                return item[1]
        return None

    def peek(self, key: int) -> bytes | None:
        return dict(self.items).get(key)

    def pop(self, key: int) -> bytes | None:
        value = self.peek(key)
        self.items = [item for item in self.items if item[0] != key]
        return value

    def put(self, key: int, value: bytes) -> None:
        self.pop(key)
        if self.max_item_weight is not None and len(value) > self.max_item_weight:
            return
        self.items.append((key, value))
        while len(self.items) > 1 and (
            (self.max_items is not None and len(self.items) > self.max_items)
            or (self.max_weight is not None and self.total_weight > self.max_weight)
        ):
            self.items.pop(0)

    @property
    def total_weight(self) -> int:
        return sum(len(value) for _, value in self.items)


steps = st.lists(
    st.tuples(st.sampled_from(["get", "peek", "pop", "put"]), st.integers(0, 6), st.integers(0, 8)), max_size=60
)
bounds = st.one_of(st.none(), st.integers(1, 20))


@given(steps, bounds, bounds, bounds)
def test_it_does_as_the_model_does(
    made: list[tuple[str, int, int]], max_items: int | None, max_weight: int | None, max_item_weight: int | None
) -> None:
    if max_items is None and max_weight is None:
        max_weight = 12
    model = Model(max_items, max_weight, max_item_weight)
    cache = Lru[int, bytes](max_items=max_items, max_weight=max_weight, max_item_weight=max_item_weight, weigh=len)
    for step, key, size in made:
        if step == "put":
            model.put(key, bytes(size))
            cache.put(key, bytes(size))
        else:
            expected: Callable[[int], bytes | None] = getattr(model, step)
            found: Callable[[int], bytes | None] = getattr(cache, step)
            assert found(key) == expected(key)
        assert list(cache.snapshot().items()) == model.items
        assert (len(cache), cache.total_weight) == (len(model.items), model.total_weight)
