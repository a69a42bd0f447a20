"""Where a file on its way in goes when the blobs' directory takes none: an anonymous file, never kept.

Owns no directory and publishes nothing: what is here is gone when it is let go of, however this process ends. It lies
in the system's temporary directory, which is often another disk, and where that takes nothing either, in memory, within
narrow bounds. So a full, read-only or vanished storage directory costs the cache and not the download.
"""

from __future__ import annotations

import os
import tempfile
import threading
from hashlib import sha256 as new_sha256
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from assay import telemetry
from assay.errors import StorageError
from assay.simple.model import Sha256
from assay.store.blob_directory import to_storage_error
from assay.store.threads import ThreadPool
from assay.store.writev import write_all
from assay.units import format_size

MAX_DISK_BYTES = 2 * 2**30
"""Bytes that all anonymous files may take together."""
MAX_MEMORY_BYTES = 64 * 2**20
"""The same of those for which there is no disk at all."""
_FD_DIRECTORY = Path("/proc/self/fd")


class TempPartialBlob:
    """A file on its way in that nobody will find again: `assay.ports.PartialBlob`."""

    move_count = 0

    def __init__(self, temp_blobs: TempBlobs, descriptor: int, *, in_memory: bool) -> None:
        self._temp_blobs = temp_blobs
        self._descriptor: int | None = descriptor
        self._in_memory = in_memory
        self._lock = threading.Lock()
        self._hash = new_sha256()
        self._written = 0
        self._reserved = 0

    @property
    def bytes_written(self) -> int:
        """Bytes that are in the file and in the hash."""
        return self._written

    async def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Write and hash, in order. No piece may change until this returns.

        Raises:
            StorageError: there is no room; only `discard` is left then.
        """
        await self._temp_blobs.threads.run(self._append, [memoryview(piece).cast("B") for piece in pieces])

    def _append(self, pieces: list[memoryview]) -> None:
        size = sum(map(len, pieces))
        with self._lock:
            if self._descriptor is None:
                raise StorageError("this file was discarded")
            self._temp_blobs.reserve_bytes(size, in_memory=self._in_memory)
            self._reserved += size
            try:
                write_all(self._descriptor, pieces)
            except OSError as error:
                raise to_storage_error("write an anonymous file", error) from error
            for piece in pieces:
                self._hash.update(piece)
            self._written += size

    async def digest(self) -> Sha256:
        """SHA-256 of all that was appended."""
        return Sha256(self._hash.hexdigest())

    async def open_reader(self) -> BinaryIO:
        """A file object of the caller's own over the same bytes.

        Raises:
            StorageError: it was discarded.
        """
        return await self._temp_blobs.threads.acquire(self._open_reader, FileIO.close)

    def _open_reader(self) -> FileIO:
        with self._lock:
            if self._descriptor is None:
                raise StorageError("this file was discarded")
            try:
                # Opened anew, for a position of its own; a copy of the descriptor would share the writer's.
                return FileIO(_FD_DIRECTORY / str(self._descriptor), "rb")
            except OSError as error:
                raise to_storage_error("read an anonymous file", error) from error

    async def commit(self, expected: Sha256) -> None:
        """Never.

        Raises:
            StorageError: it cannot be kept; it stays readable until it is discarded.
        """
        raise StorageError(f"{expected} was served without being kept: the blobs' directory did not take it")

    async def discard(self) -> None:
        """Let go of it. Idempotent."""
        await self._temp_blobs.threads.run(self.discard_sync)

    def discard_sync(self) -> None:
        """`discard`, from any thread."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)
                self._temp_blobs.release_bytes(self._reserved, in_memory=self._in_memory)


class TempBlobs:
    """Anonymous files, within their bounds.

    Attributes:
        threads: those that read and write.
    """

    def __init__(
        self,
        *,
        max_disk_bytes: int = MAX_DISK_BYTES,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        directory: str | None = None,
    ) -> None:
        self.threads = ThreadPool("spares", 2)
        self._limits = {False: max_disk_bytes, True: max_memory_bytes}
        self._used = {False: 0, True: 0}
        self._lock = threading.Lock()
        self._directory = directory

    async def create_partial(self) -> TempPartialBlob:
        """Start a new one.

        Raises:
            StorageError: none can be made.
        """
        return await self.threads.acquire(self._create_partial, TempPartialBlob.discard_sync)

    def _create_partial(self) -> TempPartialBlob:
        try:
            return TempPartialBlob(self, self._open_temp_file(), in_memory=False)
        except OSError as error:
            telemetry.warning("no-temporary-directory", found=error.strerror or type(error).__name__)
        try:
            return TempPartialBlob(self, os.memfd_create("assay"), in_memory=True)
        except (OSError, AttributeError) as error:
            raise StorageError("no temporary file can be made, on no disk and not in memory") from error

    def _open_temp_file(self) -> int:
        with tempfile.TemporaryFile(buffering=0, dir=self._directory) as file:
            return os.dup(file.fileno())

    def reserve_bytes(self, size: int, *, in_memory: bool) -> None:
        """Count `size` more bytes.

        Raises:
            StorageError: that would be more than all may take together.
        """
        with self._lock:
            if self._used[in_memory] + size > self._limits[in_memory]:
                limit = format_size(self._limits[in_memory])
                raise StorageError(f"the storage fails, and the {limit} for downloads beside it are taken")
            self._used[in_memory] += size

    def release_bytes(self, size: int, *, in_memory: bool) -> None:
        """Uncount bytes."""
        with self._lock:
            self._used[in_memory] -= size

    async def close(self) -> None:
        """End the threads. Idempotent."""
        await self.threads.close()
