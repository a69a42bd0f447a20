"""Delayed writing: what was noted in memory is written at most once in a period, and when the record is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from assay import telemetry
from assay.caching.background import BackgroundTasks

FLUSH_DELAY_SECONDS: Final = 60.0


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
