"""What a gate needs of files: the bytes of an approved file, and its METADATA from the wheel or the index.

Owns where METADATA comes from: the wheel's own wherever it is known, since an index may say anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from assay.files.cache import Cached, FileCache, FileContent, reopen_blob
from assay.files.index_metadata import IndexMetadata
from assay.files.wheel_metadata import ReaderOpener, WheelMetadata, is_wheel
from assay.indexes import IndexSettings
from assay.policy.judge import requires_wheel_metadata
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved

EnsureApproved = Callable[[], Awaitable[object]]
"""Raises where the file is not approved any more."""


class FileService:
    """Approved files and their METADATA, for the gates of all views."""

    def __init__(self, *, cache: FileCache, index_metadata: IndexMetadata, wheels: WheelMetadata) -> None:
        self.cache = cache
        self.index_metadata = index_metadata
        self.wheels = wheels

    def peek(self, index: IndexSettings, approved: Approved) -> bytes | None:
        """Return the whole file if it is in memory and, where it is a wheel, has been inspected."""
        body = self.cache.peek(approved)
        if body is None:
            return None
        return body if self.wheels.has_inspected(index, approved.project, approved.file) else None

    @asynccontextmanager
    async def open(
        self, index: IndexSettings, approved: Approved, ensure_approved: EnsureApproved
    ) -> AsyncIterator[FileContent]:
        """Open the bytes of an approved file until the context ends.

        `ensure_approved` is called when all of the file is here and, where it is a wheel, has been inspected.
        """

        async def inspect(opener: ReaderOpener) -> None:
            await self.wheels.inspect(index, approved.project, approved.file, opener)
            await ensure_approved()

        async with self.cache.open(approved, index, inspect) as content:
            yield content

    def peek_metadata(self, index: IndexSettings, approved: Approved, policy: Policy) -> bytes | None:
        """Return what `get_metadata` returns if it is in memory; else None."""
        file, core = approved.file, approved.file.core_metadata
        is_known, own = self.wheels.peek_own_digest(index, approved.project, file)
        if not is_known or core is None or (own is None and _needs_wheel(approved, policy)):
            return None
        digest = own or core.sha256
        return None if digest is None else self.index_metadata.peek(digest)

    async def get_metadata(
        self, index: IndexSettings, approved: Approved, policy: Policy, ensure_approved: EnsureApproved
    ) -> bytes:
        """Return the METADATA beside an approved file, with the digest that its page gives.

        Args:
            index: the file's.
            approved: the file.
            policy: may say that an index's word is not enough, and METADATA is read from the wheel.
            ensure_approved: called when the whole file is here, if it is needed.

        Raises:
            FileNotListedError: the page offers none.
            DigestMismatchError: the index's bytes are not those of its page: a security event.
            UpstreamError: it cannot be had.
        """
        file = approved.file
        own = await self.wheels.get_own_digest(index, approved.project, file)
        if file.core_metadata is None or (own is None and not _needs_wheel(approved, policy)):
            return await self.index_metadata.get_document(approved, index)
        if own is not None and (stored := await self.index_metadata.find_stored(own)) is not None:
            return stored
        return await self._read_wheel(index, approved, ensure_approved)

    async def _read_wheel(self, index: IndexSettings, approved: Approved, ensure_approved: EnsureApproved) -> bytes:
        """Return the METADATA in the wheel, which is fetched whole if it is not here."""
        async with self.open(index, approved, ensure_approved) as content:
            if isinstance(content, Cached):
                return await self.wheels.read_metadata(approved.file, partial(reopen_blob, content.blob))
            await content.download.wait_until_verified()
            await content.still_approved()
            return await self.wheels.read_metadata(approved.file, content.download.open_reader)

    async def close(self) -> None:
        """End the inspections that are running."""
        await self.wheels.close()


def _needs_wheel(approved: Approved, policy: Policy) -> bool:
    return is_wheel(approved.file) and requires_wheel_metadata(policy, approved.project)
