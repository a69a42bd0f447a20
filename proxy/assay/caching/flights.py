"""Locks by key for callers in one process that need the same work: one caller does it, the others use its result."""

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
    """Number of callers that hold the lock or wait for it."""


class ProcessFlights:
    """Implementation of `assay.ports.Flights` for a single process, with one lock for each key.

    Args:
        count: called with the role of each caller, ``first`` or ``follower``. None: roles are not counted.
    """

    def __init__(self, count: Callable[[str], None] | None = None) -> None:
        self._count = count
        self._locks: dict[str, _LockEntry] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def flight(
        self,
        key: str,
        done: Callable[[], Awaitable[bool]],
        *,
        follow: bool = False,  # noqa: ARG002 - there is no other replica
    ) -> AsyncIterator[Flight]:
        """Wait for the lock of `key`, and tell the caller if it must do the work.

        The callers get the lock one after the other, in the order of their calls. The value of the context is a
        `Flight`. If its `first` is True, the caller must do the work, and holds the lock until the context ends. If the
        work fails, the next caller does it.

        Args:
            key: name of the work.
            done: returns True if the work has been done. It is called only for a caller that had to wait for the lock.
                If it returns True, `first` is False.
            follow: has no effect, because no other replica does the work.
        """
        entry = self._locks.setdefault(key, _LockEntry())
        must_wait = entry.users > 0
        entry.users += 1
        try:
            async with entry.lock:
                if not must_wait or not await done():
                    self._count_role("first")
                    yield Flight(first=True)
                    return
        finally:
            entry.users -= 1
            if not entry.users:
                del self._locks[key]
        self._count_role("follower")
        yield Flight(first=False)

    def _count_role(self, role: str) -> None:
        if self._count is not None:
            self._count(role)
