"""Write buffer of a download: collects chunks and writes them in large batches while more chunks arrive.

A batch is written when it has 1 MiB, or when 20 ms have passed since the last write. On a fast connection, the writing
thread and the followers thus wake once for each megabyte instead of each packet. On a slow connection, received bytes
do not wait long.

At most two batches are in memory: one is written while the other is filled. Chunks are not joined, because copying them
takes time. A memoryview is valid only until the next chunk is read, so it is written at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from assay.ports import PartialBlob


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushThresholds:
    """Thresholds of size and time. Pending chunks are written as soon as either threshold is reached."""

    size_bytes: int = 1024 * 1024
    """Total size of the pending chunks, in bytes."""
    delay_seconds: float = 0.02
    """Time since the last write, in seconds."""


class WriteBuffer:
    """Buffer between a response body and the temporary file (`PartialBlob`) that receives its bytes.

    Args:
        partial: the temporary file.
        on_written: called after each write with the total number of bytes in the file.
        thresholds: thresholds at which pending chunks are written; None: the defaults.
    """

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
        """Add a chunk. If a threshold is reached, write the pending chunks.

        Chunks of type `bytes` are written in the background. A memoryview is written before this method returns.

        Raises:
            StorageError: an earlier write failed, or the write of this memoryview.
        """
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
        """Write all pending chunks and wait until they are written.

        Raises:
            StorageError: a write failed.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._pending or self._writing is not None:
            await self._write_pending()

    def _on_timer(self) -> None:
        """Write the pending chunks after the delay, even if no further chunk arrives."""
        self._timer = None
        if not self._pending:
            return
        if self._writing is None or _has_succeeded(self._writing):
            self._start_write()
        elif not self._writing.done():
            self._timer = asyncio.get_running_loop().call_later(self._thresholds.delay_seconds, self._on_timer)
        # Otherwise the last write failed, and the next `add` or `flush` raises its error.

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
