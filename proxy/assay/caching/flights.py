"""Flights of one process: of several callers that need one piece of work, one does it and the others find it done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from assay.ports import Flight


@dataclass(slots=True)
class _LockEntry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    """Callers that hold the lock or wait for it."""


class ProcessFlights:
    """`assay.ports.Flights` for a process that shares its work with no other."""

    def __init__(self) -> None:
        self._locks: dict[str, _LockEntry] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def flight(self, key: str, done: Callable[[], Awaitable[bool]]) -> AsyncIterator[Flight]:
        """Wait, in the order of the calls, until no other caller is in this flight.

        Only a caller that had to wait looks whether the work is done. A failed caller leaves it to the next one.
        """
        entry = self._locks.setdefault(key, _LockEntry())
        must_wait = entry.users > 0
        entry.users += 1
        try:
            async with entry.lock:
                if not must_wait or not await done():
                    yield Flight(first=True)
                    return
        finally:
            entry.users -= 1
            if not entry.users:
                del self._locks[key]
        yield Flight(first=False)
