"""Small remembered facts in diskcache: `assay.ports.RecordStore`. Only `diskcache_private` imports diskcache beside it.

diskcache unpickles what it reads unless its `Disk` refuses to, and its own JSONDisk does not (CVE-2025-69872); nor does
it ask what a row's file name points to before it deletes that file. So `_BytesOnlyDisk` stores and reads raw bytes
inline and nothing else: a row of any other kind is removed unread. Each value is stored with the time and with a digest
of key, time and value, so that a torn or swapped row is noticed, removed, and missing.

One thread owns the database and closes it (six reader threads took 246 MB on the defaults). Least recently stored goes
first, and a value that is read is stored again at most hourly: least-recently-used would write on each read, 202 µs
against 22. The limit is enforced after each write: diskcache by itself lets large values run over it, and looks, with
four statements, after each value.

A record is only a cache. A disk that fails is said once, and asked again after a while; a database that is no database
any more is set aside, said loudly, and begun anew.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from diskcache import Cache, Disk, Timeout

from assay import telemetry
from assay.errors import StorageError
from assay.ports import RecordUsage, ReportProgress
from assay.store import diskcache_private
from assay.store.blob_directory import TOUCH_INTERVAL_SECONDS
from assay.store.threads import ThreadPool

_DIGEST_BYTES = 16
_HEADER_BYTES = _DIGEST_BYTES + 8
_DATABASE_NAME = "cache.db"
_RETRY_DELAY_SECONDS = 5.0
"""Seconds before a failing database is tried again."""
_MAX_PENDING_WRITES = 4
"""Calls of `put_soon` that are not done: their values are in memory."""
_MIN_VALUES_WITHIN_LIMIT = 4
"""A value that takes more than this part of the limit would push out everything else."""
_CACHE_SETTINGS = {
    "eviction_policy": "least-recently-stored",
    "cull_limit": 0,
    "statistics": 0,
    "tag_index": 0,
    "sqlite_mmap_size": 0,
    "sqlite_cache_size": 512,
    "sqlite_journal_size_limit": 16 * 2**20,
    "sqlite_trusted_schema": 0,
}
_RAW_MODE = 1
"""Mode of a row whose value is its bytes, as `diskcache.core.MODE_RAW`; only our `Disk` reads it."""
_Result = TypeVar("_Result")


class _InvalidRowError(Exception):
    """A row that is not raw bytes, inline."""


class _BytesOnlyDisk(Disk):  # type: ignore[misc]  # diskcache ships no types
    """Keys are strings, values raw bytes in the row. Nothing is unpickled; no file but the database is touched."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"expected a string as key, found {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str | None:
        """Return the key; None for one of another kind, which no call of ours finds."""
        return key if raw and type(key) is str else None

    def store(self, value: object, read: object, key: object = None) -> tuple[int, int, None, memoryview]:  # noqa: ARG002 - the signature is diskcache's
        if type(value) is not bytes or read:
            raise TypeError(f"expected bytes as value, found {type(value).__name__}")
        return 0, _RAW_MODE, None, memoryview(value)

    def fetch(self, mode: object, filename: object, value: object, read: object) -> bytes:
        if mode != _RAW_MODE or filename is not None or type(value) is not bytes or read:
            raise _InvalidRowError
        return value

    def remove(self, file_path: object) -> None:
        telemetry.security("record-refused", file=file_path)


class DiskcacheRecordStore:
    """Records in one directory.

    Args:
        directory: its own, made if need be.
        max_bytes: bytes on disk.
        clock: seconds since 1970.
    """

    def __init__(self, directory: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._limit = max_bytes
        self._clock = clock
        self._thread = ThreadPool("records", 1)
        self._write_slots = asyncio.Semaphore(_MAX_PENDING_WRITES)
        self._cache: Any = None
        self._writes_rows: bool | None = None
        """Whether diskcache's table is as `diskcache_private` knows it; None before the first write."""
        self._failed_at: float | None = None

    async def get(self, key: str) -> bytes | None:
        """The value, or None where there is none or it is broken (then it has been removed)."""
        return (await self.get_many((key,))).get(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of `keys` that are there, in one hop."""
        return await self._thread.run(self._run_or_default, lambda: self._get_many(keys), dict[str, bytes]())

    async def put(self, key: str, value: bytes) -> None:
        """Keep `value`; a full or failing store is logged and otherwise ignored."""
        await self.put_many({key: value})

    async def put_many(self, items: Mapping[str, bytes]) -> None:
        """Keep several in one transaction."""
        await self._thread.run(self._run_or_default, lambda: self._put_many(items), None)

    async def put_soon(self, items: Mapping[str, bytes]) -> None:
        """As `put_many`, without being waited for unless `_MAX_PENDING_WRITES` others are; `close` waits for all."""
        await self._write_slots.acquire()
        try:
            kept = self._thread.submit(self._run_or_default, lambda: self._put_many(items), None)
        except BaseException:
            self._write_slots.release()
            raise
        kept.add_done_callback(lambda _: self._write_slots.release())

    async def delete(self, key: str) -> None:
        """Forget the key, if it is there."""
        await self._thread.run(self._run_or_default, lambda: self._delete(key), None)

    async def stats(self) -> RecordUsage:
        """How full they are; nothing where the disk fails."""
        nothing = RecordUsage(count=0, size=0, limit=self._limit)
        return await self._thread.run(self._run_or_default, self._usage, nothing)

    async def prune(self, max_bytes: int) -> int:
        """Forget the least recently stored until `max_bytes` bytes are left: how many were forgotten."""
        return await self._thread.run(self._run_or_default, lambda: self._prune(max_bytes), 0)

    async def verify(self, progress: ReportProgress | None = None) -> int:
        """Read every record, and remove the broken: how many there were.

        Args:
            progress: called with (done, of how many) now and then.
        """
        keys = await self._thread.run(self._run_or_default, self._list_keys, list[str]())
        removed = 0
        for start in range(0, len(keys), 100):
            some = keys[start : start + 100]
            removed += len(some) - len(await self.get_many(some))
            if progress is not None:
                progress(min(start + 100, len(keys)), len(keys))
        return removed

    async def close(self) -> None:
        """Close the database in its own thread, and end the thread. Idempotent."""
        with suppress(StorageError):
            await self._thread.run(self._close)
        await self._thread.close()

    def _run_or_default(self, action: Callable[[], _Result], default: _Result) -> _Result:
        """`action`, or `default` where the disk fails: said once, and again when it works."""
        try:
            if self._cache is None:
                if self._failed_at is not None and 0 <= self._clock() - self._failed_at < _RETRY_DELAY_SECONDS:
                    return default
                self._open()
            result = action()
        except (sqlite3.Error, OSError, Timeout) as error:
            self._handle_failure(error)
            return default
        if self._failed_at is not None:
            self._failed_at = None
            telemetry.event("records-recovered", directory=self._directory)
        return result

    def _handle_failure(self, error: Exception) -> None:
        codes = _collect_error_codes(error)
        if codes & {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            self._close()
            self._quarantine_database(error)
            return
        if self._failed_at is None:
            telemetry.warning("records-failing", directory=self._directory, found=str(error) or type(error).__name__)
        self._failed_at = self._clock()
        if codes & {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
            self._close()  # and begin again after a pause; where the disk is only full, what is there can still be read

    def _quarantine_database(self, error: Exception) -> None:
        database = self._directory / _DATABASE_NAME
        aside = database.with_suffix(".broken")
        telemetry.security("records-broken", database=database, found=error, set_aside=aside)
        try:
            database.replace(aside)
            _remove_database(database)
        except OSError as failure:
            telemetry.warning("records-failing", directory=self._directory, found=failure)

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        database = self._directory / _DATABASE_NAME
        # SQLite gives the files that it makes beside a database the database's own mode.
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        diskcache_private.delete_stored_settings(database)
        self._cache = self._create_cache()
        try:
            self._check_settings(database)
        except BaseException:
            self._close()
            raise

    def _create_cache(self) -> Any:  # noqa: ANN401 - diskcache ships no types
        return Cache(str(self._directory), timeout=1, disk=_BytesOnlyDisk, size_limit=self._limit, **_CACHE_SETTINGS)

    def _check_settings(self, database: Path) -> None:
        """Begin a new database if the settings of the one before were not where they were deleted."""
        changed = diskcache_private.find_settings_change(self._cache, database)
        if changed is not None:
            diskcache_private.report_change(changed, "records of an earlier run are not used")
            # What stands in a database that somebody else wrote must not become a pragma.
            self._close()
            _remove_database(database)
            self._cache = self._create_cache()

    def _check_writes(self) -> bool:
        """Try at the first write whether rows can be written past `Cache.set`; a full disk can be read until then."""
        changed = diskcache_private.find_write_change(self._cache, _RAW_MODE)
        if changed is not None:
            diskcache_private.report_change(changed, "records are written one by one")
        return changed is None

    def _close(self) -> None:
        cache, self._cache = self._cache, None
        if cache is not None:
            try:
                cache.close()
            except sqlite3.Error as error:
                telemetry.warning("records-failing", directory=self._directory, found=error)

    def _get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        found, again = {}, {}
        now = int(self._clock())
        for key in keys:
            value = self._read_value(key)
            if value is None:
                continue
            found[key] = value[1]
            if now - value[0] > TOUCH_INTERVAL_SECONDS:
                again[key] = value[1]
        if again:
            self._put_many(again)
        return found

    def _read_value(self, key: str) -> tuple[int, bytes] | None:
        try:
            stored = self._cache.get(key)
        except _InvalidRowError:
            telemetry.security("record-refused", key=key)
            self._delete(key)
            return None
        if stored is None:
            return None
        value = _unseal_value(key, stored)
        if value is None:
            telemetry.warning("record-broken", key=key)
            self._delete(key)
        return value

    def _put_many(self, items: Mapping[str, bytes]) -> None:
        now = self._clock()
        rows = []
        for key, value in items.items():
            if len(value) * _MIN_VALUES_WITHIN_LIMIT > self._limit:
                telemetry.warning("record-too-large", key=key, size=len(value))
                continue
            rows.append(diskcache_private.Row(key, now, now, _RAW_MODE, _seal_value(key, int(now), value)))
        if self._writes_rows is None:
            self._writes_rows = self._check_writes()
        with self._cache.transact():
            if self._writes_rows:
                diskcache_private.write_rows(self._cache, rows)
            else:
                for row in rows:
                    self._cache.set(row.key, row.value)
        if self._cache.volume() > self._limit:
            self._cache.cull()

    def _delete(self, key: str) -> None:
        self._cache.delete(key)

    def _usage(self) -> RecordUsage:
        return RecordUsage(count=len(self._cache), size=self._cache.volume(), limit=self._limit)

    def _prune(self, max_bytes: int) -> int:
        before = len(self._cache)
        self._cache.reset("size_limit", max_bytes)
        try:
            self._cache.cull()
        finally:
            self._cache.reset("size_limit", self._limit)
        return before - len(self._cache)

    def _list_keys(self) -> list[str]:
        return [key for key in self._cache if key is not None]


def _collect_error_codes(error: BaseException | None) -> set[int]:
    """SQLite's primary result codes: diskcache's own rollback may fail and hide the first error behind its own."""
    codes = set()
    while error is not None:
        codes.add(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        error = error.__context__
    return codes


def _remove_database(database: Path) -> None:
    """Remove the database and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def _seal_value(key: str, now: int, value: bytes) -> bytes:
    stamped = now.to_bytes(_HEADER_BYTES - _DIGEST_BYTES, "big") + value
    return _compute_digest(key, stamped) + stamped


def _unseal_value(key: str, stored: bytes) -> tuple[int, bytes] | None:
    """(when it was stored, value); None: broken."""
    digest, stamped = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if len(stored) < _HEADER_BYTES or _compute_digest(key, stamped) != digest:
        return None
    return int.from_bytes(stored[_DIGEST_BYTES:_HEADER_BYTES], "big"), stored[_HEADER_BYTES:]


def _compute_digest(key: str, stamped: bytes) -> bytes:
    hashed = blake2b(stamped, digest_size=_DIGEST_BYTES, person=b"assay-record")
    hashed.update(b"\0" + key.encode("utf-8", "surrogatepass"))
    return hashed.digest()
