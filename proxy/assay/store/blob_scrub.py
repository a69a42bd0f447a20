"""Background verification of all blobs, which finds bytes that a disk has changed since they were hashed.

Time is divided into intervals of equal length. In each interval, every blob is read once. The digest of a blob
determines the time within the interval: a digest that begins with ``80`` is due in the middle. Digests are evenly
distributed, so the work is too. A process that is restarted each day still reaches all blobs. If no process runs when a
blob is due, the blob is read in the next interval, or hashed at its first use.

Reading is slow on purpose: one blob at a time, with pauses. The rate is a few times the average rate that the interval
requires. Reading does not count as use of the blob. `DiskBlob.verify_paced` removes a corrupt blob and reports it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import StorageError
from assay.simple.model import Sha256
from assay.store.blobs import DiskBlobStore
from assay.telemetry import metrics

MIN_BYTES_PER_SECOND: Final = 4 * 2**20
"""Minimum reading rate, in bytes a second. A lower rate would not noticeably reduce the load of the disk."""
_RESERVE_FACTOR: Final = 4
"""Ratio of the reading rate to the average rate. At the average rate, reading all blobs takes one interval. Reading
must be faster, because several large blobs may be due at nearly the same time."""
_STEPS_PER_INTERVAL: Final = 10_000
"""Number of steps in an interval. Each step verifies the blobs that have become due. If an interval is seven days, a
step is one minute."""
_PLACE_BYTES: Final = 8
"""Number of bytes at the start of a digest that determine the place of a blob. The place is the fraction of the
interval after which the blob is due."""


class BlobScrub:
    """Verification of every blob of a store, once in each interval.

    Args:
        blobs: the store.
        interval: length of an interval.
        clock: returns the time in seconds since 1970. It is called once, at the start.
    """

    def __init__(self, blobs: DiskBlobStore, interval: timedelta, clock: Callable[[], float]) -> None:
        self._blobs = blobs
        self._interval_seconds = interval.total_seconds()
        self._clock = clock
        self._tasks = BackgroundTasks(lambda _, error: telemetry.failure("blob-scrub-failed", error))

    def start(self) -> None:
        """Start the verification."""
        self._tasks.spawn(self._run(), name="blob scrub")

    async def close(self) -> None:
        """Stop the verification. Idempotent."""
        await self._tasks.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # The wall clock may jump, so it gives the first place only.
        begun, first = loop.time(), self._clock() / self._interval_seconds
        place = first
        while True:
            await asyncio.sleep(self._interval_seconds / _STEPS_PER_INTERVAL)
            reached = first + (loop.time() - begun) / self._interval_seconds
            await self.verify_between(place, reached)
            place = reached

    async def verify_between(self, begin: float, end: float) -> None:
        """Verify the blobs that become due after `begin` and not later than `end`.

        Args:
            begin: start of the period, in intervals since 1970.
            end: end of the period, in intervals since 1970. If the period has at least one interval, all blobs are
                verified.
        """
        digests = await self._blobs.read_threads.run(self._blobs.directory.digests)
        due = sorted((distance, sha256) for sha256 in digests if (distance := _measure(begin, sha256)) <= end - begin)
        for _, sha256 in due:
            await self._verify(sha256)

    async def _verify(self, sha256: Sha256) -> None:
        usage = await self._blobs.stats()
        rate = max(MIN_BYTES_PER_SECOND, _RESERVE_FACTOR * usage.size / self._interval_seconds)
        hashed = 0

        async def pause(hashed_bytes: int) -> None:
            nonlocal hashed
            added, hashed = hashed_bytes - hashed, hashed_bytes
            await asyncio.sleep(added / rate)

        try:
            blob = await self._blobs.open_unused(sha256)
            if blob is None:
                return
            try:
                is_intact = await blob.verify_paced(pause)
            finally:
                await blob.close()
        except StorageError as error:
            telemetry.warning("blob-unreadable", sha256=sha256, found=str(error))
            return
        metrics.SCRUBBED_BLOBS.labels("intact" if is_intact else "corrupt").inc()


def _measure(begin: float, sha256: Sha256) -> float:
    """Return the time from `begin` until the blob is due next, in intervals: above 0, at most 1.

    `begin` is a time in intervals since 1970.
    """
    place = int(sha256[: 2 * _PLACE_BYTES], 16) / 256**_PLACE_BYTES
    return 1.0 - (begin - place) % 1.0
