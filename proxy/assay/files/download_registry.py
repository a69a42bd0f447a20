"""The running downloads: one for each digest, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from assay import telemetry
from assay.caching.background import cancel_and_wait
from assay.files.download import Download
from assay.ports import BlobStore, ExpectedFile, Source
from assay.simple.model import Sha256

_PUBLISH_TIMEOUT_SECONDS = 5.0
"""Seconds that the publication of verified files may take at the end."""


class DownloadRegistry:
    """The running downloads, by digest and size: many askers, one fetch.

    Args:
        blobs: where finished files go.
        sources: where the bytes come from; each is tried if those before it fail.
    """

    def __init__(self, blobs: BlobStore, sources: Sequence[Source]) -> None:
        self._blobs = blobs
        self._sources = tuple(sources)
        self._running: dict[tuple[Sha256, int | None], tuple[Download, asyncio.Task[None]]] = {}

    def join(self, expected: ExpectedFile) -> Download:
        """Return the running download of this file, or a new one. Balance each call with `leave`."""
        key = (expected.sha256, expected.size)
        if key in self._running and not self._running[key][0].is_useless:
            download = self._running[key][0]
        else:
            download = Download(expected, self._sources, self._blobs)
            task = asyncio.create_task(download.run(), name=f"download {expected.sha256}")
            self._running[key] = (download, task)
            task.add_done_callback(lambda _: self._forget(key, download))
        download.add_follower()
        return download

    def leave(self, download: Download) -> None:
        """A follower is done or gone. The fetch goes on for the others, and for the cache if most of it is here."""
        download.remove_follower()
        entry = self._running.get((download.expected.sha256, download.expected.size))
        if download.followers or entry is None or entry[0] is not download or download.is_verified:
            return
        if download.is_mostly_missing:
            telemetry.event("download-abandoned", sha256=download.expected.sha256, left=download.missing_bytes)
            entry[1].cancel()
            self._forget((download.expected.sha256, download.expected.size), download)

    def _forget(self, key: tuple[Sha256, int | None], download: Download) -> None:
        if key in self._running and self._running[key][0] is download:
            del self._running[key]

    async def close(self) -> None:
        """Stop all; nothing unfinished stays, and what is being published is waited for."""
        entries = list(self._running.values())
        for download, task in entries:
            if not download.is_verified:
                task.cancel()
        tasks = [task for _, task in entries]
        if tasks:
            await asyncio.wait(tasks, timeout=_PUBLISH_TIMEOUT_SECONDS)
        await cancel_and_wait(tasks)
