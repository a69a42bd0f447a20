"""A bounded cache in memory that evicts the least recently used item.

Owns the bounds of count, weight and age. An item is a value with a key; what it weighs (bytes, files, facts) is for its
user to say. An instance belongs to one thread; from another one only `peek` is safe.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Lru(Generic[_K, _V]):
    """Values by key; None is not a value.

    The item that was put last always stays, also where it alone exceeds `max_weight`: otherwise it would be made anew
    at each request. What must not be held at all is bounded by `max_item_weight`.

    Args:
        max_items: items at most.
        max_weight: weight of all items together.
        max_item_weight: weight of one item; a heavier one is not held.
        weigh: the weight of a value, taken when it is put; each weighs 1 without it.
        max_age_seconds: seconds after `put` for which an item is held.
        clock: seconds, monotonic.
    """

    __slots__ = (
        "_clock",
        "_items",
        "_max_age_seconds",
        "_max_item_weight",
        "_max_items",
        "_max_weight",
        "_stored_at",
        "_total_weight",
        "_weigh",
        "_weights",
    )

    def __init__(
        self,
        *,
        max_items: int | None = None,
        max_weight: int | None = None,
        max_item_weight: int | None = None,
        weigh: Callable[[_V], int] | None = None,
        max_age_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_items is None and max_weight is None:
            raise ValueError("expected max_items or max_weight: an unbounded cache grows until the process ends")
        self._max_items = max_items
        self._max_weight = max_weight
        self._max_item_weight = max_item_weight
        self._weigh = weigh
        self._max_age_seconds = math.inf if max_age_seconds is None else max_age_seconds
        self._clock = clock
        self._items: OrderedDict[_K, _V] = OrderedDict()
        self._total_weight = 0
        # Only caches that weigh, or whose items age, pay for these.
        self._weights: dict[_K, int] | None = None if weigh is None else {}
        self._stored_at: dict[_K, float] | None = None if max_age_seconds is None else {}

    def get(self, key: _K) -> _V | None:
        """Return the value and mark it as used; None if it is not held."""
        # On the way of every request that is answered from memory: what could be calls of methods stands here.
        items, stored_at = self._items, self._stored_at
        value = items.get(key)
        if value is None:
            return None
        if stored_at is not None and self._clock() - stored_at[key] > self._max_age_seconds:
            self.pop(key)
            return None
        items.move_to_end(key)
        return value

    def peek(self, key: _K) -> _V | None:
        """Return the value without marking it as used; None if it is not held."""
        value = self._items.get(key)
        return None if value is None or self._is_expired(key) else value

    def put(self, key: _K, value: _V) -> None:
        """Hold the value in place of the one before, and evict what exceeds the bounds."""
        self.pop(key)
        weight = 1 if self._weigh is None else self._weigh(value)
        if self._max_item_weight is not None and weight > self._max_item_weight:
            return
        self._items[key] = value
        self._total_weight += weight
        if self._weights is not None:
            self._weights[key] = weight
        if self._stored_at is not None:
            self._stored_at[key] = self._clock()
        self._evict()

    def pop(self, key: _K) -> _V | None:
        """Remove the item and return its value; None if it is not held."""
        value = self._items.pop(key, None)
        if value is None:
            return None
        self._total_weight -= 1 if self._weights is None else self._weights.pop(key)
        if self._stored_at is not None:
            del self._stored_at[key]
        return value

    def clear(self) -> None:
        """Remove all items."""
        for key in tuple(self._items):
            self.pop(key)

    def fits(self, weight: int) -> bool:
        """Return whether an item of this weight may be held."""
        return self._max_item_weight is None or weight <= self._max_item_weight

    def snapshot(self) -> dict[_K, _V]:
        """Return a copy of all items, the least recently used first."""
        return {key: value for key, value in self._items.items() if not self._is_expired(key)}

    def __contains__(self, key: _K) -> bool:
        return key in self._items and not self._is_expired(key)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def total_weight(self) -> int:
        """Weight of all items together."""
        return self._total_weight

    def _evict(self) -> None:
        items = self._items
        while (self._max_items is not None and len(items) > self._max_items) or (
            self._max_weight is not None and self._total_weight > self._max_weight and len(items) > 1
        ):
            self.pop(next(iter(items)))

    def _is_expired(self, key: _K) -> bool:
        stored_at = self._stored_at
        return stored_at is not None and self._clock() - stored_at[key] > self._max_age_seconds
