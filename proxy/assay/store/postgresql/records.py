"""Record store in PostgreSQL (`assay.ports.RecordStore`), which all replicas share.

The table is unlogged: it is empty after a crash of the server, and is not on a standby. Its key is the digest of the
record's key, because a key may contain NUL and lone surrogates, and may be longer than an entry of an index. Each value
is sealed (`store.sealing`), because another program may write to the database. A value whose seal is missing or wrong
counts as missing and is removed.

Records are only a cache. An error is logged once and counts as a missing record. While the database is unavailable, one
call in `_PROBE_INTERVAL_SECONDS` tries it, and all other calls return at once.

Records that were neither written nor read for `max_age` are removed, and the oldest ones if there are too many bytes. A
record that is read is marked as used, at most daily. One replica at a time removes records, in small batches.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import DatabaseUnavailableError, StorageError
from assay.ports import RecordUsage, ReportProgress
from assay.store.postgresql.database import Connection, Database
from assay.store.sealing import SEAL_OVERHEAD_BYTES, InvalidSealError, Sealer, UnknownKeyError

_PROBE_INTERVAL_SECONDS: Final = 2.0
"""Time in seconds between two tries while the database is unavailable."""
_MAX_BATCH_KEYS: Final = 500
"""Maximum number of records of one statement."""
_MAX_WRITE_BYTES: Final = 16 * 2**20
"""Size in bytes from which the values to write are divided into several statements."""
_MAX_READ_BYTES: Final = 256 * 2**20
"""Maximum size in bytes of the values that one statement returns. Further records count as missing."""
_OFFLOAD_MIN_BYTES: Final = 2**20
"""Size in bytes from which values are sealed and opened in a thread instead of the event loop."""
_SWEEP_LOCK: Final = (0x61737361, 1)
"""Keys of the advisory lock of the replica that removes old records."""
_VERIFY_BATCH_ROWS: Final = 100
_EXACT_COUNT_MAX_BYTES: Final = 64 * 2**20
"""Size in bytes of the table's main part up to which `stats` counts the rows. The number in a larger table is that of
the server's last analysis."""

_READ: Final = """
WITH wanted AS (
    SELECT key, stored, octet_length(value) AS size FROM records WHERE key = ANY($1) AND octet_length(value) <= $2
), bounded AS (
    SELECT key, stored < now() - interval '1 day' AS is_old, sum(size) OVER (ORDER BY key) AS total FROM wanted
)
SELECT records.key, records.value, is_old FROM bounded JOIN records USING (key) WHERE total <= $3
"""
_WRITE: Final = """
INSERT INTO records (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[])
ON CONFLICT (key) DO UPDATE SET value = excluded.value, stored = now()
"""
_TOUCH: Final = "UPDATE records SET stored = now() WHERE key = ANY($1) AND stored < now() - interval '1 hour'"
_REMOVE: Final = "DELETE FROM records WHERE (key, value) IN (SELECT * FROM unnest($1::bytea[], $2::bytea[]))"
_REMOVE_OLDEST: Final = """
WITH removed AS (
    DELETE FROM records WHERE key IN (
        SELECT key FROM records WHERE stored <= now() - $1::interval ORDER BY stored LIMIT $2
    ) RETURNING octet_length(value) AS size
)
SELECT count(*) AS count, COALESCE(sum(size), 0)::bigint AS size FROM removed
"""
_MEASURE_SLICE: Final = """
SELECT COALESCE(sum(octet_length(value)), 0)::bigint FROM records WHERE key >= $1 AND key < $2
"""
_SLICES: Final = tuple(pairwise((*(bytes([byte]) for byte in range(256)), b"\xff" * 33)))
"""Ranges of keys that cover all keys. A sum over one range ends within the deadline even if the table is large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLimits:
    """Limits on the records."""

    max_value_bytes: int = 64 * 2**20
    """Maximum size in bytes of one value. A larger value is not stored."""
    max_bytes: int = 16 * 2**30
    """Size in bytes of all values above which the oldest records are removed."""
    max_age: timedelta = timedelta(days=30)
    """Time without a use after which a record is removed."""
    sweep_interval: timedelta = timedelta(hours=1)
    """Time between two searches for records to remove."""
    sweep_batch: int = 1000
    """Number of records that one transaction removes."""


class PostgresRecordStore:
    """Record store in the table `records`.

    Args:
        database: the database.
        sealer: seals and opens the values. All replicas have its key.
        limits: limits on the records.
        clock: returns a monotonic time in seconds.
    """

    is_shared = True

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        *,
        limits: RecordLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._limits = limits or RecordLimits()
        self._clock = clock
        self._probe_at = 0.0
        self._is_failing = False
        self._tasks = BackgroundTasks(report=_report_failed_sweep)

    def start(self) -> None:
        """Start to remove old records in the background. Call this at most once."""
        self._tasks.spawn(self._sweep_regularly(), name="remove old records")

    async def close(self) -> None:
        """End the background task. Idempotent."""
        await self._tasks.close()

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; None if the key has no valid value, or if the database fails."""
        return (await self.get_many((key,))).get(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values of those `keys` that have a valid one. Up to 500 keys are read by one statement."""
        found: dict[str, bytes] = {}
        names = {_hash_key(key): key for key in keys}
        for some in _split(list(names), _MAX_BATCH_KEYS):
            rows = await self._read(some)
            if rows is None:
                break
            for name, value in (await self._open_rows(rows)).items():
                found[names[name]] = value
        return found

    async def put(self, key: str, value: bytes) -> None:
        """Store `value`. An error is logged and ignored."""
        await self.put_many({key: value})

    async def put_many(self, items: Mapping[str, bytes]) -> None:
        """Store several values: by one statement, or by several if they are many or large."""
        accepted = {}
        for key, value in items.items():
            if len(value) > self._limits.max_value_bytes:
                telemetry.warning("record-too-large", key=key, size=len(value))
            else:
                accepted[_hash_key(key)] = value
        for batch in _split_by_size(accepted):
            sealed = await self._seal(batch)
            async with self._attempt() as connection:
                if connection is None:
                    return
                await connection.execute(_WRITE, list(sealed), list(sealed.values()))

    async def put_soon(self, items: Mapping[str, bytes]) -> None:
        """Store several values before the call returns, so that a flight does not end before its records exist."""
        await self.put_many(items)

    async def delete(self, key: str) -> None:
        """Delete the value of a key, if it exists."""
        async with self._attempt() as connection:
            if connection is not None:
                await connection.execute("DELETE FROM records WHERE key = $1", _hash_key(key))

    async def stats(self) -> RecordUsage:
        """Return the usage of the table with its indexes. The number of records in a large table is an estimate."""
        count = size = 0
        async with self._attempt() as connection:
            if connection is not None:
                row = await connection.fetchrow(
                    "SELECT pg_total_relation_size('records') AS size, pg_relation_size('records') AS main,"
                    " (SELECT reltuples::bigint FROM pg_class WHERE oid = 'records'::regclass) AS count"
                )
                count, size = max(0, row["count"]), row["size"]
                if row["main"] <= _EXACT_COUNT_MAX_BYTES:
                    count = await connection.fetchval("SELECT count(*) FROM records")
        return RecordUsage(count=count, size=size, limit=self._limits.max_bytes)

    async def verify(self, progress: ReportProgress | None = None) -> int:
        """Read every record and remove those without a valid seal; return the number of removed records.

        Args:
            progress: called after each batch, with the number of checked records and the number of all records.
        """
        removed = checked = 0
        last = b""
        rows: list[Any] = []
        total = (await self.stats()).count
        while True:
            rows = []
            async with self._attempt() as connection:
                if connection is not None:
                    rows = await connection.fetch(
                        "SELECT key FROM records WHERE key > $1 ORDER BY key LIMIT $2", last, _VERIFY_BATCH_ROWS
                    )
            if not rows:
                return removed
            names = [bytes(row["key"]) for row in rows]
            found = await self._read(names)
            if found is None:
                return removed
            removed += len(found) - len(await self._open_rows(found))
            checked += len(names)
            last = names[-1]
            if progress is not None:
                progress(checked, max(total, checked))

    async def _read(self, names: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]] | None:
        """Return names and sealed values; None if the database fails. Mark records as used that were not of late."""
        rows: list[Any] | None = None
        async with self._attempt() as connection:
            if connection is not None:
                max_size = self._limits.max_value_bytes + SEAL_OVERHEAD_BYTES
                rows = await connection.fetch(_READ, list(names), max_size, _MAX_READ_BYTES)
        if rows is None:
            return None
        if old := [row["key"] for row in rows if row["is_old"]]:
            async with self._attempt() as connection:
                if connection is not None:
                    await connection.execute(_TOUCH, old)
        return [(row["key"], row["value"]) for row in rows]

    async def _open_rows(self, rows: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        """Return the values with a valid seal, and remove the other rows."""
        if sum(len(sealed) for _, sealed in rows) < _OFFLOAD_MIN_BYTES:
            opened = _open_all(self._sealer, rows)
        else:
            opened = await asyncio.to_thread(_open_all, self._sealer, rows)
        invalid = opened.forged + opened.unknown
        if opened.forged:
            telemetry.security("record-forged", database=self._database, count=len(opened.forged))
        if opened.unknown:
            telemetry.warning("record-key-unknown", database=self._database, count=len(opened.unknown))
        if invalid:
            async with self._attempt() as connection:
                if connection is not None:
                    # With its value, because another replica may have replaced the row meanwhile.
                    await connection.execute(_REMOVE, [name for name, _ in invalid], [value for _, value in invalid])
        return opened.values

    async def _seal(self, batch: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        if sum(map(len, batch.values())) < _OFFLOAD_MIN_BYTES:
            return _seal_all(self._sealer, batch)
        return await asyncio.to_thread(_seal_all, self._sealer, batch)

    @asynccontextmanager
    async def _attempt(self) -> AsyncIterator[Connection | None]:
        """Enter the context of a connection, or of None if the database is not to be tried now. Ignore its errors."""
        if not self._must_try():
            yield None
            return
        is_entered = False
        try:
            async with self._database.connection() as connection:
                is_entered = True
                yield connection
        except StorageError as error:
            self._note_failure(error)
            if not is_entered:
                yield None
        else:
            self._note_success()

    def _must_try(self) -> bool:
        if self._database.is_available:
            return True
        if self._clock() < self._probe_at:
            return False
        self._probe_at = self._clock() + _PROBE_INTERVAL_SECONDS
        return True

    def _note_failure(self, error: StorageError) -> None:
        if isinstance(error, DatabaseUnavailableError):
            self._probe_at = self._clock() + _PROBE_INTERVAL_SECONDS
        if not self._is_failing:
            telemetry.warning("records-unavailable", database=self._database, found=error)
        self._is_failing = True

    def _note_success(self) -> None:
        if self._is_failing:
            self._is_failing = False
            telemetry.event("records-recovered", database=self._database)

    async def _sweep_regularly(self) -> None:
        while True:
            # The random part keeps replicas that were started together from asking together.
            await asyncio.sleep(self._limits.sweep_interval.total_seconds() * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            await self.sweep()

    async def sweep(self) -> int:
        """Remove old records and, above the limit on their size, the oldest ones; return the number of removed records.

        If another replica removes records, do nothing.
        """
        removed = await self._remove_oldest(self._limits.max_age)
        if (excess := await self._measure() - self._limits.max_bytes) > 0:
            removed += await self._remove_oldest(timedelta(0), max_bytes=excess)
        if removed:
            telemetry.event("records-removed", database=self._database, count=removed)
        return removed

    async def _measure(self) -> int:
        """Return the size of all values in bytes; 0 if the whole table is smaller than the limit."""
        if (await self.stats()).size <= self._limits.max_bytes:
            return 0
        size = 0
        for start, end in _SLICES:
            async with self._attempt() as connection:
                if connection is not None:
                    size += int(await connection.fetchval(_MEASURE_SLICE, start, end))
        return size

    async def _remove_oldest(self, min_age: timedelta, *, max_bytes: int | None = None) -> int:
        """Remove records in batches, the oldest first; return their number. End without the lock.

        Args:
            min_age: age of the youngest record to remove.
            max_bytes: size of the values in bytes after which no further batch is removed; None: no limit.
        """
        count = size = 0
        while max_bytes is None or size < max_bytes:
            removed = 0
            async with self._attempt() as connection:
                if connection is None:
                    return count
                async with connection.transaction():
                    if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1, $2)", *_SWEEP_LOCK):
                        row = await connection.fetchrow(_REMOVE_OLDEST, min_age, self._limits.sweep_batch)
                        removed, size = row["count"], size + row["size"]
            count += removed
            if removed < self._limits.sweep_batch:
                break
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenedRows:
    values: dict[bytes, bytes]
    forged: list[tuple[bytes, bytes]]
    """Rows whose seal is missing or wrong."""
    unknown: list[tuple[bytes, bytes]]
    """Rows that name an unknown key."""


def _open_all(sealer: Sealer, rows: Sequence[tuple[bytes, bytes]]) -> _OpenedRows:
    opened = _OpenedRows(values={}, forged=[], unknown=[])
    for name, sealed in rows:
        try:
            opened.values[name] = sealer.open(name, sealed)
        except UnknownKeyError:
            opened.unknown.append((name, sealed))
        except InvalidSealError:
            opened.forged.append((name, sealed))
    return opened


def _seal_all(sealer: Sealer, batch: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    # In the order of the keys, so that replicas that write the same rows cannot block each other.
    return {name: sealer.seal(name, batch[name]) for name in sorted(batch)}


def _hash_key(key: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=32, person=b"assay-record-key").digest()


def _split(names: Sequence[bytes], count: int) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(names), count):
        yield names[start : start + count]


def _split_by_size(items: Mapping[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
    batch: dict[bytes, bytes] = {}
    size = 0
    for name, value in items.items():
        if batch and (len(batch) == _MAX_BATCH_KEYS or size + len(value) > _MAX_WRITE_BYTES):
            yield batch
            batch, size = {}, 0
        batch[name] = value
        size += len(value)
    if batch:
        yield batch


def _report_failed_sweep(_: str, error: BaseException) -> None:
    telemetry.failure("records-removal-failed", error)
