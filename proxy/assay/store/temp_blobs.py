"""Temporary blobs in anonymous files, for downloads that the storage directory does not accept.

A temporary blob is never published. It disappears when it is closed or the process ends. It is in the system's
temporary directory, which is often on another disk. If that directory fails too, the blob is in memory, within a small
limit. Downloads therefore work even if the storage directory is full, read-only or missing; they are only not cached.
"""

from __future__ import annotations

import os
import tempfile
import threading
from hashlib import sha256 as new_sha256
from io import FileIO
from typing import BinaryIO

from assay import telemetry
from assay.errors import StorageError
from assay.simple.model import Sha256
from assay.store.blob_directory import reopen, to_storage_error, write_all
from assay.store.threads import ThreadPool
from assay.units import format_size

MAX_DISK_BYTES = 2 * 2**30
"""Default limit in bytes on the size of all temporary blobs on disk together."""
MAX_MEMORY_BYTES = 64 * 2**20
"""Default limit in bytes on the size of all temporary blobs in memory together."""


class TempPartialBlob:
    """Temporary blob that is being written (`assay.ports.PartialBlob`). It cannot be published."""

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
        """Number of bytes that have been written and hashed."""
        return self._written

    async def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Write and hash `pieces` in order. The caller must not change them until this method returns.

        Raises:
            StorageError: writing failed, or the limit is reached. Afterwards only `discard` is possible.
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
        """Return the SHA-256 of all appended bytes."""
        return Sha256(self._hash.hexdigest())

    async def open_reader(self) -> BinaryIO:
        """Open a separate reader of the same bytes; the caller must close it.

        Raises:
            StorageError: the blob was discarded.
        """
        return await self._temp_blobs.threads.acquire(self._open_reader, FileIO.close)

    def _open_reader(self) -> FileIO:
        with self._lock:
            if self._descriptor is None:
                raise StorageError("this file was discarded")
            try:
                return reopen(self._descriptor)
            except OSError as error:
                raise to_storage_error("read an anonymous file", error) from error

    async def commit(self, expected: Sha256) -> None:
        """Raise an error, because a temporary blob cannot be published.

        Raises:
            StorageError: always. The blob stays readable until it is discarded.
        """
        raise StorageError(f"{expected} was served but not stored, because the blob directory did not accept it")

    async def discard(self) -> None:
        """Discard the blob. Idempotent."""
        await self._temp_blobs.threads.run(self.discard_sync)

    def discard_sync(self) -> None:
        """Discard the blob. Any thread may call this."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)
                self._temp_blobs.release_bytes(self._reserved, in_memory=self._in_memory)


class TempBlobs:
    """Factory of temporary blobs, with limits on their total size.

    Attributes:
        threads: threads that read and write the blobs.
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
        """Begin a new temporary blob.

        Raises:
            StorageError: no file can be created.
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
            raise StorageError("no temporary file can be created, on disk or in memory") from error

    def _open_temp_file(self) -> int:
        with tempfile.TemporaryFile(buffering=0, dir=self._directory) as file:
            return os.dup(file.fileno())

    def reserve_bytes(self, size: int, *, in_memory: bool) -> None:
        """Reserve `size` bytes, in memory or on disk.

        Raises:
            StorageError: the size of all temporary blobs would exceed the limit.
        """
        with self._lock:
            if self._used[in_memory] + size > self._limits[in_memory]:
                limit = format_size(self._limits[in_memory])
                raise StorageError(
                    f"the storage directory fails, and temporary downloads have reached their limit of {limit}"
                )
            self._used[in_memory] += size

    def release_bytes(self, size: int, *, in_memory: bool) -> None:
        """Release `size` bytes that were reserved."""
        with self._lock:
            self._used[in_memory] -= size

    async def close(self) -> None:
        """End the threads. Idempotent."""
        await self.threads.close()
