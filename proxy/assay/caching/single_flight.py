"""Work that is done once for all who need it at the same time.

Owns the running tasks by key. A flight belongs to no caller: it goes on when one is cancelled or stops waiting. Its
result is not kept; what a later caller may reuse is for the work itself to cache.
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
    """A flight has not ended within the time that its caller could wait; it goes on."""


class SingleFlight(Generic[_K, _V]):
    """One running task per key, shared by its callers.

    Args:
        name: what a flight is, for the names of its tasks.
        report: called once with the key and the error of each flight that fails, however many callers get the error;
            without it an error that no caller gets goes to the event loop's exception handler, as asyncio does it.
    """

    __slots__ = ("_flights", "_is_closed", "_name", "_report")

    def __init__(self, name: str, report: Callable[[_K, BaseException], None] | None = None) -> None:
        self._name = name
        self._report = report
        self._flights: dict[_K, asyncio.Task[_V]] = {}
        self._is_closed = False

    def get(self, key: _K) -> asyncio.Task[_V] | None:
        """Return the running flight of a key, if there is one, for callbacks; its callers use `join`.

        A caller that awaited the task itself would cancel it for the others when it is cancelled.
        """
        return self._flights.get(key)

    def start(self, key: _K, work: Callable[[], Coroutine[Any, Any, _V]]) -> None:
        """Start a flight unless one of this key runs.

        Raises:
            RuntimeError: `close` was called.
        """
        if key in self._flights:
            return
        if self._is_closed:
            raise RuntimeError(f"no flight is started after `close`: {self._name} {key}")
        flight = self._flights[key] = asyncio.create_task(work(), name=f"{self._name} {key}")
        flight.add_done_callback(partial(self._on_done, key))

    async def join(
        self, key: _K, work: Callable[[], Coroutine[Any, Any, _V]], *, timeout_seconds: float | None = None
    ) -> _V:
        """Return the result of the running flight of a key, or of a new one.

        Args:
            key: names the work.
            work: called where no flight of this key runs.
            timeout_seconds: seconds to wait; None: until it has ended.

        Raises:
            StillRunningError: it takes longer than `timeout_seconds`.
            RuntimeError: `close` was called.
        """
        self.start(key, work)
        flight = self._flights[key]
        await asyncio.wait((flight,), timeout=timeout_seconds)
        if not flight.done():
            raise StillRunningError(f"{flight.get_name()} runs for longer than {timeout_seconds} s")
        return flight.result()

    def __len__(self) -> int:
        return len(self._flights)

    async def wait_until_idle(self) -> None:
        """Wait until no flight runs, those included that are started meanwhile."""
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
