"""Single flight: one execution of work for all callers that need it at the same time.

A flight is a running task with a key. The flight belongs to no caller: it continues if a caller is cancelled or stops
waiting. The result is not kept after the flight has ended. If later callers may reuse the result, the work itself must
cache it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

from assay.caching.background import cancel_and_wait

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class StillRunningError(Exception):
    """Error for a caller whose time limit passes before the flight ends. The flight continues."""


class SingleFlight(Generic[_K, _V]):
    """Set of flights (running tasks that callers share), at most one for each key.

    Args:
        name: prefix of the names of the tasks.
        report: called once for each failed flight, with the key and the exception. The callers that wait for the flight
            get the exception too. None: failures are not reported. If no caller waits either, asyncio passes the
            exception to the exception handler of the event loop.
    """

    __slots__ = ("_flights", "_is_closed", "_name", "_report")

    def __init__(self, name: str, report: Callable[[_K, BaseException], None] | None = None) -> None:
        self._name = name
        self._report = report
        self._flights: dict[_K, asyncio.Task[_V]] = {}
        self._is_closed = False

    def get(self, key: _K) -> asyncio.Task[_V] | None:
        """Return the task of the running flight of a key; None if no flight runs. Use the task only to add callbacks.

        To wait for the result, call `join` instead of awaiting the task. If a caller that awaits the task is cancelled,
        the task is cancelled for all other callers too.
        """
        return self._flights.get(key)

    def list_keys(self) -> tuple[_K, ...]:
        """Return the keys of the running flights."""
        return tuple(self._flights)

    def start(self, key: _K, work: Callable[[], Coroutine[Any, Any, _V]]) -> None:
        """Start a flight unless a flight with this key runs.

        Args:
            key: key of the work.
            work: function that returns the coroutine to run.

        Raises:
            RuntimeError: this object is closed.
        """
        if key in self._flights:
            return
        if self._is_closed:
            raise RuntimeError(f"the group of the flight {self._name} {key} is closed")
        flight = self._flights[key] = asyncio.create_task(work(), name=f"{self._name} {key}")
        flight.add_done_callback(partial(self._on_done, key))

    async def join(
        self, key: _K, work: Callable[[], Coroutine[Any, Any, _V]], *, timeout_seconds: float | None = None
    ) -> _V:
        """Wait for the flight of a key and return its result. Start the flight if it does not run.

        Args:
            key: key of the work.
            work: function that returns the coroutine to run; called only if no flight with this key runs.
            timeout_seconds: maximum wait in seconds; None: no limit.

        Raises:
            StillRunningError: the flight takes longer than `timeout_seconds`. It continues in the background.
            RuntimeError: this object is closed.
            Exception: the exception of the work.
        """
        self.start(key, work)
        flight = self._flights[key]
        await asyncio.wait((flight,), timeout=timeout_seconds)
        if not flight.done():
            raise StillRunningError(f"{flight.get_name()} is still running after {timeout_seconds} s")
        return flight.result()

    def __len__(self) -> int:
        return len(self._flights)

    async def wait_until_idle(self) -> None:
        """Wait until no flight runs, including flights that start during the wait."""
        while self._flights:
            await asyncio.wait(self._flights.values())

    async def close(self) -> None:
        """Cancel all flights and wait until they have ended. Idempotent."""
        self._is_closed = True
        await cancel_and_wait(self._flights.values())

    def _on_done(self, key: _K, flight: asyncio.Task[_V]) -> None:
        del self._flights[key]
        if self._report is not None and not flight.cancelled() and (error := flight.exception()) is not None:
            self._report(key, error)
