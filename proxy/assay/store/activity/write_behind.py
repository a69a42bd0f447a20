"""Delayed writing: what was noted in memory is written at most once in a period, and when the record is closed.

`WriteBehindRecord` is the base of the records that note what clients do.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, Generic, TypeVar

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.store.activity.database import ActivityDatabase

FLUSH_DELAY_SECONDS: Final = 60.0
_Notes = TypeVar("_Notes")


class WriteBehind:
    """Timer that starts one write some time after the first note.

    Args:
        flush: writes what was noted. It must not raise if the disk fails.
        delay_seconds: maximum time in seconds for which a note is only in memory.
    """

    def __init__(self, flush: Callable[[], Awaitable[None]], delay_seconds: float) -> None:
        self._flush = flush
        self._delay_seconds = delay_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = BackgroundTasks(lambda _, error: telemetry.failure("activity-failed", error))
        self._is_closed = False

    def schedule(self) -> None:
        """Start the timer, unless it runs. Call this in the event loop after each note."""
        if self._timer is None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(self._delay_seconds, self._start)

    def cancel(self) -> None:
        """Stop the timer, because the notes are being written now."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    async def close(self) -> None:
        """Write what was noted, and start no timer any more. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self.cancel()
        await self._tasks.wait_until_idle()
        await self._tasks.close()
        await self._flush()

    def _start(self) -> None:
        self._timer = None
        self._tasks.spawn(self._run(), name="activity flush")

    async def _run(self) -> None:
        await self._flush()


class WriteBehindRecord(ABC, Generic[_Notes]):
    """Record in the database of activity whose notes are written some time after they were made.

    A note changes memory and calls `_write_behind.schedule`. A query calls `flush` first.

    Args:
        database: the database. The owner closes it after this record.
        clock: returns the current time in UTC.
        flush_delay_seconds: maximum time in seconds for which a note is only in memory.
    """

    def __init__(self, database: ActivityDatabase, clock: Callable[[], datetime], flush_delay_seconds: float) -> None:
        self._database = database
        self._clock = clock
        self._write_behind = WriteBehind(self.flush, flush_delay_seconds)

    async def flush(self) -> None:
        """Write what was noted. If the disk fails, the notes stay in memory for the next try."""
        self._write_behind.cancel()
        if (notes := self._take_notes()) is None:
            return

        def write(database: sqlite3.Connection) -> bool:
            self._write_notes(database, notes)
            return True

        if not await self._database.run(write, default=False):
            self._put_back(notes)
            self._write_behind.schedule()

    async def close(self) -> None:
        """Write what was noted, and stop. Idempotent."""
        await self._write_behind.close()

    @abstractmethod
    def _take_notes(self) -> _Notes | None:
        """Remove the notes from memory and return them; return None if there are none."""

    @abstractmethod
    def _write_notes(self, database: sqlite3.Connection, notes: _Notes) -> None:
        """Write notes. Called in the thread of the database, in a transaction."""

    @abstractmethod
    def _put_back(self, notes: _Notes) -> None:
        """Put notes that were not written back into memory, within its limit."""
