"""A resource that is fetched again and again, in the background or on demand, with the last good value kept.

Owns when a resource is fetched and what is known of its age; what is fetched, and what a failure or an old value means,
is for its user to say. A failure never takes the last good value away.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from assay.caching.background import BackgroundTasks
from assay.caching.single_flight import SingleFlight
from assay.errors import InvalidResponseError, UpstreamUnavailableError
from assay.ports import Validators

_MAX_DOUBLINGS: Final = 32
"""Of a pause: each cap is reached long before."""

_T = TypeVar("_T")


class NotModified(Enum):
    """The answer that the last good value is still current (304)."""

    NOT_MODIFIED = "not modified"


NOT_MODIFIED: Final = NotModified.NOT_MODIFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched(Generic[_T]):
    """A value that was fetched and found good."""

    value: _T
    validators: Validators = field(default_factory=Validators)
    """For the next request, which the server may answer with 304."""
    obtained: datetime | None = None
    """As of when the value is known to be current; None: when the fetch ended."""
    size: int = 0
    """Bytes that were read for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest(Generic[_T]):
    """What a fetch starts from, and its limits."""

    last_good: _T | None
    validators: Validators
    """Of the last good value; empty if there is none."""
    max_bytes: int
    """Bytes of the body, after decoding, that may be read."""


Fetch: TypeAlias = Callable[[FetchRequest[_T]], Awaitable[Fetched[_T] | Literal[NotModified.NOT_MODIFIED]]]
"""Fetches the resource; raises if it cannot be had or is not good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshSchedule:
    """When a resource is fetched, and within which limits."""

    every: timedelta
    """From a success to the next fetch."""
    timeout: timedelta
    """For one fetch."""
    max_bytes: int
    """For one fetch."""
    jitter: float = 0.0
    """The part of each pause by which it may be shortened at random, so that many proxies don't ask at once."""
    first_retry: timedelta | None = None
    """From the first of several failures to the next fetch; it doubles with each further one. None: `every`."""
    max_retry: timedelta | None = None
    """The longest pause after a failure. None: `every`."""
    max_age: timedelta | None = None
    """The age from which on each turn raises the alarm. None: never."""

    def compute_pause_seconds(self, failures: int) -> float:
        """Return the longest pause after so many failures in a row; 0 after a success."""
        if not failures:
            return self.every.total_seconds()
        first, longest = self.first_retry or self.every, self.max_retry or self.every
        return min(first.total_seconds() * 2.0 ** min(failures - 1, _MAX_DOUBLINGS), longest.total_seconds())


class Refresher(Generic[_T]):
    """One resource, its last good value and its age.

    `start` fetches it on its schedule; `refresh` and `trigger` fetch it on demand. Both share one fetch at a time.

    Args:
        name: of the resource, for tasks and messages.
        fetch: fetches it; None if nothing does, so that only its age is watched.
        schedule: when, and within which limits.
        clock: UTC.
        on_failure: called with the error of each fetch that fails.
        initial: the value at first.
        on_refreshed: called with the value before and the new one, which is already in force; not after a 304.
        on_stale: called with the age in each turn of the schedule that finds it above `max_age`.
        sleep: waits so many seconds.
        pick: picks a number between two.
    """

    def __init__(
        self,
        name: str,
        fetch: Fetch[_T] | None,
        *,
        schedule: RefreshSchedule,
        clock: Callable[[], datetime],
        on_failure: Callable[[BaseException], None],
        initial: Fetched[_T] | None = None,
        on_refreshed: Callable[[_T | None, _T], Awaitable[None]] | None = None,
        on_stale: Callable[[timedelta], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        pick: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._schedule = schedule
        self._clock = clock
        self._on_refreshed = on_refreshed
        self._on_failure = on_failure
        self._on_stale = on_stale
        self._sleep = sleep
        self._pick = pick
        self._value: _T | None = None if initial is None else initial.value
        self._validators = Validators() if initial is None else initial.validators
        self._created_at = clock()
        self._last_success = None if initial is None else initial.obtained or self._created_at
        self._last_error: BaseException | None = None
        self._failures = 0
        self._flights = SingleFlight[str, _T]("refresh", report=self._report_failure)
        self._tasks = BackgroundTasks(report=self._report_failure)

    @property
    def value(self) -> _T | None:
        """The last good value; None if there was none yet."""
        return self._value

    @property
    def last_success(self) -> datetime | None:
        """As of when the value is known to be current; None if there is none."""
        return self._last_success

    @property
    def last_error(self) -> BaseException | None:
        """Why the last fetch failed; None if it did not."""
        return self._last_error

    @property
    def age(self) -> timedelta:
        """Time since the last success; without one, since the refresher was made."""
        return self._clock() - (self._last_success or self._created_at)

    @property
    def is_stale(self) -> bool:
        """Whether the age is above the schedule's `max_age`."""
        return self._schedule.max_age is not None and self.age > self._schedule.max_age

    def start(self) -> None:
        """Fetch the resource on its schedule from now on: at once, unless the value is younger than a period."""
        self._tasks.spawn(self._run(), name=f"refresh {self._name} on schedule")

    def trigger(self) -> None:
        """Start a fetch in the background, unless one is running."""
        self._flights.start(self._name, self._fetch_once)

    async def refresh(self, *, timeout_seconds: float | None = None) -> _T:
        """Wait for the running fetch, or for a new one, and return the value that it leaves.

        Args:
            timeout_seconds: seconds to wait; None: until the fetch has ended.

        Raises:
            StillRunningError: the fetch takes longer than `timeout_seconds`; it goes on.
            Exception: the fetch failed; the last good value stays.
        """
        return await self._flights.join(self._name, self._fetch_once, timeout_seconds=timeout_seconds)

    async def wait_until_idle(self) -> None:
        """Wait until no fetch is running."""
        await self._flights.wait_until_idle()

    async def close(self) -> None:
        """End the schedule and a running fetch. Idempotent."""
        await self._tasks.close()
        await self._flights.close()

    async def _run(self) -> None:
        is_due = self._last_success is None or self.age >= self._schedule.every
        while True:
            if is_due and self._fetch is not None:
                with suppress(Exception):  # recorded and reported
                    await self.refresh()
            if self.is_stale and self._on_stale is not None:
                self._on_stale(self.age)
            pause = self._schedule.compute_pause_seconds(self._failures)
            await self._sleep(pause * self._pick(1 - self._schedule.jitter, 1.0))
            is_due = True

    async def _fetch_once(self) -> _T:
        try:
            value = await self._put_in_force(await self._fetch_within_limits())
        except Exception as error:
            self._last_error = error
            self._failures += 1
            raise
        self._last_error, self._failures = None, 0
        return value

    async def _fetch_within_limits(self) -> Fetched[_T] | Literal[NotModified.NOT_MODIFIED]:
        if self._fetch is None:
            raise UpstreamUnavailableError(f"{self._name}: nothing fetches it")
        limits = self._schedule
        request = FetchRequest(last_good=self._value, validators=self._validators, max_bytes=limits.max_bytes)
        try:
            async with asyncio.timeout(limits.timeout.total_seconds()):
                answer = await self._fetch(request)
        except TimeoutError as error:
            raise UpstreamUnavailableError(f"{self._name}: not fetched within {limits.timeout}") from error
        if isinstance(answer, Fetched) and answer.size > limits.max_bytes:
            raise InvalidResponseError(f"{self._name}: larger than {limits.max_bytes} bytes")
        return answer

    async def _put_in_force(self, answer: Fetched[_T] | Literal[NotModified.NOT_MODIFIED]) -> _T:
        """Return the value that is in force after an answer."""
        before = self._value
        if not isinstance(answer, Fetched):
            if before is None:
                raise InvalidResponseError(f"{self._name}: answered that a value is current that was never fetched")
            self._last_success = self._clock()
            return before
        self._value, self._validators = answer.value, answer.validators
        self._last_success = answer.obtained or self._clock()
        if self._on_refreshed is not None:
            await self._on_refreshed(before, answer.value)
        return answer.value

    def _report_failure(self, _key: str, error: BaseException) -> None:
        self._on_failure(error)
