"""The bytes of an approved file: held in memory, a finished blob, or a download that is under way.

Owns the way from an `Approved` to its bytes. A bare `File` cannot be asked for: the type is the pass. Small files that
are asked for again and again are held in memory, up to a limit, so that they cost no thread and no file; what is held
was read whole and has its digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import BinaryIO, TypeAlias

from assay import telemetry
from assay.caching.lru import Held
from assay.errors import StorageError
from assay.files.download import Download, Wanted
from assay.files.download_registry import Downloads
from assay.files.wheel_metadata import Opener
from assay.indexes import IndexSettings
from assay.policy.verdict import Approved
from assay.ports import Blob, Blobs
from assay.simple.model import NormalizedName, Sha256
from assay.upstream.bulk_receiver import Contents
from assay.upstream.client import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A finished, verified file."""

    blob: Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Arriving:
    """A file on its way in; `still_approved` is to be asked before its tail is sent."""

    download: Download
    still_approved: Callable[[], Awaitable[None]]


Content: TypeAlias = Stored | Arriving

_HELD = 16 * 2**20
"""Bytes of all files in memory."""
_LARGEST_HELD = 128 * 2**10
_MOST_NOTICED = 2048
"""Files remembered as asked for once: a file is held from the second time on, so that a mirror run holds none."""


class FileContents:
    """Blobs, and downloads for those that are not here yet."""

    def __init__(self, *, blobs: Blobs, downloads: Downloads, upstream: Upstream) -> None:
        self._blobs = blobs
        self._downloads = downloads
        self._upstream = upstream
        self._held = Held(_HELD, _LARGEST_HELD)
        self._noticed: OrderedDict[Sha256, None] = OrderedDict()

    def held(self, approved: Approved) -> bytes | None:
        """The whole file, if it is in memory."""
        return self._held.get(digest_of(approved))

    @asynccontextmanager
    async def of(
        self, approved: Approved, index: IndexSettings, still_approved: Callable[[Opener], Awaitable[None]]
    ) -> AsyncIterator[Content]:
        """Hold on to the bytes of an approved file; leaving the context lets go of them.

        `still_approved` is asked, with a way to read the whole file, when all of it is here.
        """
        digest = digest_of(approved)
        blob = await self._blobs.open(digest)
        if blob is not None:
            try:
                await still_approved(partial(another_reader, blob))
                await self._notice(blob)
                yield Stored(blob=blob)
            finally:
                await blob.close()
            return
        wanted = Wanted(sha256=digest, size=approved.file.size, limit=index.limits.file)
        download = self._downloads.join(wanted, lambda start: self._opened(index, approved.file.url, start))
        try:
            yield Arriving(download=download, still_approved=partial(still_approved, download.reader))
        finally:
            self._downloads.leave(download)

    async def _notice(self, blob: Blob) -> None:
        """Hold a small file that is asked for once more."""
        digest = blob.sha256
        if not self._held.fits(blob.size) or digest in self._held:
            return
        if digest not in self._noticed:
            self._noticed[digest] = None
            if len(self._noticed) > _MOST_NOTICED:
                self._noticed.popitem(last=False)
            return
        body = await asyncio.to_thread(_read_whole, blob)
        if body is None:
            telemetry.security("blob-broken", sha256=digest, found="other bytes")
            await self._blobs.remove(digest)
            raise StorageError(f"the stored bytes of {digest} are broken; they are fetched again when asked for again")
        self._held.put(digest, body)

    @asynccontextmanager
    async def _opened(self, index: IndexSettings, url: str, start: int) -> AsyncIterator[Contents[bytes | memoryview]]:
        async with self._upstream.contents(index, url, start=start) as contents:
            yield contents


def _read_whole(blob: Blob) -> bytes | None:
    """A stored file's bytes; None where they are not those of its digest."""
    body = os.pread(blob.file.fileno(), blob.size, 0)
    return body if hashlib.sha256(body).hexdigest() == blob.sha256 else None


async def another_reader(blob: Blob) -> BinaryIO:
    """A file object of the caller's own over a blob that is open; it may outlast the blob's."""
    return FileIO(os.dup(blob.file.fileno()), "rb")


def digest_of(approved: Approved) -> Sha256:
    """An approved file's digest: policy approves none without (`no-sha256` is always on)."""
    if approved.file.sha256 is None:
        raise RuntimeError(f"{approved.file.filename} was approved without a digest")
    return approved.file.sha256


def project_of(approved: Approved) -> NormalizedName:
    """An approved file's project: policy approves none whose name cannot be parsed."""
    if approved.file.distribution is None:
        raise RuntimeError(f"{approved.file.filename} was approved although it does not parse")
    return approved.file.distribution.project
