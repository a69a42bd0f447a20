"""Turns: of several views that ask for one project at once, one does the work and the others find it done.

Owns nothing but who is next. What was found is in memory and records by the time that the next one looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from assay.ports import Key


@dataclass(slots=True)
class _Queue:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class Turns:
    """One turn at a time for each project."""

    def __init__(self) -> None:
        self._queues: dict[Key, _Queue] = {}

    @asynccontextmanager
    async def turn(self, key: Key) -> AsyncIterator[None]:
        """Wait until nobody else has it, in the order of asking."""
        queue = self._queues.setdefault(key, _Queue())
        queue.length += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[key]
