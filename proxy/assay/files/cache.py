"""Cache of the bytes of approved files: in memory, in storage (blobs), or in a running download.

A blob is a file in storage. A disk can change bytes, so this process hashes each blob once before it trusts the blob.
For the first request, the blob is therefore sent as a download whose bytes are already there (`files.download`). Later
requests get the blob itself. The functions take an `Approved` instead of a `File`, so that the type checker prevents
access to a file that is not approved.

Small files that are requested repeatedly are also cached in memory, up to a limit. A response from memory needs no
thread and no open file. The SHA-256 of a file is checked before the file enters memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from assay.caching.lru import Lru
from assay.files.download import Download
from assay.files.download_registry import DownloadRegistry
from assay.files.index_metadata import MEMORY_MAX_AGE_SECONDS
from assay.files.wheel_metadata import ReaderOpener
from assay.indexes import IndexSettings
from assay.policy.verdict import Approved
from assay.ports import Blob, BlobStore, ExpectedFile
from assay.simple.model import Sha256
from assay.telemetry.metrics import SOURCES

_FROM_TIER = SOURCES.labels("tier")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """Content of a complete, verified file in storage."""

    blob: Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class InProgress:
    """Content of a file that is being downloaded, or of a stored file that is hashed for the first time.

    The sender must await `still_approved` before it sends the last bytes. The function raises an error if the file is
    no longer approved.
    """

    download: Download
    still_approved: Callable[[], Awaitable[None]]


FileContent: TypeAlias = Cached | InProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCacheSettings:
    """Limits of the memory cache of file bytes."""

    max_bytes: int = 16 * 2**20
    """Maximum size of all files in memory together, in bytes."""
    max_file_bytes: int = 128 * 2**10
    """Maximum size of one file in memory, in bytes."""
    max_noticed_files: int = 2048
    """Maximum number of files whose first request is remembered. A file enters memory only at its second request. A
    client that mirrors the index, and requests each file once, therefore does not fill the memory."""


class FileCache:
    """Cache of approved files. It downloads files that it does not have.

    Args:
        blobs: storage of complete files.
        downloads: the running downloads.
        settings: limits of the memory cache; None: the defaults.
        note_use: called with the digest of each file that is opened; None: uses are not noted.
    """

    def __init__(
        self,
        *,
        blobs: BlobStore,
        downloads: DownloadRegistry,
        settings: FileCacheSettings | None = None,
        note_use: Callable[[Sha256], None] | None = None,
    ) -> None:
        settings = settings or FileCacheSettings()
        self._note_use = note_use
        self._blobs = blobs
        self._downloads = downloads
        self._memory_cache = Lru[Sha256, bytes](
            max_weight=settings.max_bytes,
            max_item_weight=settings.max_file_bytes,
            weigh=len,
            max_age_seconds=MEMORY_MAX_AGE_SECONDS,
        )
        self._requested_once = Lru[Sha256, bool](max_items=settings.max_noticed_files)

    def peek(self, approved: Approved) -> bytes | None:
        """Return the bytes of the file if they are in memory, else None."""
        return self._memory_cache.get(approved.sha256)

    @asynccontextmanager
    async def open(
        self, approved: Approved, index: IndexSettings, still_approved: Callable[[ReaderOpener], Awaitable[None]]
    ) -> AsyncIterator[FileContent]:
        """Open the content of an approved file until the context ends.

        The content is the stored file. If the file is not stored, or this process has not hashed its bytes yet, start
        its download, or join the running one.

        Args:
            approved: the approval of the file.
            index: the file's index.
            still_approved: function that raises an error if the file is no longer approved. It is called when all bytes
                of the file are present. Its argument is a function that opens the file.

        Raises:
            StorageError: the storage fails.
        """
        digest, file = approved.sha256, approved.file
        if self._note_use is not None:
            self._note_use(digest)
        expected = ExpectedFile(index=index, url=file.url, sha256=digest, size=file.size)
        blob = await self._blobs.open(digest)
        if blob is None and self._downloads.has_just_stored(expected):
            blob = await self._blobs.open(digest)  # it was stored while the first call looked for it
        if blob is not None and blob.is_verified:
            try:
                await still_approved(blob.open_reader)
                if await self._cache_if_repeated(blob):
                    _FROM_TIER.inc()
                    yield Cached(blob=blob)
                    return
            finally:
                await blob.close()
            blob = None
        download = self._downloads.join(expected, blob)
        try:
            if blob is not None and download.stored is not blob:
                await blob.close()
            yield InProgress(download=download, still_approved=partial(still_approved, download.open_reader))
        finally:
            self._downloads.leave(download)

    async def holds(self, sha256: Sha256) -> bool:
        """Return whether `open_held` can have content: a download is running, or the bytes are stored and verified."""
        if self._downloads.is_running(sha256):
            return True
        blob = await self._blobs.open(sha256)
        if blob is None:
            return False
        await blob.close()
        return blob.is_verified

    @asynccontextmanager
    async def open_held(
        self, approved: Approved, index: IndexSettings, still_approved: Callable[[ReaderOpener], Awaitable[None]]
    ) -> AsyncIterator[FileContent | None]:
        """Open the content of an approved file if that starts no download. The arguments are those of `open`.

        Yields:
            The running download or the stored file. None if no download is running and the file is not stored, or this
            process has not hashed the stored bytes yet.

        Raises:
            StorageError: the storage fails.
        """
        digest, file = approved.sha256, approved.file
        download = self._downloads.join_running(ExpectedFile(index=index, url=file.url, sha256=digest, size=file.size))
        if download is not None:
            try:
                yield InProgress(download=download, still_approved=partial(still_approved, download.open_reader))
            finally:
                self._downloads.leave(download)
            return
        blob = await self._blobs.open(digest)
        if blob is None:
            yield None
            return
        try:
            if blob.is_verified:
                await still_approved(blob.open_reader)
                yield Cached(blob=blob)
            else:
                yield None
        finally:
            await blob.close()

    async def _cache_if_repeated(self, blob: Blob) -> bool:
        """Put a small file into memory at its second request; return whether the blob may be sent.

        Returns:
            False if the bytes of the blob are wrong. In this case, the blob has been removed, and a security event has
            been logged. Otherwise True.
        """
        digest = blob.sha256
        if not self._memory_cache.fits(blob.size) or digest in self._memory_cache:
            return True
        if digest not in self._requested_once:
            self._requested_once.put(digest, True)  # noqa: FBT003 - a cached value, not a flag
            return True
        body = await asyncio.to_thread(_read_verified, blob)
        if body is None:
            return await blob.verify()
        self._memory_cache.put(digest, body)
        return True


def _read_verified(blob: Blob) -> bytes | None:
    """Return the bytes of a blob; None if the bytes do not match the digest of the blob, or cannot be read."""
    try:
        body = os.pread(blob.file.fileno(), blob.size, 0)
    except OSError:
        return None
    return body if hashlib.sha256(body).hexdigest() == blob.sha256 else None
