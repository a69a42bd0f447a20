"""Local tier of a storage: those parts of a directory that belong to the one process that uses it.

    blobs/      files by SHA-256
    activity/   history of what clients used and of refused requests
    spool/      temporary large documents, removed at the next start

All files in the directory are created for the owner only (0700, 0600).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

from assay.store.activity.database import ActivityDatabase
from assay.store.activity.refusals import RefusalRecord
from assay.store.activity.reported_hits import ReportedHitRecord
from assay.store.activity.usage import UsageRecord
from assay.store.blob_scrub import BlobScrub
from assay.store.blobs import DiskBlobStore
from assay.store.fallback_blobs import FallbackBlobStore
from assay.store.local.directory_lock import SHARED_LAYOUT, LockedDirectory, lock_directory
from assay.store.settings import StorageSettings
from assay.store.spool import DiskSpool
from assay.store.temp_blobs import TempBlobs


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class LocalTier:
    """Blobs, history of use, and spool in a locked directory (`assay.ports.LocalStorage`).

    Attributes:
        blobs: blob store.
        download_blobs: blob store for downloads. It uses `blobs`. If `blobs` does not accept a new blob, the blob is
            written to an anonymous file instead.
        usage: record of what clients used.
        reported_hits: record of the advisory hits that were reported.
        refusals: record of refused requests.

    Args:
        locked: the directory. `close` unlocks it.
        settings: limits.
        clock: returns the time in seconds since 1970.
        utc_clock: returns the current time in UTC, for the record of activity.
    """

    def __init__(
        self,
        locked: LockedDirectory,
        settings: StorageSettings,
        clock: Callable[[], float],
        utc_clock: Callable[[], datetime],
    ) -> None:
        self._directory = directory = locked.directory
        self._lock = locked.lock
        self.blobs = DiskBlobStore(directory / "blobs", settings.blobs, clock)
        self._activity = ActivityDatabase(directory / "activity" / "activity.db", utc_clock)
        self.usage = UsageRecord(self._activity, utc_clock)
        self.reported_hits = ReportedHitRecord(self._activity)
        self.refusals = RefusalRecord(self._activity, utc_clock)
        self._temp_blobs = TempBlobs()
        self.download_blobs = FallbackBlobStore(self.blobs, self._temp_blobs)
        self._spool = DiskSpool(directory / "spool")
        self._scrub = BlobScrub(self.blobs, settings.verify_every, clock) if settings.verify_every else None

    @property
    def directory(self) -> str:
        """Path of the directory."""
        return str(self._directory)

    async def open_blobs(self) -> None:
        """Remove unfinished blobs of an earlier process, and list the blobs.

        Raises:
            StorageError: the directory of the blobs cannot be created, read or written.
        """
        await self.blobs.scan()

    async def open_spool(self) -> DiskSpool:
        """Return an empty spool. Call this method only once.

        Raises:
            StorageError: the directory of the spool cannot be created.
        """
        await self._spool.open()
        return self._spool

    def start_scrub(self) -> None:
        """Start the background verification of all blobs, unless it is switched off. Call this at most once."""
        if self._scrub is not None:
            self._scrub.start()

    async def check(self) -> None:
        """Check that blobs can be written: write a small file and remove it.

        Raises:
            StorageError: writing failed.
        """
        partial = await self.blobs.create_partial()
        try:
            await partial.append(b"ready?")
        finally:
            await partial.discard()

    async def close(self) -> None:
        """Remove unfinished blobs, close all parts, and unlock the directory. Idempotent."""
        if self._scrub is not None:
            await self._scrub.close()
        await self.usage.close()
        await self.refusals.close()
        await self._activity.close()
        await self._spool.close()
        await self._temp_blobs.close()
        await self.blobs.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


async def open_shared_tier(
    settings: StorageSettings,
    *,
    clock: Callable[[], float] = time.time,
    utc_clock: Callable[[], datetime] = utc_now,
) -> LocalTier:
    """Open only the local tier of a shared storage, for a command while no replica uses the directory.

    Raises:
        StorageInUseError: another process uses the directory.
        StorageError: the directory is unusable.
        ConfigurationError: the directory has an embedded ledger.
    """
    locked = await asyncio.to_thread(lock_directory, settings.directory, SHARED_LAYOUT)
    tier = LocalTier(locked, settings, clock, utc_clock)
    try:
        await tier.open_blobs()
    except BaseException:
        await tier.close()
        raise
    return tier
