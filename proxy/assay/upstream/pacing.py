"""Retries of requests to indexes: exponential backoff with jitter, and ``Retry-After``; none after a timeout.

After a fault without ``Retry-After``, the delay doubles with each attempt. A response with ``Retry-After`` delays all
requests of the same kind to the same host, not only the request that it answers. The status 429 is about the rate of
all requests, and not about a single request (RFC 6585, section 4).

Requests for pages are one kind; requests for documents (provenance, METADATA) are the other kind. A ``Retry-After`` for
a document therefore never delays a page.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import UpstreamTimeoutError, UpstreamUnavailableError

MAX_TRIES = 3
"""Maximum number of attempts of a request that fails without ``Retry-After``."""
MAX_RETRY_WAIT_SECONDS = 5.0
"""Default limit on the seconds that a request waits for ``Retry-After``. A request that would wait longer fails at
once."""
_MAX_HOLD_SECONDS = 300.0
"""Maximum seconds for which one ``Retry-After`` delays requests. Without this limit, one header could block an index
for a year."""
_MAX_HELD_HOSTS = 1000

_T = TypeVar("_T")

Purpose: TypeAlias = Literal["page", "document"]
"""Kind of request. A ``Retry-After`` delays only requests of the kind that it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPacing:
    """Calculation of the delay before the next attempt: exponential backoff, or the seconds of ``Retry-After``.

    The backoff begins with `min_delay_seconds`.
    """

    min_delay_seconds: float = 0.2

    def compute_delay(self, attempt: int, retry_after: float | None) -> float | None:
        """Return the seconds to wait before the next attempt, or None if the request must not be repeated.

        Without `retry_after`, the delay is `min_delay_seconds` * 2**attempt, times a random factor of 0.5 to 1.

        Args:
            attempt: number of the attempt that failed, counted from 0.
            retry_after: seconds that the index asked for, which replace the calculated delay; None if it did not ask.

        Returns:
            The delay in seconds; None if `retry_after` is more than `MAX_RETRY_WAIT_SECONDS`.
        """
        if retry_after is not None:
            return None if retry_after > MAX_RETRY_WAIT_SECONDS else max(retry_after, self.min_delay_seconds)
        return float(random.uniform(0.5, 1.0) * self.min_delay_seconds * 2**attempt)  # noqa: S311 - jitter, not a secret


class HostBackoff:
    """Retry loop for requests. It delays all requests of one kind to a host that sent ``Retry-After``.

    Args:
        sleep: coroutine function that waits for a number of seconds.
        clock: returns a monotonic time in seconds.
        pacing: delays between attempts; None for the default.
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
        self._held_until = Lru[tuple[str, Purpose], float](max_items=_MAX_HELD_HOSTS)

    async def run_with_retries(
        self, host: str, request: Callable[[], Awaitable[_T]], max_wait_seconds: float, *, purpose: Purpose = "page"
    ) -> _T:
        """Run a request, and repeat it after a temporary failure: a connection fault, 408, 429 or 5xx.

        After a timeout, the request is not repeated, because no client waits for three timeouts of 30 s.

        Args:
            host: host to which the request goes. The request waits while a ``Retry-After`` of this host is in force.
            request: coroutine function that sends the request once.
            max_wait_seconds: maximum seconds that all attempts together may wait because of ``Retry-After``.
            purpose: kind of the request. Only a ``Retry-After`` for the same kind delays it.

        Raises:
            UpstreamTimeoutError: the host did not answer in time.
            UpstreamUnavailableError: the request failed `MAX_TRIES` times without ``Retry-After``, or ``Retry-After``
                requires a longer wait than `max_wait_seconds`.
        """
        attempt, waited = 0, 0.0
        while True:
            waited += await self._wait_for_host((host, purpose), max_wait_seconds - waited)
            try:
                return await request()
            except UpstreamTimeoutError:
                raise
            except UpstreamUnavailableError as error:
                if error.retry_after is None:
                    attempt += 1
                    if attempt == MAX_TRIES:
                        raise
                    pause = self._pacing.compute_delay(attempt - 1, None) or self._pacing.min_delay_seconds
                else:
                    self._hold_host((host, purpose), error.retry_after)
                    pause = self._pacing.min_delay_seconds
                    if error.retry_after + pause + waited > max_wait_seconds:
                        raise
                telemetry.event("upstream-retry", host=host, pause=round(pause, 2), error=str(error))
            await self._pause(pause)
            waited += pause

    async def _wait_for_host(self, held: tuple[str, Purpose], max_wait_seconds: float) -> float:
        """Wait until the ``Retry-After`` of a host for one kind of request is over; return the seconds waited.

        Raises:
            UpstreamUnavailableError: the wait would exceed `max_wait_seconds`.
        """
        wait = (self._held_until.get(held) or 0.0) - self._clock()
        if wait <= 0:
            return 0.0
        if wait > max_wait_seconds:
            raise UpstreamUnavailableError(
                f"{held[0]} sent Retry-After and permits no request for another {wait:.0f} s", retry_after=wait
            )
        await self._pause(wait)
        return wait

    def _hold_host(self, held: tuple[str, Purpose], seconds: float) -> None:
        """Delay requests of one kind to a host by `seconds`. If such a delay is in force already, do not change it.

        When a delay begins, some requests may have been sent already. Their responses may contain ``Retry-After`` too,
        which must not prolong the delay.
        """
        now = self._clock()
        if (self._held_until.get(held) or 0.0) <= now:
            self._held_until.put(held, now + min(seconds, _MAX_HOLD_SECONDS))
