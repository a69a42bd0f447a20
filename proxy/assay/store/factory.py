"""The one place that chooses the storage engine: today a directory, diskcache and SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from assay.ports import Ledger, Storage
from assay.store import directory
from assay.store.settings import StorageSettings
from assay.store.snapshot import copy_ledger, copy_records


async def open_storage(settings: StorageSettings) -> Storage:
    """Open the storage for this process alone, and begin it if it was never used.

    Raises:
        StorageInUseError: another process has it.
        StorageError: it cannot be used.
        LedgerError: the ledger is missing, damaged or of another version.
    """
    return await directory.StorageDirectory.open(settings)


def has_storage(settings: StorageSettings) -> bool:
    """Return whether something is kept there. Blocks."""
    return directory.is_directory_used(settings)


@asynccontextmanager
async def open_ledger(settings: StorageSettings) -> AsyncIterator[Ledger]:
    """Open the ledger alone, for reading, even while another process uses the storage.

    Raises:
        LedgerError: there is none, or it cannot be read.
    """
    ledger = await directory.open_ledger(settings)
    try:
        yield ledger
    finally:
        await ledger.close()


async def copy_storage(settings: StorageSettings, target: Path) -> StorageSettings:
    """Copy the ledger, and the records if that is cheap, to the empty directory `target`; return the copy's settings.

    Raises:
        LedgerError: the ledger is there and cannot be copied.
    """
    await asyncio.to_thread(copy_ledger, settings.directory, target)
    await asyncio.to_thread(copy_records, settings.directory, target)
    return settings.model_copy(update={"directory": target})
