"""Writes what has arrived while more arrives: big writes, few thread hops, at most two lots of pieces in memory.

A lot is written once it is big, or once a moment has passed since the last one, whether more arrives or not: on a fast
line a follower wakes for each megabyte and not for each packet, on a slow one for whatever there is. Pieces are never
joined. What is only lent (a memoryview) is written before more is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from assay.ports import PartialBlob


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushThresholds:
    """What is written without waiting for more."""

    size_bytes: int = 1024 * 1024
    delay_seconds: float = 0.02
    """Seconds since the last write after which fewer bytes will do."""


class WriteBuffer:
    """Between a body and a `PartialBlob`; `on_written` is told how much is there."""

    def __init__(
        self,
        partial: PartialBlob,
        on_written: Callable[[int], None],
        thresholds: FlushThresholds | None = None,
    ) -> None:
        self._partial = partial
        self._on_written = on_written
        self._thresholds = thresholds or FlushThresholds()
        self._pending: list[bytes | memoryview] = []
        self._size = 0
        self._last_write_at = 0.0
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def add(self, chunk: bytes | memoryview) -> None:
        """Take a chunk; raises what writing an earlier one, or this one where it is lent, raised."""
        self._pending.append(chunk)
        self._size += len(chunk)
        if isinstance(chunk, memoryview):
            await self.flush()
            return
        loop = asyncio.get_running_loop()
        left = self._last_write_at + self._thresholds.delay_seconds - loop.time()
        if self._size >= self._thresholds.size_bytes or left <= 0:
            await self._write_pending()
        elif self._timer is None:
            self._timer = loop.call_later(left, self._on_timer)

    async def flush(self) -> None:
        """Until all is written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._pending or self._writing is not None:
            await self._write_pending()

    def _on_timer(self) -> None:
        """An index that stalls must not hold back what it has sent."""
        self._timer = None
        if not self._pending:
            return
        if self._writing is None or _has_succeeded(self._writing):
            self._start_write()
        elif not self._writing.done():
            self._timer = asyncio.get_running_loop().call_later(self._thresholds.delay_seconds, self._on_timer)
        # Else it failed, which the next `add` or `flush` raises.

    async def _write_pending(self) -> None:
        while (writing := self._writing) is not None:
            try:
                await writing
            finally:
                if self._writing is writing:
                    self._writing = None
        if self._pending:
            self._start_write()

    def _start_write(self) -> None:
        taken, self._pending, self._size = self._pending, [], 0
        self._last_write_at = asyncio.get_running_loop().time()
        self._writing = asyncio.create_task(self._write(taken))

    async def _write(self, chunks: list[bytes | memoryview]) -> None:
        await self._partial.append(*chunks)
        self._on_written(self._partial.bytes_written)


def _has_succeeded(writing: asyncio.Task[None]) -> bool:
    return writing.done() and not writing.cancelled() and writing.exception() is None
