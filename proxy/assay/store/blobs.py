"""Blob store on a file system: files by SHA-256 (`assay.ports.BlobStore`).

A file is written to a temporary file and hashed. It is then synced, and renamed to a path that contains its digest. A
file at such a path is therefore complete and has that digest, even after a crash. A blob is published only under the
digest that this module has computed.

A disk can change bytes later. Each process therefore hashes a blob once more, at its first use (`DiskBlob.verify`).
Afterwards `BlobDirectory` recognizes the file, and one sendfile can serve it. If the bytes are wrong, this is a
security event, and the blob is removed. The next request downloads it again. All blobs are hashed on request by
`DiskBlobStore.verify`, and in the background by `blob_scrub`.

aiofiles is not used here, because it switches to a thread for each call. Writing and hashing a chunk would be two
switches, and a cancelled caller could close a file to which a thread still writes. Here a chunk is one switch, under
the lock of the file. `write` and `sha256.update` both release the GIL.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from hashlib import sha256 as new_sha256
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from assay import telemetry
from assay.errors import DigestMismatchError, StorageError
from assay.ports import BlobUsage, BlobVerification, PruneResult, ReportProgress
from assay.simple.model import Sha256
from assay.store.blob_directory import (
    BlobDirectory,
    FileIdentity,
    OpenedFile,
    reopen,
    report_corrupt,
    to_storage_error,
    write_all,
)
from assay.store.threads import ThreadPool

_PIECE_BYTES = 4 * 2**20
"""Bytes that are hashed in one thread call. Between two calls, other blobs get their turn and the caller can be
cancelled."""
_BUFFER_BYTES = 256 * 2**10
"""Bytes of one read, which stay in the processor's cache until they are hashed."""


class DiskBlob:
    """Open blob of the file system (`assay.ports.Blob`)."""

    def __init__(self, blobs: DiskBlobStore, sha256: Sha256, opened: OpenedFile) -> None:
        self.sha256 = sha256
        self.size = opened.identity.size
        self.file: BinaryIO = opened.file
        self.is_verified = opened.is_verified
        self._identity = opened.identity
        self._blobs = blobs

    async def open_reader(self) -> BinaryIO:
        """Open a separate reader of the same bytes; the caller must close it.

        Raises:
            StorageError: the file cannot be opened.
        """
        return await self._blobs.read_threads.acquire(self._open_reader, FileIO.close)

    def _open_reader(self) -> FileIO:
        try:
            return reopen(self.file.fileno())
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot read {self.sha256}: {error}") from error

    async def verify(self, on_hashed: Callable[[int], None] | None = None) -> bool:
        """Hash the bytes and return whether they have the blob's digest; if not, remove the blob.

        Args:
            on_hashed: called in the event loop after each piece, with the number of bytes hashed so far.

        Raises:
            StorageError: the store is closed.
        """

        async def report(hashed_bytes: int) -> None:
            if on_hashed is not None:
                on_hashed(hashed_bytes)

        return await self.verify_paced(report)

    async def verify_paced(self, after_piece: Callable[[int], Awaitable[None]]) -> bool:
        """Do the same as `verify`. After each piece, await `after_piece` with the number of bytes hashed so far.

        Raises:
            StorageError: the store is closed.
        """
        found = await self._compute_digest(after_piece)
        if found == self.sha256:
            self._mark_verified()
            return True
        report_corrupt(self.sha256, found=found)
        await self._blobs.write_threads.run(self._blobs.directory.remove_corrupt, self.sha256, self._identity)
        return False

    async def _compute_digest(self, after_piece: Callable[[int], Awaitable[None]]) -> str:
        """Return the SHA-256 of the stored bytes in hexadecimal.

        If the bytes are unreadable or too few, return a description of the fault instead.
        """
        hashed, position, buffer = new_sha256(), 0, memoryview(bytearray(_BUFFER_BYTES))
        while position < self.size:
            count = min(_PIECE_BYTES, self.size - position)
            try:
                read = await self._blobs.verify_threads.run(self._hash_piece, hashed.update, buffer, position, count)
            except OSError as error:
                return f"unreadable: {error.strerror or type(error).__name__}"
            position += read
            if read < count:
                return f"{position} bytes, expected {self.size}"
            await after_piece(position)
        return hashed.hexdigest()

    def _hash_piece(self, update: Callable[[memoryview], None], buffer: memoryview, start: int, count: int) -> int:
        """Hash `count` bytes from offset `start`; return the number of bytes, which is smaller at the end of file."""
        position, end = start, start + count
        while position < end and (read := os.preadv(self.file.fileno(), [buffer[: end - position]], position)):
            update(buffer[:read])
            position += read
        return position - start

    def _mark_verified(self) -> None:
        # If the file was written to while it was hashed, the digest is not that of the present bytes.
        if FileIdentity.read(self.file.fileno()) == self._identity:
            self._blobs.directory.mark_verified(self.sha256, self._identity)
            self.is_verified = True

    async def close(self) -> None:
        """Close the file. Idempotent."""
        # Closing a file that was only read does not block, so no thread is needed and nothing can be cancelled.
        self.close_sync()

    def close_sync(self) -> None:
        """Close the file. Any thread may call this."""
        if not self.file.closed:
            self.file.close()
            self._blobs.directory.close(self.sha256)


class DiskPartialBlob:
    """Blob that is being written to a temporary file (`assay.ports.PartialBlob`)."""

    move_count = 0

    def __init__(self, blobs: DiskBlobStore, path: Path, descriptor: int) -> None:
        self._blobs = blobs
        self._path: Path | None = path
        self._descriptor: int | None = descriptor
        self._ready_readers: deque[FileIO] = deque()
        """At most one reader, for the first call of `open_reader`. It is opened together with the file."""
        self._closer = weakref.finalize(self, _close_all, descriptor, self._ready_readers)
        self._lock = threading.Lock()
        self._closing_lock = threading.Lock()
        self._hash = new_sha256()
        self._written = 0
        self._reserved = 0
        self._is_torn = False

    @property
    def bytes_written(self) -> int:
        """Number of bytes that have been written and hashed."""
        return self._written

    async def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Write and hash `pieces` in order. The caller must not change them until this method returns.

        Raises:
            StorageError: writing failed, or the size limit is reached. Afterwards only `discard` is possible.
        """
        await self._blobs.write_threads.run(self._append, [memoryview(piece).cast("B") for piece in pieces])

    def _append(self, pieces: list[memoryview]) -> None:
        size = sum(map(len, pieces))
        with self._lock:
            if self._path is None or self._descriptor is None or self._is_torn:
                raise StorageError("this file is closed for writing")
            self._is_torn = True  # until the whole piece is written and hashed
            self._blobs.directory.reserve_bytes(size)
            self._reserved += size
            try:
                write_all(self._descriptor, pieces)
            except OSError as error:
                raise to_storage_error(f"write {self._path}", error) from error
            for piece in pieces:
                self._hash.update(piece)
            self._written += size
            self._is_torn = False

    async def digest(self) -> Sha256:
        """Return the SHA-256 of all appended bytes."""
        return Sha256(self._hash.hexdigest())

    async def open_reader(self) -> BinaryIO:
        """Open a separate reader of the same bytes; the caller must close it.

        Raises:
            StorageError: the blob was discarded.
        """
        try:
            return self._ready_readers.pop()
        except IndexError:
            return await self._blobs.read_threads.acquire(self._open_reader, FileIO.close)

    def prepare_reader(self) -> None:
        """Open a reader in advance, so that the first call of `open_reader` need not switch to a thread.

        Raises:
            StorageError: the file cannot be opened for reading.
        """
        self._ready_readers.append(self._open_reader())

    def _open_reader(self) -> FileIO:
        # By the descriptor: after the blob is published, another file may have replaced the one at its path.
        with self._closing_lock:
            if self._descriptor is None:
                raise StorageError("this file was discarded")
            try:
                return reopen(self._descriptor)
            except OSError as error:
                raise to_storage_error("read a file that is being downloaded", error) from error

    async def commit(self, expected: Sha256) -> None:
        """Publish the blob durably under its digest. Its readers can be opened until `discard`.

        Raises:
            DigestMismatchError: the digest is not `expected`; the blob is discarded.
            StorageError: writing failed; the blob is discarded.
        """
        await self._blobs.publish_threads.run(self._commit, expected)

    def _commit(self, expected: Sha256) -> None:
        with self._lock:
            descriptor, path = self._descriptor, self._path
            if descriptor is None or path is None:
                raise StorageError("this file was published or discarded before")
            try:
                self._publish(expected, descriptor, path)
            except BaseException:
                self._remove()
                raise

    def _publish(self, expected: Sha256, descriptor: int, path: Path) -> None:
        if self._is_torn:
            raise StorageError("the disk did not accept all bytes of the file")
        found = Sha256(self._hash.hexdigest())
        if found != expected:
            raise DigestMismatchError(f"expected SHA-256 {expected}, found {found} in {self._written} bytes")
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise to_storage_error(f"sync {path}", error) from error
        self._blobs.directory.publish(path, found, self._written)
        self._path = None
        self._reserved = 0
        self._blobs.unfinished.discard(self)

    async def discard(self) -> None:
        """Close the file, and remove it unless it was published. Idempotent."""
        if self._descriptor is not None:
            await self._blobs.write_threads.run(self.discard_sync)

    def discard_sync(self) -> None:
        """Do the same as `discard`. Any thread may call this."""
        with self._lock:
            self._remove()

    def _remove(self) -> None:
        path, self._path = self._path, None
        self._close()
        if path is not None:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # removed at the next start
                telemetry.warning("partial-blob-removal-failed", path=path, found=error.strerror)
        self._blobs.directory.release_bytes(self._reserved)
        self._reserved = 0

    def _close(self) -> None:
        with self._closing_lock:
            self._descriptor = None
            self._closer()
        self._blobs.unfinished.discard(self)


class DiskBlobStore:
    """Blob store of one directory.

    Attributes:
        directory: names, sizes and order of use of the blobs.
        read_threads, write_threads, publish_threads, verify_threads: separate thread pools, so that neither a slow
            fsync nor the hashing of large blobs delays a reader.
        unfinished: blobs that are being written.
    """

    def __init__(self, directory: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self.directory = BlobDirectory(directory, max_bytes, clock)
        self.read_threads = ThreadPool("blobs-reading", 4)
        self.write_threads = ThreadPool("blobs-writing", 2)
        self.publish_threads = ThreadPool("blobs-publishing", 2)
        self.verify_threads = ThreadPool("blobs-verifying", 2)
        self.unfinished: set[DiskPartialBlob] = set()

    async def scan(self) -> None:
        """Remove unfinished blobs, and build the index of finished ones. Call this once, before any other method.

        Raises:
            StorageError: the directory is unusable.
        """
        await self.publish_threads.run(self.directory.scan)

    async def open(self, sha256: Sha256) -> DiskBlob | None:
        """Open a blob and mark it as used; return None if it does not exist.

        A corrupt blob is removed and counts as missing.

        Raises:
            StorageError: the store is closed.
        """
        self.read_threads.require_open()
        if self.directory.is_surely_absent(sha256):
            return None  # without a switch to a thread, which would delay the download of the file
        return await self.read_threads.acquire(lambda: self._open(sha256), _close_blob)

    async def open_unused(self, sha256: Sha256) -> DiskBlob | None:
        """Open a blob without marking it as used; return None if it does not exist."""
        return await self.read_threads.acquire(lambda: self._open(sha256, is_use=False), _close_blob)

    def _open(self, sha256: Sha256, *, is_use: bool = True) -> DiskBlob | None:
        opened = self.directory.open(sha256, is_use=is_use)
        return None if opened is None else DiskBlob(self, sha256, opened)

    async def create_partial(self) -> DiskPartialBlob:
        """Begin a new blob.

        Raises:
            StorageError: no temporary file can be created.
        """
        return await self.write_threads.acquire(self._create_partial, DiskPartialBlob.discard_sync)

    def _create_partial(self) -> DiskPartialBlob:
        partial = DiskPartialBlob(self, *self.directory.create_unfinished())
        self.unfinished.add(partial)
        try:
            partial.prepare_reader()
        except BaseException:
            partial.discard_sync()
            raise
        return partial

    async def remove(self, sha256: Sha256) -> None:
        """Remove a blob, if it exists.

        Raises:
            StorageError: deleting failed. The blob is missing in the index until the next start.
        """
        await self.write_threads.run(self.directory.remove, sha256)

    def spare_unkept(self) -> None:
        """From now on, evict a blob that is not marked as kept only if all others have been evicted."""
        self.directory.spare_unkept()

    async def mark_kept(self, sha256: Sha256) -> None:
        """Remember that the blob is in object storage too."""
        await self.read_threads.run(self.directory.mark_kept, sha256)

    async def list_unkept(self) -> list[Sha256]:
        """Return the digests of the blobs that are not marked as kept, the least recently used blob first."""
        return await self.read_threads.run(self.directory.list_unkept)

    async def stats(self) -> BlobUsage:
        """Return the usage of the blob store."""
        return await self.read_threads.run(self.directory.usage)

    async def prune(self, max_bytes: int) -> PruneResult:
        """Evict the least recently used blobs until at most `max_bytes` bytes are left."""
        return await self.publish_threads.run(self.directory.prune, max_bytes)

    async def verify(self, progress: ReportProgress | None = None) -> BlobVerification:
        """Read every blob and remove corrupt ones. Each corrupt blob is a security event.

        Args:
            progress: called after each blob, with the number of checked blobs and the number of all blobs.
        """
        digests = await self.read_threads.run(self.directory.digests)
        size, broken, checked = 0, [], 0
        for done, sha256 in enumerate(digests, start=1):
            if (blob := await self.open_unused(sha256)) is not None:
                checked += 1
                size += blob.size
                try:
                    if not await blob.verify():
                        broken.append(sha256)
                finally:
                    await blob.close()
            if progress is not None:
                progress(done, len(digests))
        return BlobVerification(checked=checked, size=size, broken=tuple(broken))

    async def close(self) -> None:
        """Remove unfinished blobs, and end the threads. Blobs that are open stay readable."""
        for partial in tuple(self.unfinished):
            await partial.discard()
        for threads in (self.read_threads, self.write_threads, self.publish_threads, self.verify_threads):
            await threads.close()


def _close_all(descriptor: int, readers: deque[FileIO]) -> None:
    while readers:
        readers.pop().close()
    os.close(descriptor)


def _close_blob(blob: DiskBlob | None) -> None:
    if blob is not None:
        blob.close_sync()
