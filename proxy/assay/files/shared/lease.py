"""Lease: the right of one replica to fetch a file from its index, for as long as the file is not in object storage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import StorageError
from assay.ports import Flight, Flights

_ALONE = Flight(first=False)


class Lease:
    """Flight that one task enters and leaves, so that the flight can outlast the download that needs it.

    Args:
        flights: flights of all replicas.
        tasks: group of the task.
        key: key of the flight.
        done: returns whether the work has been done (`Flights.flight`).
        follow: True to get the address of the replica that does the work, instead of waiting for it.
    """

    def __init__(
        self,
        flights: Flights,
        tasks: BackgroundTasks,
        *,
        key: str,
        done: Callable[[], Awaitable[bool]],
        follow: bool,
    ) -> None:
        self._flights = flights
        self._tasks = tasks
        self._key = key
        self._done = done
        self._follow = follow
        self._released = asyncio.Event()
        self._entered: asyncio.Future[Flight] | None = None

    async def take(self) -> Flight:
        """Enter the flight and return this replica's role in it. Call this once.

        If the flights fail, the role is that of a replica that works alone.
        """
        entered: asyncio.Future[Flight] = asyncio.get_running_loop().create_future()
        self._entered = entered
        self._tasks.spawn(self._hold(entered), name=f"lease {self._key}")
        try:
            return await entered
        except asyncio.CancelledError:
            self.release()
            raise

    async def _hold(self, entered: asyncio.Future[Flight]) -> None:
        try:
            async with self._flights.flight(self._key, self._done, follow=self._follow) as flight:
                if not entered.done():
                    entered.set_result(flight)
                if flight.first:
                    await self._released.wait()
        except StorageError as error:
            telemetry.warning("lease-failed", key=self._key, error=str(error))
        finally:
            if not entered.done():
                entered.set_result(_ALONE)

    def release(self) -> None:
        """Leave the flight. Idempotent."""
        self._released.set()
