"""Memory of requests that failed because an index was unavailable.

The first failure of a request for a file gets 503 with ``Retry-After``, because the index may soon be available again.
pip and uv then repeat the request; pip repeats it five times, without a message. If the index still fails, further
repetitions do not help. The response should then contain the reason, and must not be 503, because pip does not print
the reason after a 503.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from assay.caching.lru import Lru

_MIN_DISTANCE: Final = timedelta(seconds=4)
"""Minimum time between the first failure of a request and its repetition. Failures within this time count as one
failure, because clients may send the same request several times at once. The time is a little shorter than the
``Retry-After`` of 503 responses."""
_MAX_DISTANCE: Final = timedelta(minutes=1)
"""Time after which a failure is forgotten. The first failure of a later installation then gets 503 again."""
_MAX_FAILURES: Final = 10_000


class RepeatedFailures:
    """Time of the first failure of each request that failed in the last minute.

    Args:
        clock: returns the current time in UTC.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._failed_at = Lru[str, datetime](max_items=_MAX_FAILURES)

    def record(self, target: str) -> bool:
        """Record that a request for `target` failed; return True if it was a repetition of a failed request.

        A repetition follows the first failure after at least `_MIN_DISTANCE` and less than `_MAX_DISTANCE`.
        """
        now, before = self._clock(), self._failed_at.get(target)
        if before is None or not timedelta(0) <= now - before < _MAX_DISTANCE:
            self._failed_at.put(target, now)
            return False
        return now - before >= _MIN_DISTANCE
