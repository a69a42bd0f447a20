"""Writes what has arrived while more arrives: big writes, few thread hops, at most two buffers in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.ports import Partial

_INTAKE = 1024 * 1024
"""Bytes that may wait in memory while earlier ones are being written."""


class Intake:
    """Between a body and a `Partial`; `grown` is told how much is there."""

    def __init__(self, partial: Partial, grown: Callable[[int], None]) -> None:
        self._partial = partial
        self._grown = grown
        self._waiting = bytearray()
        self._writing: asyncio.Task[None] | None = None

    async def add(self, chunk: bytes) -> None:
        """Take a chunk; raises what writing an earlier one raised."""
        self._waiting += chunk
        if self._writing is None or self._writing.done() or len(self._waiting) >= _INTAKE:
            await self._next()

    async def flush(self) -> None:
        """Until all is written."""
        while self._waiting or self._writing is not None:
            await self._next()

    async def _next(self) -> None:
        if self._writing is not None:
            written, self._writing = self._writing, None
            await written
        if self._waiting:
            taken, self._waiting = self._waiting, bytearray()
            self._writing = asyncio.create_task(self._write(taken))

    async def _write(self, taken: bytearray) -> None:
        await self._partial.append(taken)
        self._grown(self._partial.written)
