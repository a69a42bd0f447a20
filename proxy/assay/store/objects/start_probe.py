"""Probe of the object storage at the start of a replica, which is repeated until the object storage answers."""

from __future__ import annotations

import asyncio
from typing import Final

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import ConfigurationError, StorageError, UpstreamUnavailableError
from assay.store.objects.bucket import Bucket

_PAUSE_SECONDS: Final = 10.0
_PROBED_KEY: Final = "probe/none"
"""Key of an object that does not exist. To look it up is cheaper than a probe, which would wait for an upload."""


class StartProbe:
    """Probe of one bucket.

    Args:
        bucket: the object storage, which belongs to the caller.
        pause_seconds: time in seconds between two tries.
    """

    def __init__(self, bucket: Bucket, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
        self._bucket = bucket
        self._pause_seconds = pause_seconds
        self._reported: str | None = None
        self._tasks = BackgroundTasks(report=lambda _, error: telemetry.failure("objects-check-failed", error))
        self.is_done = False
        """True after a probe that was answered."""

    async def open(self) -> None:
        """Probe the bucket. If it does not answer, try again in the background.

        Raises:
            ConfigurationError: the service refuses access, has no such bucket, or answers with other bytes.
        """
        try:
            await self._bucket.probe()
        except StorageError as error:  # files come from the index meanwhile
            self._report(error)
            self._tasks.spawn(self._repeat(), name="probe of the object storage")
        else:
            self.is_done = True

    async def close(self) -> None:
        """End the background work. Idempotent."""
        await self._tasks.close()

    async def _repeat(self) -> None:
        while not self.is_done:
            await asyncio.sleep(self._pause_seconds)
            try:
                await self._bucket.find_size(_PROBED_KEY)
                await self._bucket.probe()
            except UpstreamUnavailableError:
                continue
            except (ConfigurationError, StorageError) as error:
                self._report(error)
            else:
                self.is_done = True
                telemetry.event("objects-checked", has_conditions=self._bucket.has_conditions)

    def _report(self, error: Exception) -> None:
        if (text := str(error)) != self._reported:
            self._reported = text
            telemetry.warning("objects-not-checked", error=text)
