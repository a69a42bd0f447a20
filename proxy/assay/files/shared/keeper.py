"""Keeper: stores finished files as objects, and tells the local tier which blobs may be evicted.

A file that this replica has fetched from its index is stored at once, while the lease is held. The other files of the
local tier follow in the background: those whose upload failed, those that another replica was to store, and at start
all of them. They are looked up once a minute; while the object storage is away, the interval doubles up to ten minutes.
"""

from __future__ import annotations

import asyncio

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import AssayError, StorageError
from assay.ports import BlobStore, Objects
from assay.simple.model import Sha256

_INTERVAL_SECONDS = 60.0
_MAX_INTERVAL_SECONDS = 600.0
_MAX_WAITING = 256
"""Maximum number of files that wait for an upload at the same time. Further files follow in the background."""


class ObjectKeeper:
    """Background upload of finished files to the object storage.

    Args:
        objects: the object storage.
        blobs: the local tier.
        interval_seconds: time in seconds between two looks for files that are not kept.
        max_interval_seconds: maximum of this time, which doubles with each look that fails.
    """

    def __init__(
        self,
        objects: Objects,
        blobs: BlobStore,
        *,
        interval_seconds: float = _INTERVAL_SECONDS,
        max_interval_seconds: float = _MAX_INTERVAL_SECONDS,
    ) -> None:
        self._objects = objects
        self._blobs = blobs
        self._interval_seconds = interval_seconds
        self._max_interval_seconds = max_interval_seconds
        self._running: set[Sha256] = set()
        self._tasks = BackgroundTasks(_report_fault)

    def start(self) -> None:
        """Start to look for files that are not kept. From now on, the local tier evicts them last."""
        self._blobs.spare_unkept()
        self._tasks.spawn(self._run(), name="keep files as objects")

    async def keep(self, sha256: Sha256) -> bool:
        """Store a blob as an object; return whether the object exists now. A failure is logged and tried again later.

        If the blob is corrupt, it is removed.
        """
        if sha256 in self._running or len(self._running) >= _MAX_WAITING:
            return False
        self._running.add(sha256)
        try:
            return await self._keep(sha256)
        finally:
            self._running.discard(sha256)

    async def _keep(self, sha256: Sha256) -> bool:
        blob = await self._blobs.open_unused(sha256)
        if blob is None:
            return False
        try:
            await self._objects.keep(sha256, await blob.open_reader())
        except StorageError as error:
            telemetry.warning("object-not-kept", sha256=sha256, error=str(error))
            if not blob.is_verified:
                await blob.verify()
            return False
        finally:
            await blob.close()
        await self._blobs.mark_kept(sha256)
        return True

    async def mark_kept(self, sha256: Sha256) -> None:
        """Remember that the object of a blob exists."""
        await self._blobs.mark_kept(sha256)

    async def _run(self) -> None:
        interval = self._interval_seconds
        while True:
            try:
                is_complete = await self._keep_all()
            except AssayError as error:
                telemetry.event("objects-not-compared", error=str(error))
                is_complete = False
            interval = self._interval_seconds if is_complete else min(2 * interval, self._max_interval_seconds)
            await asyncio.sleep(interval)

    async def _keep_all(self) -> bool:
        """Look up all blobs that are not marked as kept, and store the missing ones; return False after a failure.

        Raises:
            UpstreamError: the object storage does not answer.
            StorageError: the local tier fails.
        """
        is_complete = True
        for sha256 in await self._blobs.list_unkept():
            if sha256 in self._running:
                continue
            if await self._objects.has(sha256):
                await self._blobs.mark_kept(sha256)
            elif not await self.keep(sha256):
                is_complete = False
        return is_complete

    async def close(self) -> None:
        """End the background work. An upload that has begun ends with the object storage."""
        await self._tasks.close()


def _report_fault(name: str, error: BaseException) -> None:
    telemetry.failure("keeping-failed", error, task=name)
