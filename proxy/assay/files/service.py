"""File service, which gives the gates the bytes of approved files, and METADATA from the wheel or the index.

A gate decides about the files of one view. This module decides where METADATA comes from. As soon as a wheel was read,
it prefers the METADATA in the wheel, because the index could serve a different document. If the index does not give
METADATA that its page promises, the METADATA is read from the verified wheel. If the wheel cannot be read either, the
proxy's pages no longer promise the METADATA.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial

from assay import telemetry
from assay.errors import UpstreamError, UpstreamUnavailableError
from assay.files.cache import Cached, FileCache, FileContent
from assay.files.failed_metadata import FailedMetadata
from assay.files.index_metadata import IndexMetadata
from assay.files.wheel_metadata import ReaderOpener, WheelMetadata, is_wheel
from assay.indexes import IndexSettings
from assay.policy.judge import requires_wheel_metadata
from assay.policy.language.model import Policy
from assay.policy.verdict import Approved
from assay.simple.model import Sha256

EnsureApproved = Callable[[], Awaitable[object]]
"""Function that raises an error if the file is no longer approved."""


class FileService:
    """Source of approved files and their METADATA, shared by the gates of all views.

    Args:
        cache: cache of the files.
        index_metadata: METADATA that indexes serve beside files.
        wheels: METADATA in wheels.
        failed_metadata: memory of METADATA that indexes promise but do not give.
        wheel_timeout: maximum time to get METADATA from a wheel, after the index has failed to give the METADATA.
    """

    def __init__(
        self,
        *,
        cache: FileCache,
        index_metadata: IndexMetadata,
        wheels: WheelMetadata,
        failed_metadata: FailedMetadata,
        wheel_timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self.cache = cache
        self.index_metadata = index_metadata
        self.wheels = wheels
        self.failed_metadata = failed_metadata
        self._wheel_timeout_seconds = wheel_timeout.total_seconds()

    def peek(self, index: IndexSettings, approved: Approved) -> bytes | None:
        """Return the bytes of an approved file if memory has them, else None.

        For a wheel that was not inspected, return None.
        """
        body = self.cache.peek(approved)
        if body is None:
            return None
        return body if self.wheels.has_inspected(index, approved.project, approved.file) else None

    def open(
        self, index: IndexSettings, approved: Approved, ensure_approved: EnsureApproved
    ) -> AbstractAsyncContextManager[FileContent]:
        """Return a context manager that opens the content of an approved file and closes it at its end.

        Args:
            index: the file's index.
            approved: the approval of the file.
            ensure_approved: function that raises an error if the file is no longer approved. It is called when all
                bytes of the file are present. For a wheel, it is called after the inspection of the wheel.
        """
        return self.cache.open(approved, index, partial(self._inspect, index, approved, ensure_approved))

    async def holds(self, sha256: Sha256) -> bool:
        """Return whether `open_held` can have content."""
        return await self.cache.holds(sha256)

    def open_held(
        self, index: IndexSettings, approved: Approved, ensure_approved: EnsureApproved
    ) -> AbstractAsyncContextManager[FileContent | None]:
        """Open the content of an approved file as `open` does, but start no download: the content is then None."""
        return self.cache.open_held(approved, index, partial(self._inspect, index, approved, ensure_approved))

    async def _inspect(
        self, index: IndexSettings, approved: Approved, ensure_approved: EnsureApproved, opener: ReaderOpener
    ) -> None:
        await self.wheels.inspect(index, approved.project, approved.file, opener)
        if await self.wheels.get_own_digest(index, approved.project, approved.file) is not None:
            await self.failed_metadata.forget(index, approved.project, approved.file)
        await ensure_approved()

    def peek_metadata(self, index: IndexSettings, approved: Approved, policy: Policy) -> bytes | None:
        """Return the METADATA of an approved file if it is in memory, else None."""
        file, core = approved.file, approved.file.core_metadata
        is_known, own = self.wheels.peek_own_digest(index, approved.project, file)
        if not is_known or core is None or (own is None and _needs_wheel(approved, policy)):
            return None
        digest = own or core.sha256
        return None if digest is None else self.index_metadata.peek(digest)

    async def get_metadata(
        self, index: IndexSettings, approved: Approved, policy: Policy, ensure_approved: EnsureApproved
    ) -> bytes:
        """Return the METADATA of an approved file.

        If the wheel was inspected, or if the policy requires METADATA from wheels, the METADATA comes from the wheel.
        Otherwise it comes from the index.

        Args:
            index: the file's index.
            approved: the approval of the file.
            policy: the policy, which may require METADATA from the wheel.
            ensure_approved: function that raises an error if the wheel is no longer approved. It is called only if the
                wheel must be read, after the inspection of the wheel.

        Raises:
            FileNotListedError: the page offers no METADATA for the file.
            DigestMismatchError: the index's document does not have the digest on the page, and the wheel cannot be
                read. A security event is logged.
            UpstreamError: the METADATA or the wheel cannot be fetched. If the index answered without
                valid METADATA, and the wheel cannot be read, the proxy's page no longer promises the METADATA.
        """
        file = approved.file
        own = await self.wheels.get_own_digest(index, approved.project, file)
        if file.core_metadata is None or (own is None and not _needs_wheel(approved, policy)):
            return await self._get_from_index(index, approved, ensure_approved)
        if own is not None and (stored := await self.index_metadata.find_stored(own)) is not None:
            return stored
        return await self._read_wheel(index, approved, ensure_approved)

    async def _get_from_index(self, index: IndexSettings, approved: Approved, ensure_approved: EnsureApproved) -> bytes:
        """Return the METADATA from the index. If the index gives no valid METADATA, return that of the wheel.

        If the wheel cannot be read either, record the failure and raise the error of the index.
        """
        try:
            return await self.index_metadata.get_document(approved, index)
        except UpstreamUnavailableError:
            raise
        except UpstreamError as error:
            if is_wheel(approved.file):
                try:
                    async with asyncio.timeout(self._wheel_timeout_seconds):
                        return await self._read_wheel(index, approved, ensure_approved)
                except UpstreamUnavailableError:
                    raise
                except (UpstreamError, TimeoutError):
                    pass
            await self.wheels.reload_facts(index, approved.project)
            await self.failed_metadata.record(index, approved.project, approved.file)
            telemetry.warning(
                "metadata-unavailable",
                index=index.name,
                project=approved.project,
                filename=approved.file.filename,
                error=str(error),
            )
            raise

    async def _read_wheel(self, index: IndexSettings, approved: Approved, ensure_approved: EnsureApproved) -> bytes:
        """Return the METADATA in a wheel. If the wheel is not cached, download it as a whole."""
        async with self.open(index, approved, ensure_approved) as content:
            if isinstance(content, Cached):
                return await self.wheels.read_metadata(approved.file, content.blob.open_reader)
            await content.download.wait_until_verified()
            await content.still_approved()
            return await self.wheels.read_metadata(approved.file, content.download.open_reader)

    async def close(self) -> None:
        """Cancel the running inspections of wheels."""
        await self.wheels.close()


def _needs_wheel(approved: Approved, policy: Policy) -> bool:
    return is_wheel(approved.file) and requires_wheel_metadata(policy, approved.project)
