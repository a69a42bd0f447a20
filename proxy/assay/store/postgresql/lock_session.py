"""Session locks of the database (advisory locks), all of one replica on one connection.

A lock lasts until it is given back or the connection ends. If a replica dies, the server ends its connection, so its
locks are free at once. If the connection is lost, all leases of the replica are lost. The work under them continues,
and another replica may do the same work.

Requests are gathered: while one statement runs, further requests wait, and the next statement serves all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from assay.errors import DatabaseUnavailableError
from assay.store.postgresql.database import Connection, Database
from assay.store.postgresql.direct_connection import DirectConnection

_MAX_BATCH: Final = 500
"""Maximum number of locks of one statement."""
_MAX_LEASES: Final = 1000
"""Maximum number of locks of one replica. The server has a common limit for all replicas (`max_locks_per_transaction`
times `max_connections`)."""
_MAX_ADDRESS_CHARACTERS: Final = 300

_LOCK: Final = """
WITH tried AS MATERIALIZED (
    SELECT wanted.number, wanted.key, wanted.is_announced, pg_try_advisory_lock(wanted.hash) AS is_won
    FROM unnest($1::bigint[], $2::bytea[], $3::boolean[]) WITH ORDINALITY AS wanted (hash, key, is_announced, number)
), announced AS (
    INSERT INTO flights (key, address) SELECT key, $4::text FROM tried WHERE is_won AND is_announced AND $4::text <> ''
    ON CONFLICT (key) DO UPDATE SET address = excluded.address
)
SELECT tried.is_won, left(flights.address, $5) AS address
FROM tried LEFT JOIN flights ON flights.key = tried.key AND NOT tried.is_won ORDER BY tried.number
"""
_UNLOCK: Final = """
WITH removed AS (DELETE FROM flights WHERE key = ANY($1::bytea[]) AND address = $2)
SELECT pg_advisory_unlock(lease.hash) FROM unnest($3::bigint[]) AS lease (hash)
"""


@dataclass(frozen=True, slots=True)
class LockKey:
    """Name of a lock.

    Attributes:
        digest: key of the row that has the address of the holder.
        hash: key of the advisory lock: the first 64 bits of `digest`. Two names with the same hash only wait for each
            other.
    """

    digest: bytes
    hash: int


def make_lock_key(deployment: str, name: str) -> LockKey:
    """Return the key of a lock of one deployment."""
    text = f"{deployment}\0{name}".encode("utf-8", "surrogatepass")
    digest = blake2b(text, digest_size=32, person=b"assay-flight").digest()
    return LockKey(digest, int.from_bytes(digest[:8], "big", signed=True))


@dataclass(frozen=True, slots=True)
class Lease:
    """Lock that this replica holds, unless the connection has been lost since."""

    key: LockKey
    is_announced: bool
    session: int
    """Number of the connection."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Result of a try to get a lock."""

    lease: Lease | None
    """The lock; None if another replica holds it."""
    holder: str | None = None
    """Address of the replica that holds the lock, if it is known. Untrusted."""


@dataclass(frozen=True, slots=True)
class _Request:
    key: LockKey
    is_announced: bool
    result: asyncio.Future[Attempt] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class LockSession:
    """Locks of one replica.

    Args:
        database: the database.
        address: address of this replica, which other replicas see as the holder of its announced locks; None: no
            address.
    """

    def __init__(self, database: Database, address: str | None) -> None:
        self._database = database
        self._address = address or ""
        self._connection = DirectConnection(
            database,
            "flights",
            prepare=self._begin_session,
            serve=self._serve,
            on_lost=self._end_session,
            on_end=self._wake_up,
        )
        self._requests: list[_Request] = []
        self._returned: list[Lease] = []
        self._leases = 0
        self._session = 0
        self._is_connected = False
        self._work = asyncio.Event()

    async def open(self) -> None:
        """Connect. If the database is unavailable, further tries are made in the background. Call this only once."""
        await self._connection.open()

    async def close(self) -> None:
        """Close the connection, which gives back all locks. Idempotent."""
        await self._connection.close()
        self._end_session()

    async def try_lock(self, key: LockKey, *, is_announced: bool) -> Attempt:
        """Try to get a lock, without waiting for another holder.

        A replica must not try to get a lock that it holds, because the server would grant it.

        Args:
            key: the lock.
            is_announced: True if other replicas need the address of the holder.

        Raises:
            DatabaseUnavailableError: no connection, the connection was lost, or this replica holds too many locks.
        """
        if not self._is_connected:
            raise DatabaseUnavailableError(f"no connection for locks to the database {self._database}")
        if self._leases >= _MAX_LEASES:
            raise DatabaseUnavailableError(f"this replica holds {self._leases} locks")
        request = _Request(key, is_announced)
        self._requests.append(request)
        self._work.set()
        return await request.result

    def unlock(self, lease: Lease) -> None:
        """Give back a lock in the background."""
        if lease.session == self._session and self._is_connected:
            self._returned.append(lease)
            self._work.set()

    async def _begin_session(self, connection: Connection) -> None:
        if self._address:
            # The rows of an earlier process with the same address, whose locks have ended with it.
            await connection.execute("DELETE FROM flights WHERE address = $1", self._address)
        self._is_connected = True

    async def _serve(self, connection: Connection) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            if connection.is_closed():
                raise ConnectionResetError("the server has ended the connection")
            while self._returned or self._requests:
                # First those that were given back, because the same lock may be wanted again.
                returned, self._returned = self._returned[:_MAX_BATCH], self._returned[_MAX_BATCH:]
                if returned:
                    await self._give_back(connection, returned)
                requests, self._requests = self._requests[:_MAX_BATCH], self._requests[_MAX_BATCH:]
                if requests:
                    await self._try_all(connection, requests)

    async def _give_back(self, connection: Connection, leases: Sequence[Lease]) -> None:
        announced = [lease.key.digest for lease in leases if lease.is_announced]
        await connection.fetch(_UNLOCK, announced, self._address, [lease.key.hash for lease in leases])
        self._leases -= len(leases)

    async def _try_all(self, connection: Connection, requests: Sequence[_Request]) -> None:
        try:
            rows = await connection.fetch(
                _LOCK,
                [request.key.hash for request in requests],
                [request.key.digest for request in requests],
                [request.is_announced for request in requests],
                self._address,
                _MAX_ADDRESS_CHARACTERS,
            )
        except BaseException:
            self._fail(requests)
            raise
        for request, row in zip(requests, rows, strict=True):
            lease = Lease(request.key, request.is_announced, self._session) if row["is_won"] else None
            if lease is not None:
                self._leases += 1
            if not request.result.done():
                request.result.set_result(Attempt(lease, row["address"]))
            elif lease is not None:  # the caller was cancelled
                self.unlock(lease)

    def _wake_up(self) -> None:
        self._work.set()

    def _end_session(self) -> None:
        self._is_connected = False
        self._session += 1
        self._leases = 0
        self._returned.clear()
        requests, self._requests = self._requests, []
        self._fail(requests)

    def _fail(self, requests: Sequence[_Request]) -> None:
        for request in requests:
            if not request.result.done():
                error = f"the connection for locks to the database {self._database} was lost"
                request.result.set_exception(DatabaseUnavailableError(error))
