"""The bytes of an approved file: held in memory, a finished blob, or a download that is under way.

Owns the way from an `Approved` to its bytes. A bare `File` cannot be asked for: the type is the pass. Small files that
are asked for again and again are held in memory, up to a limit, so that they cost no thread and no file; what is held
was read whole and has its digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import BinaryIO, TypeAlias

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import StorageError
from assay.files.download import Download
from assay.files.download_registry import DownloadRegistry
from assay.files.index_metadata import MEMORY_MAX_AGE_SECONDS
from assay.files.wheel_metadata import ReaderOpener
from assay.indexes import IndexSettings
from assay.policy.verdict import Approved
from assay.ports import Blob, BlobStore, ExpectedFile
from assay.simple.model import Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """A finished, verified file."""

    blob: Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class InProgress:
    """A file on its way in; `still_approved` is to be asked before its tail is sent."""

    download: Download
    still_approved: Callable[[], Awaitable[None]]


FileContent: TypeAlias = Cached | InProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCacheSettings:
    """What is held in memory."""

    max_bytes: int = 16 * 2**20
    """Bytes of all files."""
    max_file_bytes: int = 128 * 2**10
    """Bytes of one file."""
    max_noticed_files: int = 2048
    """Files remembered as asked for once: a file is held from the second time on, so that a mirror run holds none."""


class FileCache:
    """Blobs, and downloads for those that are not here yet."""

    def __init__(
        self, *, blobs: BlobStore, downloads: DownloadRegistry, settings: FileCacheSettings | None = None
    ) -> None:
        settings = settings or FileCacheSettings()
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
        """The whole file, if it is in memory."""
        return self._memory_cache.get(approved.sha256)

    @asynccontextmanager
    async def open(
        self, approved: Approved, index: IndexSettings, still_approved: Callable[[ReaderOpener], Awaitable[None]]
    ) -> AsyncIterator[FileContent]:
        """Hold on to the bytes of an approved file; leaving the context lets go of them.

        `still_approved` is asked, with a way to read the whole file, when all of it is here.
        """
        digest = approved.sha256
        blob = await self._blobs.open(digest)
        if blob is not None:
            try:
                await still_approved(partial(reopen_blob, blob))
                await self._cache_if_repeated(blob)
                yield Cached(blob=blob)
            finally:
                await blob.close()
            return
        file = approved.file
        download = self._downloads.join(ExpectedFile(index=index, url=file.url, sha256=digest, size=file.size))
        try:
            yield InProgress(download=download, still_approved=partial(still_approved, download.open_reader))
        finally:
            self._downloads.leave(download)

    async def _cache_if_repeated(self, blob: Blob) -> None:
        """Hold a small file that is asked for once more."""
        digest = blob.sha256
        if not self._memory_cache.fits(blob.size) or digest in self._memory_cache:
            return
        if digest not in self._requested_once:
            self._requested_once.put(digest, True)  # noqa: FBT003 - a value, and the only one
            return
        body = await asyncio.to_thread(_read_verified, blob)
        if body is None:
            telemetry.security("blob-broken", sha256=digest, found="other bytes")
            await self._blobs.remove(digest)
            raise StorageError(f"the stored bytes of {digest} are broken; they are fetched again when asked for again")
        self._memory_cache.put(digest, body)


def _read_verified(blob: Blob) -> bytes | None:
    """A stored file's bytes; None where they are not those of its digest."""
    body = os.pread(blob.file.fileno(), blob.size, 0)
    return body if hashlib.sha256(body).hexdigest() == blob.sha256 else None


async def reopen_blob(blob: Blob) -> BinaryIO:
    """A file object of the caller's own over a blob that is open; it may outlast the blob's."""
    return FileIO(os.dup(blob.file.fileno()), "rb")
