"""Blobs that go on where their disk does not: what it refuses to take is finished beside it, and not kept.

Owns the turn from the one to the other, for `create_partial` and in the middle of a file, and the saying so. Reading
what is there, and everything else, is the disk's own affair.
"""

from __future__ import annotations

from typing import BinaryIO

from assay import telemetry
from assay.errors import StorageError
from assay.ports import Blob, BlobStore, BlobUsage, BlobVerification, PartialBlob, PruneResult, ReportProgress
from assay.simple.model import Sha256
from assay.store.temp_blobs import TempBlobs

_COPY_CHUNK_BYTES = 2**20


class FallbackPartialBlob:
    """A file on its way in, on the disk while that takes it: `assay.ports.PartialBlob`."""

    def __init__(self, blob: PartialBlob, temp_blobs: TempBlobs, *, is_temporary: bool) -> None:
        self._current = blob
        self._temp_blobs = temp_blobs
        self._is_temporary = is_temporary
        self.move_count = 0

    @property
    def bytes_written(self) -> int:
        """Bytes that are in the file and in the hash."""
        return self._current.bytes_written

    async def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Write and hash, in order.

        Raises:
            StorageError: neither the disk nor what stands beside it takes it.
        """
        try:
            await self._current.append(*pieces)
        except StorageError as error:
            if self._is_temporary:
                raise
            await self._move_to_temp(error)
            await self._current.append(*pieces)

    async def _move_to_temp(self, cause: StorageError) -> None:
        """Take what is here to an anonymous file, if it can still be read and is the same there."""
        old, new = self._current, await self._temp_blobs.create_partial()
        try:
            reader = await old.open_reader()
            try:
                left = old.bytes_written
                while left:
                    piece = await self._temp_blobs.threads.run(reader.read, min(_COPY_CHUNK_BYTES, left))
                    if not piece:
                        raise cause
                    left -= len(piece)
                    await new.append(piece)
            except OSError as error:
                raise cause from error
            finally:
                reader.close()
            if await new.digest() != await old.digest():
                raise cause  # noqa: TRY301 - what follows undoes what was begun, for this reason too
        except BaseException:
            new.discard_sync()
            raise
        self._current, self._is_temporary = new, True
        self.move_count += 1
        _log_bypass(cause)
        await old.discard()

    async def digest(self) -> Sha256:
        """SHA-256 of all that was appended."""
        return await self._current.digest()

    async def open_reader(self) -> BinaryIO:
        """A file object of the caller's own, good until `move_count` grows.

        Raises:
            StorageError: it was discarded.
        """
        return await self._current.open_reader()

    async def commit(self, expected: Sha256) -> None:
        """Publish it.

        Raises:
            DigestMismatchError: it is not `expected`; it has been discarded.
            StorageError: it is not kept.
        """
        await self._current.commit(expected)

    async def discard(self) -> None:
        """Let go of it. Idempotent."""
        await self._current.discard()


class FallbackBlobStore:
    """`assay.ports.BlobStore` over those of a disk."""

    def __init__(self, blobs: BlobStore, temp_blobs: TempBlobs) -> None:
        self._blobs = blobs
        self._temp_blobs = temp_blobs

    async def open(self, sha256: Sha256) -> Blob | None:
        """The finished blob; None where there is none, or the storage is closed to us."""
        try:
            return await self._blobs.open(sha256)
        except StorageError as error:
            telemetry.warning("blob-unreadable", sha256=sha256, found=str(error))
            return None

    async def create_partial(self) -> FallbackPartialBlob:
        """Start a new one.

        Raises:
            StorageError: neither on the disk nor beside it.
        """
        try:
            return FallbackPartialBlob(await self._blobs.create_partial(), self._temp_blobs, is_temporary=False)
        except StorageError as error:
            spare = await self._temp_blobs.create_partial()
            _log_bypass(error)
            return FallbackPartialBlob(spare, self._temp_blobs, is_temporary=True)

    async def remove(self, sha256: Sha256) -> None:
        """Forget a blob, if it is there."""
        await self._blobs.remove(sha256)

    async def stats(self) -> BlobUsage:
        """Return how full the disk's store is."""
        return await self._blobs.stats()

    async def prune(self, max_bytes: int) -> PruneResult:
        """Evict, oldest-used first, down to `max_bytes` bytes."""
        return await self._blobs.prune(max_bytes)

    async def verify(self, progress: ReportProgress | None = None) -> BlobVerification:
        """Read every blob of the disk, and remove the broken."""
        return await self._blobs.verify(progress)


def _log_bypass(cause: StorageError) -> None:
    telemetry.warning("storage-bypassed", error=str(cause), meaning="files are served without being kept")
