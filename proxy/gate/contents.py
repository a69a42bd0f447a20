"""The bytes of an approved file: a finished blob, or a download that is under way.

Owns the way from an `Approved` to its bytes. A bare `File` cannot be asked for: the type is the pass.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import BinaryIO, TypeAlias

from proxy.download import Download, Downloads, Wanted
from proxy.gate.wheels import Opener
from proxy.indexes import IndexSettings
from proxy.policy.verdict import Approved
from proxy.ports import Blob, Blobs
from proxy.simple.model import Sha256
from proxy.upstream import Contents, Upstream


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


class FileContents:
    """Blobs, and downloads for those that are not here yet."""

    def __init__(self, *, blobs: Blobs, downloads: Downloads, upstream: Upstream) -> None:
        self._blobs = blobs
        self._downloads = downloads
        self._upstream = upstream

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

    @asynccontextmanager
    async def _opened(self, index: IndexSettings, url: str, start: int) -> AsyncIterator[Contents]:
        async with self._upstream.contents(index, url, start=start) as contents:
            yield contents


async def another_reader(blob: Blob) -> BinaryIO:
    """A file object of the caller's own over a blob that is open; it may outlast the blob's."""
    return FileIO(os.dup(blob.file.fileno()), "rb")


def digest_of(approved: Approved) -> Sha256:
    """An approved file's digest: policy approves none without (`no-sha256` is always on)."""
    if approved.file.sha256 is None:
        raise RuntimeError(f"{approved.file.filename} was approved without a digest")
    return approved.file.sha256
