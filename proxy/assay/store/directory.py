"""Storage directory of one proxy, with its own ledger and records: the embedded storage engine.

    lock, format                lock and layout (`store.local.directory_lock`)
    blobs/, activity/, spool/   parts of any engine (`store.local.tier`)
    records/                    cache of records
    ledger/                     permanent facts

A directory that has been used but has no ledger is refused, unless the operator asks for a new ledger.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from assay import telemetry
from assay.caching.flights import ProcessFlights
from assay.caching.notices import LocalNotices
from assay.errors import LedgerError
from assay.ports import AuditArchive, HostedStorage, Ledger, Objects
from assay.store.blob_directory import sync_directory, to_storage_error
from assay.store.hosted.directory import HostedDirectory
from assay.store.ledger.ledger import SqliteLedger
from assay.store.local.directory_lock import EMBEDDED_LAYOUT, LockedDirectory, lock_directory, write_layout
from assay.store.local.tier import LocalTier, utc_now
from assay.store.records import DiskcacheRecordStore
from assay.store.settings import StorageSettings
from assay.telemetry.metrics import FLIGHTS

_LEDGER_PATH = Path("ledger/ledger.db")
"""Path of the ledger in the storage directory."""


class StorageDirectory(LocalTier):
    """Open storage directory (`assay.ports.Storage`).

    Attributes:
        records, ledger: parts of the directory, beside those of the local tier.
        notices: channel between the parts of this process. No other process uses the directory.
        flights: locks within this process.
        objects: None, because no other process shares the files.
        degraded: empty, because a directory has no parts that can be away.
    """

    objects: Objects | None = None
    degraded: tuple[str, ...] = ()

    def __init__(
        self,
        taken: _TakenDirectory,
        settings: StorageSettings,
        clock: Callable[[], float],
        utc_clock: Callable[[], datetime],
    ) -> None:
        super().__init__(taken.locked, settings, clock, utc_clock)
        directory = taken.locked.directory
        self.records = DiskcacheRecordStore(directory / "records", settings.records, clock)
        self._own_ledger = SqliteLedger(directory / _LEDGER_PATH, may_create=taken.may_create_ledger)
        self.ledger: Ledger = self._own_ledger
        self._hosted = settings.hosted
        self.notices = LocalNotices()
        self.flights = ProcessFlights(count=lambda role: FLIGHTS.labels(role).inc())

    @classmethod
    async def open(
        cls,
        settings: StorageSettings,
        *,
        clock: Callable[[], float] = time.time,
        utc_clock: Callable[[], datetime] = utc_now,
        new_ledger: bool = False,
    ) -> Self:
        """Lock the directory for this process, remove unfinished blobs of an earlier process, and open all parts.

        Args:
            settings: path and limits.
            clock: returns the time in seconds since 1970.
            utc_clock: returns the current time in UTC, for the record of activity.
            new_ledger: True to create an empty ledger if the directory has been used and its ledger is missing. An
                existing ledger is used as it is.

        Raises:
            StorageInUseError: another process uses the directory.
            StorageError: the directory cannot be created, read or written, or belongs to another user.
            LedgerError: the ledger is missing, damaged or of another version.
        """
        taken = await asyncio.to_thread(_take_directory, settings.directory, new_ledger=new_ledger)
        store = cls(taken, settings, clock, utc_clock)
        try:
            await store.open_blobs()
            await store._own_ledger.open()
            await asyncio.to_thread(_write_layout, store._directory)
        except BaseException:
            await store.close()
            raise
        if new_ledger:
            telemetry.warning(
                "new-ledger" if taken.has_lost_ledger else "new-ledger-ignored", directory=store.directory
            )
        telemetry.event("storage-opened", directory=store.directory)
        return store

    def get_keys(self) -> Sequence[bytes]:
        """Return no keys: no other replica shares the directory."""
        return ()

    async def open_hosted(self, indexes: Sequence[str], *, read_only: bool = False) -> HostedStorage | None:
        """Open the files of hosted indexes; return None if the settings have no directory for them.

        Args:
            indexes: names of the indexes.
            read_only: True to read the files only. Another process may use the directory at the same time.

        Raises:
            StorageInUseError: another process uses the directory.
            StorageError: the directory is unusable.
        """
        if self._hosted is None:
            return None
        return await HostedDirectory.open(self._hosted.absolute(), list(indexes), read_only=read_only)

    def make_audit_archive(self) -> AuditArchive | None:
        """Return None: the parts of an audit trail stay on the disk."""
        return None

    async def close(self) -> None:
        """Remove unfinished blobs, close all parts, and unlock the directory. Idempotent."""
        await self.records.close()
        await self._own_ledger.close()
        await super().close()


async def open_ledger(settings: StorageSettings) -> SqliteLedger:
    """Open only the ledger, for reading. Another process may use the directory at the same time.

    Raises:
        LedgerError: the ledger does not exist or cannot be read.
    """
    return await _open(SqliteLedger(settings.directory / _LEDGER_PATH, may_create=False, read_only=True))


async def open_ledger_beside(settings: StorageSettings) -> SqliteLedger:
    """Open only the ledger, for reading and writing. Another process may use the directory at the same time.

    The ledger is not migrated, because the other process may be of an earlier version.

    Raises:
        LedgerError: the ledger does not exist, cannot be read, or has an earlier schema version.
    """
    return await _open(SqliteLedger(settings.directory / _LEDGER_PATH, may_create=False, may_migrate=False))


async def _open(ledger: SqliteLedger) -> SqliteLedger:
    try:
        await ledger.open()
    except BaseException:
        await ledger.close()
        raise
    return ledger


def is_directory_used(settings: StorageSettings) -> bool:
    """Return whether a proxy has used the storage directory before. Blocking."""
    return (settings.directory / "format").exists()


def require_ledger(directory: Path) -> None:
    """Check that a storage directory that has been used has a ledger. Blocking.

    Raises:
        LedgerError: the directory has been used, and its ledger is missing or empty.
    """
    if _has_lost_ledger(directory):
        raise LedgerError(
            f"the storage directory {directory} has been used, but its ledger {_LEDGER_PATH} is missing or empty;"
            " restore the ledger from a backup, or import an export with: assay ledger import FILE --new-ledger; or"
            " begin without any history: assay serve --new-ledger (every file and publisher then counts as seen for the"
            " first time)"
        )


def _has_lost_ledger(directory: Path) -> bool:
    """Return whether a storage directory has been used, and its ledger is missing or empty.

    A start that was interrupted leaves a directory that has not been used: with `ledger`, without `format`, and without
    a file in `blobs` and `records`.
    """
    with suppress(FileNotFoundError):
        if (directory / _LEDGER_PATH).stat().st_size:
            return False
    if (directory / "format").exists():
        return True
    parts = (directory / "blobs", directory / "records")
    if not (directory / _LEDGER_PATH).parent.exists() and all(part.exists() for part in parts):
        return True
    return any(files for part in parts for _, _, files in os.walk(part))


@dataclass(frozen=True, slots=True, kw_only=True)
class _TakenDirectory:
    """Storage directory that this process has locked, and the state of its ledger."""

    locked: LockedDirectory
    may_create_ledger: bool
    """True if no proxy has used the directory before, or if the operator asked for a new ledger."""
    has_lost_ledger: bool
    """True if the directory has been used, and its ledger is missing or empty."""


def _take_directory(path: Path, *, new_ledger: bool) -> _TakenDirectory:
    """Lock the directory for this process, and check its ledger."""
    locked = lock_directory(path, EMBEDDED_LAYOUT)
    try:
        has_lost_ledger = _has_lost_ledger(locked.directory)
        if not new_ledger:
            require_ledger(locked.directory)
        (locked.directory / _LEDGER_PATH).parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        os.close(locked.lock)
        raise to_storage_error(f"use the storage directory {locked.directory}", error) from error
    except BaseException:
        os.close(locked.lock)
        raise
    return _TakenDirectory(
        locked=locked, may_create_ledger=locked.is_new or has_lost_ledger, has_lost_ledger=has_lost_ledger
    )


def _write_layout(directory: Path) -> None:
    """Write the layout durably, after the ledger has been created. Blocking."""
    if not (directory / "format").exists():
        sync_directory(directory / "ledger")
    write_layout(directory, EMBEDDED_LAYOUT)
