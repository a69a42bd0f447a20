"""Locks by key: of several views that need one project at once, one does the work and the others find it done.

Owns nothing but who is next. What was found is in memory and records by the time that the next one looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from assay.ports import ProjectKey


@dataclass(slots=True)
class _LockEntry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class KeyedLock:
    """One turn at a time for each project."""

    def __init__(self) -> None:
        self._locks: dict[ProjectKey, _LockEntry] = {}

    @asynccontextmanager
    async def acquire(self, key: ProjectKey) -> AsyncIterator[None]:
        """Wait until nobody else has it, in the order of asking."""
        queue = self._locks.setdefault(key, _LockEntry())
        queue.users += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.users -= 1
            if not queue.users:
                del self._locks[key]
