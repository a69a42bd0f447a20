"""Registry of the running downloads. It gives all requests for one file the same download."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from assay import telemetry
from assay.caching.background import cancel_and_wait
from assay.caching.lru import Lru
from assay.files.download import Download
from assay.files.source_plan import MakePlan
from assay.ports import Blob, BlobStore, ExpectedFile
from assay.simple.model import Sha256

_Key: TypeAlias = tuple[Sha256, int | None]
_PUBLISH_TIMEOUT_SECONDS = 5.0
"""Maximum time in seconds that `close` waits until verified files are stored."""
_REJOIN_SECONDS = 10.0
"""Seconds for which a large download without followers continues although no byte has arrived. pip closes a silent
connection after 15 seconds and repeats the request, which then joins the same download."""
SILENCE_MEMORY_SECONDS = 20.0
"""Seconds for which a failed download is remembered if its index sent no byte in time. Further requests for the file
fail at once. A client that repeats its request therefore gets the reason instead of another wait."""
_MAX_SILENT_DOWNLOADS = 1000


class DownloadRegistry:
    """Registry of the running downloads by digest and size.

    Args:
        blobs: storage for complete files.
        make_plan: returns the plan of a new download, which chooses its sources.
        clock: returns the current time in seconds, monotonic.
        rejoin_seconds: seconds for which a large download without followers continues although no byte has arrived.
        silence_memory_seconds: seconds for which a download of a silent index is returned again instead of a new one.
    """

    def __init__(
        self,
        blobs: BlobStore,
        make_plan: MakePlan,
        *,
        clock: Callable[[], float] = time.monotonic,
        rejoin_seconds: float = _REJOIN_SECONDS,
        silence_memory_seconds: float = SILENCE_MEMORY_SECONDS,
    ) -> None:
        self._blobs = blobs
        self._make_plan = make_plan
        self._running: dict[_Key, tuple[Download, asyncio.Task[None]]] = {}
        self._tasks: dict[asyncio.Task[None], Download] = {}
        """All tasks that have not ended, also of downloads that another one has replaced in `_running`."""
        self._silent = Lru[_Key, Download](
            max_items=_MAX_SILENT_DOWNLOADS, max_age_seconds=silence_memory_seconds, clock=clock
        )
        self._rejoin_seconds = rejoin_seconds

    def join(self, expected: ExpectedFile, stored: Blob | None = None) -> Download:
        """Add a follower to the running download of a file, or to a new one, and return the download.

        If the index was silent, the failed download is returned again for 20 seconds, unless the file is stored.
        The caller must call `leave` when it no longer needs the download.

        Args:
            expected: the file.
            stored: blob of the file, which this process has not verified yet; None if the file is not stored. A new
                download verifies the blob before it asks a source, and closes the blob. If a running download is
                returned instead, its `stored` is not this blob, and the caller must close the blob.
        """
        key = (expected.sha256, expected.size)
        running = self._running[key][0] if key in self._running else None
        if running is None and stored is None:
            running = self._silent.get(key)
        if running is not None and (running.was_silent or not running.is_useless):
            download = running
        else:
            download = Download(expected, self._make_plan(expected), self._blobs, stored)
            task = asyncio.create_task(download.run(), name=f"download {expected.sha256}")
            self._running[key] = (download, task)
            self._tasks[task] = download
            task.add_done_callback(partial(self._end, key, download))
        download.add_follower()
        return download

    def is_running(self, sha256: Sha256) -> bool:
        """Return True if a download with this digest is running, of any size."""
        return any(digest == sha256 for digest, _ in self._running)

    def join_running(self, expected: ExpectedFile) -> Download | None:
        """Add a follower to the running download of a file, and return it; return None if no download is running.

        The caller must call `leave` when it no longer needs the download.
        """
        entry = self._running.get((expected.sha256, expected.size))
        if entry is None or entry[0].is_useless:
            return None
        entry[0].add_follower()
        return entry[0]

    def has_just_stored(self, expected: ExpectedFile) -> bool:
        """Return True if a download of the file is verified and takes no new followers.

        The file is then in the storage, unless storing it failed.
        """
        running = self._running.get((expected.sha256, expected.size))
        return running is not None and running[0].is_verified and running[0].is_useless

    def leave(self, download: Download) -> None:
        """Remove a follower from a download.

        If no follower is left and too much of the file is missing, cancel the download. If no byte has arrived yet, the
        download first waits for another follower (`rejoin_seconds`). Otherwise the download continues, for the other
        followers or for the cache.
        """
        download.remove_follower()
        if download.has_begun:
            self._abandon_if_unused(download)
        else:
            asyncio.get_running_loop().call_later(self._rejoin_seconds, self._abandon_if_unused, download)

    def _abandon_if_unused(self, download: Download) -> None:
        key = (download.expected.sha256, download.expected.size)
        entry = self._running.get(key)
        if download.followers or entry is None or entry[0] is not download or download.is_verified:
            return
        if download.is_mostly_missing:
            telemetry.event("download-abandoned", sha256=download.expected.sha256, left=download.missing_bytes)
            entry[1].cancel()
            self._forget(key, download)

    def _end(self, key: _Key, download: Download, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._forget(key, download)
        if download.was_silent:
            self._silent.put(key, download)

    def _forget(self, key: _Key, download: Download) -> None:
        if key in self._running and self._running[key][0] is download:
            del self._running[key]

    async def close(self) -> None:
        """Cancel all unverified downloads. Wait at most 5 seconds until verified files are stored."""
        tasks = dict(self._tasks)
        for task, download in tasks.items():
            download.stop_waiting_for_followers()
            if not download.is_verified:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_PUBLISH_TIMEOUT_SECONDS)
        await cancel_and_wait(list(tasks))
        for download in tasks.values():
            await download.close_stored()
