"""Blob store that works without the disk: if the disk does not accept a new blob, a temporary file holds the blob.

The disk may fail before the blob is written or in the middle. In both cases this module continues with a temporary file
and logs the switch. A blob in a temporary file is not kept for later requests. All other operations use only the blob
store on the disk.
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
    """Blob that is being written. It is on disk as long as the disk accepts it (`assay.ports.PartialBlob`)."""

    def __init__(self, blob: PartialBlob, temp_blobs: TempBlobs, *, is_temporary: bool) -> None:
        self._current = blob
        self._temp_blobs = temp_blobs
        self._is_temporary = is_temporary
        self.move_count = 0

    @property
    def bytes_written(self) -> int:
        """Number of bytes that have been written and hashed."""
        return self._current.bytes_written

    async def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Write and hash `pieces` in order.

        Raises:
            StorageError: writing failed both on disk and in a temporary file.
        """
        try:
            await self._current.append(*pieces)
        except StorageError as error:
            if self._is_temporary:
                raise
            await self._move_to_temp(error)
            await self._current.append(*pieces)

    async def _move_to_temp(self, cause: StorageError) -> None:
        """Copy the bytes written so far to a temporary blob, and check that the copy has the same digest."""
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
                raise cause  # noqa: TRY301 - the handler below undoes the move for this error too
        except BaseException:
            new.discard_sync()
            raise
        self._current, self._is_temporary = new, True
        self.move_count += 1
        _log_bypass(cause)
        await old.discard()

    async def digest(self) -> Sha256:
        """Return the SHA-256 of all appended bytes."""
        return await self._current.digest()

    async def open_reader(self) -> BinaryIO:
        """Open a separate reader; the caller must close it.

        If the blob moves to a temporary file, `move_count` changes, and the reader gets no further bytes. The caller
        must then open a new reader.

        Raises:
            StorageError: the blob was discarded.
        """
        return await self._current.open_reader()

    async def commit(self, expected: Sha256) -> None:
        """Publish the blob under its digest.

        Raises:
            DigestMismatchError: the digest is not `expected`; the blob is discarded.
            StorageError: the disk did not accept the blob, so it is not kept.
        """
        await self._current.commit(expected)

    async def discard(self) -> None:
        """Discard the blob. Idempotent."""
        await self._current.discard()


class FallbackBlobStore:
    """Blob store of a disk, which uses temporary files if the disk fails (`assay.ports.BlobStore`)."""

    def __init__(self, blobs: BlobStore, temp_blobs: TempBlobs) -> None:
        self._blobs = blobs
        self._temp_blobs = temp_blobs

    async def open(self, sha256: Sha256) -> Blob | None:
        """Open a blob; return None if it does not exist or cannot be read."""
        try:
            return await self._blobs.open(sha256)
        except StorageError as error:
            telemetry.warning("blob-unreadable", sha256=sha256, found=str(error))
            return None

    async def open_unused(self, sha256: Sha256) -> Blob | None:
        """Open a blob on the disk without marking it as used; return None if it does not exist."""
        return await self._blobs.open_unused(sha256)

    async def create_partial(self) -> FallbackPartialBlob:
        """Begin a new blob.

        Raises:
            StorageError: no file can be created, neither on the disk nor elsewhere.
        """
        try:
            return FallbackPartialBlob(await self._blobs.create_partial(), self._temp_blobs, is_temporary=False)
        except StorageError as error:
            spare = await self._temp_blobs.create_partial()
            _log_bypass(error)
            return FallbackPartialBlob(spare, self._temp_blobs, is_temporary=True)

    async def remove(self, sha256: Sha256) -> None:
        """Remove a blob, if it exists."""
        await self._blobs.remove(sha256)

    def spare_unkept(self) -> None:
        """From now on, evict a blob that is not marked as kept only if all others have been evicted."""
        self._blobs.spare_unkept()

    async def mark_kept(self, sha256: Sha256) -> None:
        """Remember that the blob on the disk is in object storage too."""
        await self._blobs.mark_kept(sha256)

    async def list_unkept(self) -> list[Sha256]:
        """Return the digests of the blobs on the disk that are not marked as kept."""
        return await self._blobs.list_unkept()

    async def stats(self) -> BlobUsage:
        """Return the usage of the blob store on the disk."""
        return await self._blobs.stats()

    async def prune(self, max_bytes: int) -> PruneResult:
        """Evict the least recently used blobs until at most `max_bytes` bytes are left."""
        return await self._blobs.prune(max_bytes)

    async def verify(self, progress: ReportProgress | None = None) -> BlobVerification:
        """Read every blob on disk and remove corrupt ones."""
        return await self._blobs.verify(progress)


def _log_bypass(cause: StorageError) -> None:
    telemetry.warning("storage-bypassed", error=str(cause), meaning="files are served but not stored")
