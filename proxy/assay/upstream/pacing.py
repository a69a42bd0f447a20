"""How often and how soon a request is repeated, and how an index that asks to be left alone is left alone.

Owns the pauses: jittered and doubling after a fault, what ``Retry-After`` says where it says something. The latter
holds for every request to the same host, not only for the one that was answered: an index that answers one of twenty
requests with 429 means all of them (RFC 6585, 4).
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import UpstreamUnavailableError

MAX_TRIES = 3
"""Of what fails without saying when to come back."""
MAX_RETRY_WAIT_SECONDS = 5.0
"""Seconds that a request may be held back in all by what ``Retry-After`` asks; after that it is an error."""
_MAX_HOLD_SECONDS = 300.0
"""Seconds that one ``Retry-After`` can keep us away: an index must not be able to silence us for a year."""
_MAX_HELD_HOSTS = 1000

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPacing:
    """How long to wait before a request is repeated."""

    min_delay_seconds: float = 0.2

    def compute_delay(self, attempt: int, retry_after: float | None) -> float | None:
        """Return seconds: jittered and doubling, or what the index asked; None if that is too long."""
        if retry_after is not None:
            return None if retry_after > MAX_RETRY_WAIT_SECONDS else max(retry_after, self.min_delay_seconds)
        return float(random.uniform(0.5, 1.0) * self.min_delay_seconds * 2**attempt)  # noqa: S311 - jitter, not a secret


class HostBackoff:
    """The pauses of all hosts.

    Args:
        sleep: waits so many seconds.
        clock: seconds, monotonic.
        pacing: delays after a fault.
    """

    def __init__(
        self,
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
        pacing: RetryPacing | None = None,
    ) -> None:
        self._pause = sleep
        self._clock = clock
        self._pacing = pacing or RetryPacing()
        self._held_until = Lru[str, float](max_items=_MAX_HELD_HOSTS)

    async def run_with_retries(self, host: str, request: Callable[[], Awaitable[_T]], max_wait_seconds: float) -> _T:
        """Try again what may pass: connection faults, 5xx, 429.

        Raises:
            UpstreamUnavailableError: it failed `MAX_TRIES` times, or the host asks for more than `max_wait_seconds`
            seconds.
        """
        attempt, waited = 0, 0.0
        while True:
            waited += await self._wait_for_host(host, max_wait_seconds - waited)
            try:
                return await request()
            except UpstreamUnavailableError as error:
                if error.retry_after is None:
                    attempt += 1
                    if attempt == MAX_TRIES:
                        raise
                    pause = self._pacing.compute_delay(attempt - 1, None) or self._pacing.min_delay_seconds
                else:
                    self._hold_host(host, error.retry_after)
                    pause = self._pacing.min_delay_seconds
                    if error.retry_after + pause + waited > max_wait_seconds:
                        raise
                telemetry.event("upstream-retry", host=host, pause=round(pause, 2), error=str(error))
            await self._pause(pause)
            waited += pause

    async def _wait_for_host(self, host: str, max_wait_seconds: float) -> float:
        """Wait until the host may be asked: how long that took."""
        wait = (self._held_until.get(host) or 0.0) - self._clock()
        if wait <= 0:
            return 0.0
        if wait > max_wait_seconds:
            raise UpstreamUnavailableError(f"{host} asks to be left alone for {wait:.0f} s more", retry_after=wait)
        await self._pause(wait)
        return wait

    def _hold_host(self, host: str, seconds: float) -> None:
        until = self._clock() + min(seconds, _MAX_HOLD_SECONDS)
        self._held_until.put(host, max(self._held_until.get(host) or 0.0, until))
