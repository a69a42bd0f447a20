"""Bounded cache in memory that evicts the least recently used item (LRU).

The cache limits the number, the total weight and the age of its items. An item is a value with a key. The code that
uses the cache chooses the unit of weight, such as bytes or files. Only one thread may use an instance, except for
`peek`, which is safe in all threads.
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
    """Bounded LRU cache of values by key. A value cannot be None.

    The newest item stays in the cache even if it alone exceeds `max_weight`. Otherwise it would be computed again for
    each request. To keep heavy items out of the cache, set `max_item_weight`.

    Args:
        max_items: maximum number of items; None: no limit. `max_items` or `max_weight` is required.
        max_weight: maximum weight of all items together; None: no limit.
        max_item_weight: maximum weight of one item. A heavier item is not cached. None: no limit.
        weigh: returns the weight of a value; called once, by `put`. None: each value weighs 1.
        max_age_seconds: time from `put` until an item expires, in seconds; None: items never expire.
        clock: returns the current time in seconds, monotonic.
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
            raise ValueError("expected max_items or max_weight: a cache without a limit grows until the process ends")
        self._max_items = max_items
        self._max_weight = max_weight
        self._max_item_weight = max_item_weight
        self._weigh = weigh
        self._max_age_seconds = math.inf if max_age_seconds is None else max_age_seconds
        self._clock = clock
        self._items: OrderedDict[_K, _V] = OrderedDict()
        self._total_weight = 0
        # These take memory only in caches whose items have a weight or an age limit.
        self._weights: dict[_K, int] | None = None if weigh is None else {}
        self._stored_at: dict[_K, float] | None = None if max_age_seconds is None else {}

    def get(self, key: _K) -> _V | None:
        """Return the value of a key and mark it as recently used; None if the key is not cached."""
        # Every request that is answered from memory runs this, so method calls are inlined.
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
        """Return the value of a key without marking it as recently used; None if the key is not cached."""
        value = self._items.get(key)
        return None if value is None or (self._stored_at is not None and self._is_expired(key)) else value

    def put(self, key: _K, value: _V) -> None:
        """Cache a value in place of the previous one, then evict items until no limit is exceeded.

        A value that weighs more than `max_item_weight` is not cached. The previous value is removed even then.
        """
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
        """Remove an item and return its value; None if the key is not cached."""
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
        """Return True if an item of this weight is light enough for the cache (`max_item_weight`)."""
        return self._max_item_weight is None or weight <= self._max_item_weight

    def snapshot(self) -> dict[_K, _V]:
        """Return a copy of all items that have not expired, the least recently used first."""
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
