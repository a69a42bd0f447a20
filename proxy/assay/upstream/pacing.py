"""How often and how soon a request is repeated, and how an index that asks to be left alone is left alone.

Owns the pauses: jittered and doubling after a fault, what ``Retry-After`` says where it says something. The latter
holds for every request to the same host, not only for the one that was answered: an index that answers one of twenty
requests with 429 means all of them (RFC 6585, 4).
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from assay import telemetry
from assay.errors import UpstreamUnavailableError

TRIES = 3
"""Of what fails without saying when to come back."""
PATIENCE = 5.0
"""Seconds that a request may be held back in all by what ``Retry-After`` asks; after that it is an error."""
_SHORTEST_PAUSE = 0.2
_LONGEST_HOLD = 300.0
"""Seconds that one ``Retry-After`` can keep us away: an index must not be able to silence us for a year."""
_MOST_HOSTS = 1000

_T = TypeVar("_T")


class Pacing:
    """The pauses of all hosts.

    Args:
        pause: waits so many seconds.
        clock: seconds, monotonic.
    """

    def __init__(self, pause: Callable[[float], Awaitable[None]], clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause
        self._clock = clock
        self._until: dict[str, float] = {}

    async def retrying(self, host: str, request: Callable[[], Awaitable[_T]], patience: float) -> _T:
        """Try again what may pass: connection faults, 5xx, 429.

        Raises:
            UpstreamUnavailableError: it failed `TRIES` times, or the host asks for more than `patience` seconds.
        """
        attempt, waited = 0, 0.0
        while True:
            waited += await self._hold(host, patience - waited)
            try:
                return await request()
            except UpstreamUnavailableError as error:
                if error.retry_after is None:
                    attempt += 1
                    if attempt == TRIES:
                        raise
                    pause = pause_before_retry(attempt - 1, None) or _SHORTEST_PAUSE
                else:
                    self._leave_alone(host, error.retry_after)
                    pause = _SHORTEST_PAUSE
                    if error.retry_after + pause + waited > patience:
                        raise
                telemetry.event("upstream-retry", host=host, pause=round(pause, 2), error=str(error))
            await self._pause(pause)
            waited += pause

    async def _hold(self, host: str, patience: float) -> float:
        """Wait until the host may be asked: how long that took."""
        wait = self._until.get(host, 0.0) - self._clock()
        if wait <= 0:
            return 0.0
        if wait > patience:
            raise UpstreamUnavailableError(f"{host} asks to be left alone for {wait:.0f} s more", retry_after=wait)
        await self._pause(wait)
        return wait

    def _leave_alone(self, host: str, seconds: float) -> None:
        if len(self._until) >= _MOST_HOSTS:
            self._until.clear()
        self._until[host] = max(self._until.get(host, 0.0), self._clock() + min(seconds, _LONGEST_HOLD))


def pause_before_retry(attempt: int, retry_after: float | None) -> float | None:
    """Seconds before the next try: jittered and doubling, or what the index asked; None when that is too long."""
    if retry_after is not None:
        return None if retry_after > PATIENCE else max(retry_after, _SHORTEST_PAUSE)
    return float(random.uniform(0.5, 1.0) * _SHORTEST_PAUSE * 2**attempt)  # noqa: S311 - jitter, not a secret
