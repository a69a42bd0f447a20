"""Limit on how often each client may cause something, with a burst (token bucket)."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from assay.caching.lru import Lru

_MAX_CLIENTS = 10_000
"""Maximum number of clients that are remembered. A client that is forgotten begins with a full burst."""


class RateLimit:
    """Counter for each client, which shrinks with time.

    Args:
        burst: number of events that a client may cause at once.
        per_second: number of further events a second.
        clock: returns the current time in seconds, monotonic.
    """

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._counted = Lru[Hashable, tuple[float, float]](max_items=_MAX_CLIENTS)

    def is_exceeded(self, client: Hashable) -> bool:
        """Return whether another event would exceed the burst, so that the client must wait."""
        return self._count(client) + 1 > self._burst

    def count(self, client: Hashable) -> None:
        """Count an event that the client caused."""
        self._counted.put(client, (self._count(client) + 1, self._clock()))

    def _count(self, client: Hashable) -> float:
        count, counted_at = self._counted.get(client) or (0.0, 0.0)
        return max(0.0, count - (self._clock() - counted_at) * self._per_second)
