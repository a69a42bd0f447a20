"""Single flight among replicas (`assay.ports.Flights`): locks within the process first, then those of the database.

A caller that waits asks for the lock again after a pause, which grows from `_FIRST_PAUSE_SECONDS` to
`_MAX_PAUSE_SECONDS`. The requests of all waiting callers of a replica go together in one statement.

While the database is away, each replica works alone. The work is then done once for each replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from assay.caching.flights import ProcessFlights
from assay.errors import DatabaseUnavailableError
from assay.ports import Flight
from assay.store.postgresql.database import Database
from assay.store.postgresql.lock_session import Lease, LockSession, make_lock_key
from assay.telemetry.metrics import FLIGHTS

_FIRST_PAUSE_SECONDS: Final = 0.025
_MAX_PAUSE_SECONDS: Final = 0.25
_PAUSE_FACTOR: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """Role of this replica."""

    flight: Flight
    role: str
    """Value of the metric's label `role`."""
    lease: Lease | None = None


class SharedFlights:
    """Flights of all replicas that share a database.

    Args:
        database: the database.
        deployment: name of the deployment, which separates its locks from those of other deployments.
        address: address at which other replicas can get the downloads of this one; None: no such address.
        patience_seconds: maximum wait for the work of another replica. Afterwards the caller does the work too.
    """

    def __init__(
        self, database: Database, *, deployment: str, address: str | None = None, patience_seconds: float = 20.0
    ) -> None:
        self._local = ProcessFlights()
        self._locks = LockSession(database, address)
        self._deployment = deployment
        self._address = address
        self._patience_seconds = patience_seconds

    async def open(self) -> None:
        """Connect. If the database is unavailable, replicas work alone until it is available. Call this only once."""
        await self._locks.open()

    async def close(self) -> None:
        """Close the connection, which ends all flights of this replica for the others. Idempotent."""
        await self._locks.close()

    @asynccontextmanager
    async def flight(
        self, key: str, done: Callable[[], Awaitable[bool]], *, follow: bool = False
    ) -> AsyncIterator[Flight]:
        """Enter the context of the work `key`, and tell the caller if it must do the work.

        If `first` is True, the caller must do the work, and other callers wait until the context ends. If the work
        fails, the next caller does it. If the maximum wait has passed, `first` is False, `holder` is None, and the
        caller must look for the result and otherwise do the work.

        Args:
            key: name of the work.
            done: returns True if the work has been done. It is also called for a caller that did not have to wait,
                because another replica may have done the work just before.
            follow: True if the caller can use the work of another replica while that replica does it. If another
                replica does the work and has an address, the context begins at once, with the address as `holder`.
                All callers of a key must agree.
        """
        async with self._local.flight(key, done) as local:
            if local.first:
                entry = await self._enter(key, done, follow=follow)
                FLIGHTS.labels(entry.role).inc()
                try:
                    yield entry.flight
                finally:
                    if entry.lease is not None:
                        self._locks.unlock(entry.lease)
                return
        FLIGHTS.labels("follower").inc()
        yield local

    async def _enter(self, key: str, done: Callable[[], Awaitable[bool]], *, follow: bool) -> _Entry:
        lock_key = make_lock_key(self._deployment, key)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                attempt = await self._locks.try_lock(lock_key, is_announced=follow)
            except DatabaseUnavailableError:
                return _Entry(flight=Flight(first=True), role="alone")
            if attempt.lease is not None:
                return await self._begin(attempt.lease, done)
            if follow and attempt.holder and attempt.holder != self._address:
                return _Entry(flight=Flight(first=False, holder=attempt.holder), role="follower")
            if (rest := deadline - loop.time()) <= 0:
                return _Entry(flight=Flight(first=False), role="alone")
            await asyncio.sleep(min(pause, rest))
            pause = min(pause * _PAUSE_FACTOR, _MAX_PAUSE_SECONDS)

    async def _begin(self, lease: Lease, done: Callable[[], Awaitable[bool]]) -> _Entry:
        """Return the role of the caller that got the lock. If the work has been done, give back the lock."""
        is_done = True
        try:
            is_done = await done()
        finally:
            if is_done:
                self._locks.unlock(lease)
        return _FOLLOWER if is_done else _Entry(flight=Flight(first=True), role="first", lease=lease)


_FOLLOWER: Final = _Entry(flight=Flight(first=False), role="follower")
