"""Uses of objects: what this replica has served is recorded once a day, and what no replica uses is removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime
from typing import Final

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import AssayError, StorageError
from assay.ports import Flights, Objects, RecordStore
from assay.simple.model import Sha256

_INTERVAL_SECONDS: Final = 60.0
_MAX_NOTED: Final = 200_000
"""Maximum number of files that are noted in a day. The uses of further files are recorded on the next day."""
_SWEPT: Final = "objects-swept"
"""Key of the record with the day of the last sweep, and of the flight of the replica that sweeps."""


class ObjectUsesRecorder:
    """Recorder of uses, and the daily removal of unused objects by one of the replicas.

    Args:
        objects: the object storage.
        records: records of all replicas.
        flights: locks of all replicas.
        clock: returns the current time in UTC.
        interval_seconds: time in seconds between two writes of the uses.
    """

    def __init__(
        self,
        objects: Objects,
        *,
        records: RecordStore,
        flights: Flights,
        clock: Callable[[], datetime],
        interval_seconds: float = _INTERVAL_SECONDS,
    ) -> None:
        self._objects = objects
        self._records = records
        self._flights = flights
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._noted: set[Sha256] = set()
        self._pending: set[Sha256] = set()
        self._day: date | None = None
        self._is_failing = False
        self._tasks = BackgroundTasks(_report_fault)

    def note(self, sha256: Sha256) -> None:
        """Note that a file is used. Only the first use of a day has an effect."""
        if sha256 not in self._noted and len(self._noted) < _MAX_NOTED:
            self._noted.add(sha256)
            self._pending.add(sha256)

    def start(self) -> None:
        """Start to record uses and to remove unused objects."""
        self._tasks.spawn(self._run(), name="record uses of objects")

    async def _run(self) -> None:
        while True:
            try:
                today = self._clock().date()
                await self.record(today)
                await self.sweep(today)
                self._is_failing = False
            except AssayError as error:
                if not self._is_failing:
                    telemetry.warning("object-uses-not-recorded", error=str(error))
                self._is_failing = True
            await asyncio.sleep(self._interval_seconds)

    async def record(self, today: date) -> None:
        """Write the uses that were noted since the last call.

        Raises:
            StorageError: the uses cannot be written. The next call tries again.
        """
        pending, self._pending = self._pending, set()
        try:
            await self._objects.record_uses(pending, today)
        except StorageError:
            self._pending |= pending
            raise
        if today != self._day:  # uses of the new day are noted again
            self._day, self._noted = today, pending | self._pending

    async def sweep(self, today: date) -> None:
        """Remove unused objects, unless a replica has done so today or is doing so.

        Raises:
            StorageError: the uses cannot be read, or an object cannot be removed.
            UpstreamUnavailableError: the object storage does not answer in time.
        """
        stamp = today.isoformat().encode()

        async def is_done() -> bool:
            return await self._records.get(_SWEPT) == stamp

        if await is_done():
            return
        async with self._flights.flight(_SWEPT, is_done) as flight:
            if not flight.first or await is_done():
                return
            removed = await self._objects.remove_unused(today)
            await self._records.put(_SWEPT, stamp)
        if removed:
            telemetry.event("objects-removed", count=removed)

    async def close(self) -> None:
        """End the background work. Uses that are not written are lost."""
        await self._tasks.close()


def _report_fault(name: str, error: BaseException) -> None:
    telemetry.failure("object-uses-failed", error, task=name)
