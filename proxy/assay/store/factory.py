"""Factory of the storage engine. The only engine is a directory with diskcache and SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from assay.indexes import Indexes
from assay.ports import HostedStorage, Ledger, Storage, Upstream
from assay.store import directory
from assay.store.hosted.directory import HostedDirectory
from assay.store.hosted.index import HostingUpstream
from assay.store.settings import StorageSettings
from assay.store.snapshot import copy_ledger, copy_records


async def open_hosted(settings: StorageSettings, indexes: Indexes, *, read_only: bool = False) -> HostedStorage | None:
    """Open the files of the hosted indexes; return None if no index is hosted.

    Args:
        settings: location.
        indexes: all indexes.
        read_only: True to read the files only. Another process may use the directory at the same time.

    Raises:
        StorageInUseError: another process uses the directory.
        StorageError: the directory is unusable.
    """
    if not indexes.hosted or settings.hosted is None:
        return None
    names = [index.name for index in indexes.hosted]
    return await HostedDirectory.open(settings.hosted.absolute(), names, read_only=read_only)


def add_hosted_indexes(upstream: Upstream, hosted: HostedStorage | None) -> Upstream:
    """Return connections to all indexes: to the hosted ones by their storage, and to the others by `upstream`."""
    return upstream if hosted is None else HostingUpstream(upstream, hosted)


async def open_storage(
    settings: StorageSettings, *, clock: Callable[[], datetime] = directory.utc_now, new_ledger: bool = False
) -> Storage:
    """Open the storage for this process exclusively; create it if it does not exist.

    Args:
        settings: location and limits.
        clock: returns the current time in UTC.
        new_ledger: True to create an empty ledger if the storage has been used and its ledger is missing.

    Raises:
        StorageInUseError: another process uses the storage.
        StorageError: the storage is unusable.
        LedgerError: the ledger is missing, damaged or of another version.
    """
    return await directory.StorageDirectory.open(settings, utc_clock=clock, new_ledger=new_ledger)


def has_storage(settings: StorageSettings) -> bool:
    """Return whether a proxy has used the storage before. Blocking."""
    return directory.is_directory_used(settings)


@asynccontextmanager
async def open_ledger(settings: StorageSettings) -> AsyncIterator[Ledger]:
    """Open only the ledger, for reading. Another process may use the storage at the same time.

    Raises:
        LedgerError: the ledger does not exist or cannot be read.
    """
    ledger = await directory.open_ledger(settings)
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def open_ledger_beside(settings: StorageSettings) -> AsyncIterator[Ledger]:
    """Open only the ledger, for reading and writing. Another process may use the storage at the same time.

    Raises:
        LedgerError: the ledger does not exist, cannot be read, or must be migrated first.
    """
    ledger = await directory.open_ledger_beside(settings)
    try:
        yield ledger
    finally:
        await ledger.close()


async def copy_storage(settings: StorageSettings, target: Path) -> StorageSettings:
    """Copy the ledger to the empty directory `target`, and also the records if they are small.

    Returns:
        The settings with `target` as the storage directory.

    Raises:
        LedgerError: the ledger is missing from a storage that has been used, or cannot be copied.
    """
    await asyncio.to_thread(directory.require_ledger, settings.directory)
    await asyncio.to_thread(copy_ledger, settings.directory, target)
    await asyncio.to_thread(copy_records, settings.directory, target)
    return settings.model_copy(update={"directory": target})
