"""Distributions by SHA-256 on a file system: `assay.ports.BlobStore`.

A file comes in by way of a temporary one: written and hashed together, synced, renamed to its digest's place. So what
stands under a digest is whole and has that digest, whenever the machine stops. Once there it is not read again to check
it (a warm file is one sendfile), but its size is compared at every opening, and `verify` reads everything on demand.
Refuses to publish anything under a digest that it did not compute itself.

aiofiles is not used here: it makes one hop to a thread for each call, so writing and hashing a piece would be two, and
a cancelled caller could close a file that a thread still writes. Here a piece is one hop, under the file's own lock;
both `write` and `sha256.update` let go of the interpreter while they work.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from hashlib import sha256 as new_sha256
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from assay import telemetry
from assay.errors import DigestMismatchError, StorageError
from assay.ports import BlobUsage, BlobVerification, PruneResult, ReportProgress
from assay.simple.model import Sha256
from assay.store.blob_directory import BlobDirectory, open_unbuffered, to_storage_error
from assay.store.threads import ThreadPool
from assay.store.writev import write_all

_READ_CHUNK_BYTES = 2**20


class DiskBlob:
    """A finished blob that is open."""

    def __init__(self, directory: BlobDirectory, sha256: Sha256, file: FileIO, size: int) -> None:
        self.sha256 = sha256
        self.size = size
        self.file: BinaryIO = file
        self._directory = directory

    async def close(self) -> None:
        """Let go of it. Idempotent."""
        # Closing what was only read does not block: no hop, and nothing to be cancelled in.
        self.close_sync()

    def close_sync(self) -> None:
        """`close`, from any thread."""
        if not self.file.closed:
            self.file.close()
            self._directory.close(self.sha256)


class DiskPartialBlob:
    """A file on its way in."""

    move_count = 0

    def __init__(self, blobs: DiskBlobStore, path: Path, descriptor: int) -> None:
        self._blobs = blobs
        self._path: Path | None = path
        self._descriptor: int | None = descriptor
        self._lock = threading.Lock()
        self._hash = new_sha256()
        self._written = 0
        self._reserved = 0
        self._is_torn = False

    @property
    def bytes_written(self) -> int:
        """Bytes that are in the file and in the hash."""
        return self._written

    async def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Write and hash, in order. No piece may change until this returns.

        Raises:
            StorageError: the disk or the limit does not take it; only `discard` is left then.
        """
        await self._blobs.write_threads.run(self._append, [memoryview(piece).cast("B") for piece in pieces])

    def _append(self, pieces: list[memoryview]) -> None:
        size = sum(map(len, pieces))
        with self._lock:
            if self._descriptor is None or self._is_torn:
                raise StorageError("nothing can be added to this file any more")
            self._is_torn = True  # until all of the piece is in the file and in the hash
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
        """SHA-256 of all that was appended."""
        return Sha256(self._hash.hexdigest())

    async def open_reader(self) -> BinaryIO:
        """A file object of the caller's own over the same bytes.

        Raises:
            StorageError: it was discarded, or evicted after its publication.
        """
        return await self._blobs.read_threads.acquire(self._open_reader, FileIO.close)

    def _open_reader(self) -> FileIO:
        with self._lock:
            if self._path is None:
                raise StorageError("this file was discarded")
            try:
                return open_unbuffered(self._path)
            except OSError as error:
                raise to_storage_error(f"read {self._path}", error) from error

    async def commit(self, expected: Sha256) -> None:
        """Make it the blob of its digest, durably.

        Raises:
            DigestMismatchError: it is not `expected`; it has been discarded.
            StorageError: the disk does not take it; it has been discarded.
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
            raise StorageError("the disk did not take all of this file")
        found = Sha256(self._hash.hexdigest())
        if found != expected:
            raise DigestMismatchError(f"expected SHA-256 {expected}, found {found} in {self._written} bytes")
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise to_storage_error(f"sync {path}", error) from error
        self._path = self._blobs.directory.publish(path, found, self._written)
        self._reserved = 0
        self._close()

    async def discard(self) -> None:
        """Remove the temporary file. Idempotent; what was published stays."""
        if self._descriptor is not None:
            await self._blobs.write_threads.run(self.discard_sync)

    def discard_sync(self) -> None:
        """`discard`, from any thread."""
        with self._lock:
            if self._descriptor is not None:
                self._remove()

    def _remove(self) -> None:
        path, self._path = self._path, None
        if self._descriptor is not None and path is not None:
            self._close()
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # swept at the next start
                telemetry.warning("unfinished-not-removed", path=path, found=error.strerror)
        self._blobs.directory.release_bytes(self._reserved)
        self._reserved = 0

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        self._blobs.unfinished.discard(self)


class DiskBlobStore:
    """All blobs of one directory.

    Attributes:
        shelf: what is in the directory.
        reading, writing, publishing: threads; apart, so that a slow sync delays no reader.
        unfinished: the files on their way in.
    """

    def __init__(self, directory: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self.directory = BlobDirectory(directory, max_bytes, clock)
        self.read_threads = ThreadPool("blobs-reading", 4)
        self.write_threads = ThreadPool("blobs-writing", 2)
        self.publish_threads = ThreadPool("blobs-publishing", 2)
        self.unfinished: set[DiskPartialBlob] = set()

    async def scan(self) -> None:
        """Sweep what is unfinished and learn what is there; to be called once, first.

        Raises:
            StorageError: the directory cannot be used.
        """
        await self.publish_threads.run(self.directory.scan)

    async def open(self, sha256: Sha256) -> DiskBlob | None:
        """The finished blob, marked as used; None where there is none (or it was broken and has been removed)."""
        return await self.read_threads.acquire(lambda: self._open(sha256), _close_blob)

    def _open(self, sha256: Sha256) -> DiskBlob | None:
        found = self.directory.open(sha256)
        return DiskBlob(self.directory, sha256, *found) if found is not None else None

    async def create_partial(self) -> DiskPartialBlob:
        """Start a new one.

        Raises:
            StorageError: no temporary file can be made.
        """
        return await self.write_threads.acquire(self._create_partial, DiskPartialBlob.discard_sync)

    def _create_partial(self) -> DiskPartialBlob:
        partial = DiskPartialBlob(self, *self.directory.create_unfinished())
        self.unfinished.add(partial)
        return partial

    async def remove(self, sha256: Sha256) -> None:
        """Forget a blob, if it is there.

        Raises:
            StorageError: the disk does not let it go; it is forgotten until the next start.
        """
        await self.write_threads.run(self.directory.remove, sha256)

    async def stats(self) -> BlobUsage:
        """How full the directory is."""
        return await self.read_threads.run(self.directory.usage)

    async def prune(self, max_bytes: int) -> PruneResult:
        """Evict, oldest-used first, down to `max_bytes` bytes."""
        return await self.publish_threads.run(self.directory.prune, max_bytes)

    async def verify(self, progress: ReportProgress | None = None) -> BlobVerification:
        """Read every blob, and remove those whose bytes are not their digest's: a security event each.

        Args:
            progress: called with (done, of how many) after each.
        """
        digests = await self.read_threads.run(self.directory.digests)
        size, broken, checked = 0, [], 0
        for done, sha256 in enumerate(digests, start=1):
            read = await self.publish_threads.run(self._hash_blob, sha256)
            if read is not None:
                checked += 1
                size += read[0]
                if read[1] != sha256:
                    telemetry.security("blob-broken", sha256=sha256, found=read[1])
                    broken.append(sha256)
                    await self.remove(sha256)
            if progress is not None:
                progress(done, len(digests))
        return BlobVerification(checked=checked, size=size, broken=tuple(broken))

    def _hash_blob(self, sha256: Sha256) -> tuple[int, str] | None:
        """Bytes and digest of what stands under a digest; None: nothing does any more."""
        found = self.directory.open(sha256)
        if found is None:
            return None
        file, size = found
        try:
            with file:
                hashed = new_sha256()
                while piece := file.read(_READ_CHUNK_BYTES):
                    hashed.update(piece)
                return size, hashed.hexdigest()
        except OSError as error:
            return 0, f"unreadable: {error.strerror}"
        finally:
            self.directory.close(sha256)

    async def close(self) -> None:
        """Remove what is unfinished and end the threads. Open blobs stay readable."""
        for partial in tuple(self.unfinished):
            await partial.discard()
        for threads in (self.read_threads, self.write_threads, self.publish_threads):
            await threads.close()


def _close_blob(blob: DiskBlob | None) -> None:
    if blob is not None:
        blob.close_sync()
