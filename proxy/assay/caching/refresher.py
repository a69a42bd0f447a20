"""Refresher of one resource: fetches the resource on a schedule or on demand, and keeps the last good value.

The refresher decides when to fetch, and measures the age of the value. The code that uses the refresher supplies the
function that fetches, and the functions that react to a failure or to an old value. A failed fetch never removes the
last good value.
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
"""Maximum number of times that a pause doubles, to avoid an overflow. The limit `max_retry` is reached much earlier."""

_T = TypeVar("_T")


class NotModified(Enum):
    """Result of a fetch if the last good value is still current (HTTP 304)."""

    NOT_MODIFIED = "not modified"


NOT_MODIFIED: Final = NotModified.NOT_MODIFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched(Generic[_T]):
    """Result of a fetch that obtained a valid value."""

    value: _T
    validators: Validators = field(default_factory=Validators)
    """HTTP validators (``ETag``, ``Last-Modified``) for the next request. They let the server answer with 304."""
    obtained: datetime | None = None
    """Time at which the value was last known to be current, UTC. None: the time at which the fetch ended."""
    size: int = 0
    """Number of bytes that were fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest(Generic[_T]):
    """Arguments of a fetch: the last good value, its HTTP validators and the size limit."""

    last_good: _T | None
    validators: Validators
    """HTTP validators of the last good value; empty before the first success."""
    max_bytes: int
    """Maximum number of bytes of the decoded body."""


Fetch: TypeAlias = Callable[[FetchRequest[_T]], Awaitable[Fetched[_T] | Literal[NotModified.NOT_MODIFIED]]]
"""Function that fetches the resource. It raises an exception if the resource is unavailable or invalid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshSchedule:
    """Schedule of a refresher, with limits on each fetch."""

    every: timedelta
    """Time from a successful fetch to the next fetch."""
    timeout: timedelta
    """Time limit of one fetch."""
    max_bytes: int
    """Maximum number of bytes that one fetch may read."""
    jitter: float = 0.0
    """Maximum fraction (0 to 1) by which a pause is shortened. The actual fraction is random, so that many proxies do
    not fetch at the same time."""
    first_retry: timedelta | None = None
    """Pause after the first failure. The pause doubles with each further failure in a row. None: `every`."""
    max_retry: timedelta | None = None
    """Maximum pause after a failure. None: `every`."""
    max_age: timedelta | None = None
    """Age above which the value is too old; None: no limit. While the value is too old, the refresher calls `on_stale`
    before each pause of the schedule."""

    def compute_pause_seconds(self, failures: int) -> float:
        """Return the pause before the next fetch, in seconds, without jitter.

        Args:
            failures: number of failures in a row; 0 after a success.
        """
        if not failures:
            return self.every.total_seconds()
        first, longest = self.first_retry or self.every, self.max_retry or self.every
        return min(first.total_seconds() * 2.0 ** min(failures - 1, _MAX_DOUBLINGS), longest.total_seconds())


class Refresher(Generic[_T]):
    """Refresher of one resource, with the last good value and its age.

    `start` starts the schedule. `refresh` and `trigger` fetch on demand. At most one fetch runs at a time, and all
    callers share it.

    Args:
        name: name of the resource, for tasks and messages.
        fetch: fetches the resource. None: the resource is never fetched; only the age of its value is watched.
        schedule: schedule and limits of the fetches.
        clock: returns the current time, UTC.
        on_failure: called with the exception of each failed fetch.
        initial: first value. None: there is no value until a fetch succeeds.
        on_refreshed: called with the previous and the new value after a fetch has stored a new value; not called after
            a 304.
        on_stale: called with the age, once before each pause of the schedule, while the age is above `max_age`.
        sleep: waits for a number of seconds.
        pick: returns a random number between two numbers.
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
        """Last good value; None before the first success."""
        return self._value

    @property
    def last_success(self) -> datetime | None:
        """Time at which the value was last known to be current, UTC; None if there is no value."""
        return self._last_success

    @property
    def last_error(self) -> BaseException | None:
        """Exception of the last fetch; None if the last fetch succeeded or no fetch has ended."""
        return self._last_error

    @property
    def age(self) -> timedelta:
        """Time since `last_success`; without a success, time since the refresher was created."""
        return self._clock() - (self._last_success or self._created_at)

    @property
    def is_stale(self) -> bool:
        """True if the age is above the schedule's `max_age`."""
        return self._schedule.max_age is not None and self.age > self._schedule.max_age

    def start(self) -> None:
        """Start the schedule. The first fetch starts at once, unless the value is younger than `every`."""
        self._tasks.spawn(self._run(), name=f"refresh {self._name} on schedule")

    def trigger(self) -> None:
        """Start a fetch in the background unless a fetch is running."""
        self._flights.start(self._name, self._fetch_once)

    async def refresh(self, *, timeout_seconds: float | None = None) -> _T:
        """Wait for a fetch and return the resulting value. Join the running fetch, or start one.

        Args:
            timeout_seconds: maximum wait in seconds; None: no limit.

        Raises:
            StillRunningError: the fetch takes longer than `timeout_seconds`. It continues in the background.
            Exception: the fetch failed. The last good value stays.
        """
        return await self._flights.join(self._name, self._fetch_once, timeout_seconds=timeout_seconds)

    async def wait_until_idle(self) -> None:
        """Wait until no fetch is running."""
        await self._flights.wait_until_idle()

    async def close(self) -> None:
        """Stop the schedule and cancel the running fetch. Idempotent."""
        await self._tasks.close()
        await self._flights.close()

    async def _run(self) -> None:
        is_due = self._last_success is None or self.age >= self._schedule.every
        while True:
            if is_due and self._fetch is not None:
                with suppress(Exception):  # `last_error` has it, and `on_failure` was called
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
            raise UpstreamUnavailableError(f"{self._name}: no fetch is configured")
        limits = self._schedule
        request = FetchRequest(last_good=self._value, validators=self._validators, max_bytes=limits.max_bytes)
        try:
            async with asyncio.timeout(limits.timeout.total_seconds()):
                answer = await self._fetch(request)
        except TimeoutError as error:
            raise UpstreamUnavailableError(f"{self._name}: the fetch took more than {limits.timeout}") from error
        if isinstance(answer, Fetched) and answer.size > limits.max_bytes:
            raise InvalidResponseError(f"{self._name}: expected at most {limits.max_bytes} bytes, found {answer.size}")
        return answer

    async def _put_in_force(self, answer: Fetched[_T] | Literal[NotModified.NOT_MODIFIED]) -> _T:
        """Store the result of a fetch and return the value, which is the previous one after a 304.

        Raises:
            InvalidResponseError: the result is a 304, but there is no previous value.
        """
        before = self._value
        if not isinstance(answer, Fetched):
            if before is None:
                raise InvalidResponseError(
                    f"{self._name}: expected a value, found 304 Not Modified without an earlier value"
                )
            self._last_success = self._clock()
            return before
        self._value, self._validators = answer.value, answer.validators
        self._last_success = answer.obtained or self._clock()
        if self._on_refreshed is not None:
            await self._on_refreshed(before, answer.value)
        return answer.value

    def _report_failure(self, _key: str, error: BaseException) -> None:
        self._on_failure(error)
