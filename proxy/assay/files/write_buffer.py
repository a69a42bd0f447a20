"""Writes what has arrived while more arrives: big writes, few thread hops, at most two lots of pieces in memory.

A lot is written once it is big, or once a moment has passed since the last one, whether more arrives or not: on a fast
line a follower wakes for each megabyte and not for each packet, on a slow one for whatever there is. Pieces are never
joined. What is only lent (a memoryview) is written before more is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from assay.ports import Partial

_LOT = 1024 * 1024
"""Bytes that are written without waiting for more."""
_MOMENT = 0.02
"""Seconds after which fewer will do."""


class Intake:
    """Between a body and a `Partial`; `grown` is told how much is there."""

    def __init__(self, partial: Partial, grown: Callable[[int], None]) -> None:
        self._partial = partial
        self._grown = grown
        self._waiting: list[bytes | memoryview] = []
        self._size = 0
        self._begun = 0.0
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def add(self, chunk: bytes | memoryview) -> None:
        """Take a chunk; raises what writing an earlier one, or this one where it is lent, raised."""
        self._waiting.append(chunk)
        self._size += len(chunk)
        if isinstance(chunk, memoryview):
            await self.flush()
            return
        loop = asyncio.get_running_loop()
        left = self._begun + _MOMENT - loop.time()
        if self._size >= _LOT or left <= 0:
            await self._next()
        elif self._timer is None:
            self._timer = loop.call_later(left, self._due)

    async def flush(self) -> None:
        """Until all is written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting or self._writing is not None:
            await self._next()

    def _due(self) -> None:
        """An index that stalls must not hold back what it has sent."""
        self._timer = None
        if not self._waiting:
            return
        if self._writing is None or _is_good(self._writing):
            self._begin()
        elif not self._writing.done():
            self._timer = asyncio.get_running_loop().call_later(_MOMENT, self._due)
        # Else it failed, which the next `add` or `flush` raises.

    async def _next(self) -> None:
        while (writing := self._writing) is not None:
            try:
                await writing
            finally:
                if self._writing is writing:
                    self._writing = None
        if self._waiting:
            self._begin()

    def _begin(self) -> None:
        taken, self._waiting, self._size = self._waiting, [], 0
        self._begun = asyncio.get_running_loop().time()
        self._writing = asyncio.create_task(self._write(taken))

    async def _write(self, taken: list[bytes | memoryview]) -> None:
        await self._partial.append(*taken)
        self._grown(self._partial.written)


def _is_good(writing: asyncio.Task[None]) -> bool:
    return writing.done() and not writing.cancelled() and writing.exception() is None
