"""Blobs that go on where their disk does not: what it refuses to take is finished beside it, and not kept.

Owns the turn from the one to the other, for `begin` and in the middle of a file, and the saying so. Reading what is
there, and everything else, is the disk's own affair.
"""

from __future__ import annotations

from typing import BinaryIO

from assay import telemetry
from assay.errors import StorageError
from assay.ports import Blob, Blobs, Partial
from assay.simple.model import Sha256
from assay.store.temp_blobs import Spares

_PIECE = 2**20


class SturdyPartial:
    """A file on its way in, on the disk while that takes it: `assay.ports.Partial`."""

    def __init__(self, current: Partial, spares: Spares, *, spare: bool) -> None:
        self._current = current
        self._spares = spares
        self._spare = spare
        self.moves = 0

    @property
    def written(self) -> int:
        """Bytes that are in the file and in the hash."""
        return self._current.written

    async def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Write and hash, in order.

        Raises:
            StorageError: neither the disk nor what stands beside it takes it.
        """
        try:
            await self._current.append(*pieces)
        except StorageError as error:
            if self._spare:
                raise
            await self._move(error)
            await self._current.append(*pieces)

    async def _move(self, why: StorageError) -> None:
        """Take what is here to an anonymous file, if it can still be read and is the same there."""
        old, new = self._current, await self._spares.begin()
        try:
            reader = await old.reader()
            try:
                left = old.written
                while left:
                    piece = await self._spares.threads.run(reader.read, min(_PIECE, left))
                    if not piece:
                        raise why
                    left -= len(piece)
                    await new.append(piece)
            except OSError as error:
                raise why from error
            finally:
                reader.close()
            if await new.digest() != await old.digest():
                raise why  # noqa: TRY301 - what follows undoes what was begun, for this reason too
        except BaseException:
            new.abandon()
            raise
        self._current, self._spare = new, True
        self.moves += 1
        _tell(why)
        await old.discard()

    async def digest(self) -> Sha256:
        """SHA-256 of all that was appended."""
        return await self._current.digest()

    async def reader(self) -> BinaryIO:
        """A file object of the caller's own, good until `moves` grows.

        Raises:
            StorageError: it was discarded.
        """
        return await self._current.reader()

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


class SturdyBlobs:
    """`assay.ports.Blobs` over those of a disk."""

    def __init__(self, blobs: Blobs, spares: Spares) -> None:
        self._blobs = blobs
        self._spares = spares

    async def open(self, sha256: Sha256) -> Blob | None:
        """The finished blob; None where there is none, or the storage is closed to us."""
        try:
            return await self._blobs.open(sha256)
        except StorageError as error:
            telemetry.warning("blob-unreadable", sha256=sha256, found=str(error))
            return None

    async def begin(self) -> SturdyPartial:
        """Start a new one.

        Raises:
            StorageError: neither on the disk nor beside it.
        """
        try:
            return SturdyPartial(await self._blobs.begin(), self._spares, spare=False)
        except StorageError as error:
            spare = await self._spares.begin()
            _tell(error)
            return SturdyPartial(spare, self._spares, spare=True)

    async def remove(self, sha256: Sha256) -> None:
        """Forget a blob, if it is there."""
        await self._blobs.remove(sha256)


def _tell(why: StorageError) -> None:
    telemetry.warning("storage-bypassed", error=str(why), meaning="files are served without being kept")
