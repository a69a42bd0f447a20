"""Record store in diskcache (`assay.ports.RecordStore`). Only this module and `diskcache_private` import diskcache.

diskcache unpickles the values that it reads, even with its own JSONDisk (CVE-2025-69872). It also deletes a file if a
row contains the file's name, without checking the path. `_BytesOnlyDisk` therefore stores and reads only raw bytes
inside the row. A row of any other kind is deleted unread. Each value is stored with its time and with a digest of key,
time and value. A row that is corrupt, or that was exchanged with another row, is therefore detected and deleted.

One thread owns the database, because six reader threads used 246 MB with the default settings. The least recently
stored record is evicted first. A record that is read is stored again, at most once an hour. Eviction by last use would
need a write for each read, and a read would take 202 µs instead of 22. The size limit is enforced after each batch of
writes. diskcache's own eviction is not used. It would let large values exceed the limit, and it would run four
statements after each value.

Records are only a cache. If the disk fails, the failure is logged once, and the disk is tried again after a pause. A
corrupt database is renamed and logged as a security event, and a new database is created.
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
from assay.store.sqlite_files import (
    BROKEN_FILE_CODES,
    CORRUPT_CODES,
    collect_error_codes,
    remove_database,
    set_aside_database,
)
from assay.store.threads import ThreadPool

_DIGEST_BYTES = 16
_HEADER_BYTES = _DIGEST_BYTES + 8
_DATABASE_NAME = "cache.db"
_RETRY_DELAY_SECONDS = 5.0
"""Pause in seconds before a failing database is tried again."""
_MAX_PENDING_WRITES = 4
"""Maximum number of calls of `put_soon` whose values are in memory and not written yet."""
_MIN_VALUES_WITHIN_LIMIT = 4
"""Number of values of equal size that must fit into the size limit. A larger value is not stored, because it would
evict too many others."""
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
"""Mode of a row that contains raw bytes. It equals `diskcache.core.MODE_RAW`."""
_Result = TypeVar("_Result")


class _InvalidRowError(Exception):
    """Error for a row whose value is not raw bytes inside the row."""


class _BytesOnlyDisk(Disk):  # type: ignore[misc]  # diskcache ships no types
    """Serializer of diskcache for string keys and raw bytes. It unpickles nothing, and touches no other file."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"expected a string as key, found {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str | None:
        """Return the key if it is a string, else None. This module never looks up the key None."""
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
        telemetry.security("record-rejected", file=file_path)


class DiskcacheRecordStore:
    """Record store of one directory.

    Args:
        directory: directory that contains only the database. It is created if necessary.
        max_bytes: limit on the size on disk, in bytes.
        clock: returns the time in seconds since 1970.
    """

    is_shared = False

    def __init__(self, directory: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._limit = max_bytes
        self._clock = clock
        self._thread = ThreadPool("records", 1)
        self._write_slots = asyncio.Semaphore(_MAX_PENDING_WRITES)
        self._cache: Any = None
        self._writes_rows: bool | None = None
        """True if diskcache's table has the form that `diskcache_private` expects. None before the first write."""
        self._failed_at: float | None = None

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; None if the key has no value. A corrupt value is deleted and counts as missing."""
        return (await self.get_many((key,))).get(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values of those `keys` that have one, in one call to the thread."""
        return await self._thread.run(self._run_or_default, lambda: self._get_many(keys), dict[str, bytes]())

    async def put(self, key: str, value: bytes) -> None:
        """Store `value`. An error is logged and ignored."""
        await self.put_many({key: value})

    async def put_many(self, items: Mapping[str, bytes]) -> None:
        """Store several values in one transaction."""
        await self._thread.run(self._run_or_default, lambda: self._put_many(items), None)

    async def put_soon(self, items: Mapping[str, bytes]) -> None:
        """Store several values in the background. Wait only while `_MAX_PENDING_WRITES` such calls are pending."""
        await self._write_slots.acquire()
        try:
            kept = self._thread.submit(self._run_or_default, lambda: self._put_many(items), None)
        except BaseException:
            self._write_slots.release()
            raise
        kept.add_done_callback(lambda _: self._write_slots.release())

    async def delete(self, key: str) -> None:
        """Delete the value of a key, if it exists."""
        await self._thread.run(self._run_or_default, lambda: self._delete(key), None)

    async def stats(self) -> RecordUsage:
        """Return the usage of the store; count and size are 0 if the disk fails."""
        nothing = RecordUsage(count=0, size=0, limit=self._limit)
        return await self._thread.run(self._run_or_default, self._usage, nothing)

    async def prune(self, max_bytes: int) -> int:
        """Delete the least recently stored records until at most `max_bytes` bytes are left.

        Return the number of deleted records.
        """
        return await self._thread.run(self._run_or_default, lambda: self._prune(max_bytes), 0)

    async def verify(self, progress: ReportProgress | None = None) -> int:
        """Read every record and delete corrupt ones; return the number of deleted records.

        Args:
            progress: called from time to time, with the number of checked records and the number of all records.
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
        """Close the database in its thread, and end the thread. Idempotent."""
        with suppress(StorageError):
            await self._thread.run(self._close)
        await self._thread.close()

    def _run_or_default(self, action: Callable[[], _Result], default: _Result) -> _Result:
        """Return the result of `action`, or `default` if the disk fails.

        Log only the first of several consecutive failures, and the recovery.
        """
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
        codes = collect_error_codes(error)
        if codes & CORRUPT_CODES:
            self._close()
            self._quarantine_database(error)
            return
        if self._failed_at is None:
            telemetry.warning(
                "records-unavailable", directory=self._directory, found=str(error) or type(error).__name__
            )
        self._failed_at = self._clock()
        if codes & BROKEN_FILE_CODES:
            self._close()  # opened again after a pause; if the disk is only full, reading still works

    def _quarantine_database(self, error: Exception) -> None:
        database = self._directory / _DATABASE_NAME
        aside = database.with_suffix(".broken")
        telemetry.security("records-corrupt", database=database, found=error, set_aside=aside)
        try:
            set_aside_database(database, aside)
        except OSError as failure:
            telemetry.warning("records-unavailable", directory=self._directory, found=failure)

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        database = self._directory / _DATABASE_NAME
        # SQLite creates its additional files with the mode of the database.
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
        """Replace the database by a new one if the settings in it could not be deleted."""
        changed = diskcache_private.find_settings_change(self._cache, database)
        if changed is not None:
            diskcache_private.report_change(changed, "records of an earlier run are not used")
            # Settings in a database that another program wrote must not become pragmas.
            self._close()
            remove_database(database)
            self._cache = self._create_cache()

    def _check_writes(self) -> bool:
        """Return whether rows can be written without `Cache.set`.

        Call this at the first write and not at start, because it needs a disk that is not full. Reading works on a full
        disk.
        """
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
                telemetry.warning("records-unavailable", directory=self._directory, found=error)

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
            telemetry.security("record-rejected", key=key)
            self._delete(key)
            return None
        if stored is None:
            return None
        value = _unseal_value(key, stored)
        if value is None:
            telemetry.warning("record-corrupt", key=key)
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


def _seal_value(key: str, now: int, value: bytes) -> bytes:
    stamped = now.to_bytes(_HEADER_BYTES - _DIGEST_BYTES, "big") + value
    return _compute_digest(key, stamped) + stamped


def _unseal_value(key: str, stored: bytes) -> tuple[int, bytes] | None:
    """Return the time at which a value was stored, and the value; None if `stored` is corrupt."""
    digest, stamped = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if len(stored) < _HEADER_BYTES or _compute_digest(key, stamped) != digest:
        return None
    return int.from_bytes(stored[_DIGEST_BYTES:_HEADER_BYTES], "big"), stored[_HEADER_BYTES:]


def _compute_digest(key: str, stamped: bytes) -> bytes:
    hashed = blake2b(stamped, digest_size=_DIGEST_BYTES, person=b"assay-record")
    hashed.update(b"\0" + key.encode("utf-8", "surrogatepass"))
    return hashed.digest()
