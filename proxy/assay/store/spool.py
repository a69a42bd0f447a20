"""Large documents of our own making, on disk whole or not at all, and gone at the next start.

Owns one directory. What is finished never changes: a newer document stands beside it, under a name of its own, until
the older is removed, and whoever reads it then keeps it. Nothing here is trusted after a restart: the directory is
emptied, since what is spooled can be made again. Written through aiofiles: one writer, pieces of 64 KiB and more, no
durability to promise; `blobs`, which has all of these to care for, says why it does not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import BinaryIO

import aiofiles.os
from aiofiles.threadpool import wrap
from aiofiles.threadpool.binary import AsyncBufferedIOBase

from assay.errors import StorageError
from assay.store.threads import ThreadPool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpooledFile:
    """A finished document: `assay.ports.SpooledFile`."""

    path: Path
    size: int
    etag: str
    """Strong: of the bytes."""
    threads: ThreadPool

    @asynccontextmanager
    async def open_reader(self) -> AsyncIterator[BinaryIO]:
        """Open the document's file, unbuffered, for the caller alone.

        Raises:
            StorageError: it is not there any more.
        """
        file = await self.threads.acquire(lambda: _open_file(self.path), lambda late: late.close())
        try:
            yield file
        finally:
            file.close()

    async def remove(self) -> None:
        """Remove the document; one that cannot be removed goes at the next start."""
        with suppress(OSError):
            await aiofiles.os.unlink(self.path)


class DiskSpoolWriter:
    """A document being written: `assay.ports.SpoolWriter`.

    Args:
        path: where it is written.
        make_path: returns where it goes when it is finished, by its name.
        thread_pool: opens the file.
    """

    def __init__(self, path: Path, make_path: Callable[[str], Path], thread_pool: ThreadPool) -> None:
        self._path = path
        self._make_path = make_path
        self._threads = thread_pool
        self._hash = hashlib.sha256()
        self._size = 0
        self._file: AsyncBufferedIOBase | None = None

    async def append(self, chunk: bytes) -> None:
        """Write and hash.

        Raises:
            StorageError: the disk does not take it.
        """
        try:
            if self._file is None:
                # Not by aiofiles.open: cancelled in the middle, it would leave an open file that nobody has.
                self._file = wrap(await self._threads.acquire(self._open, lambda late: late.close()))
            await self._file.write(chunk)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error
        self._hash.update(chunk)
        self._size += len(chunk)

    def _open(self) -> BufferedWriter:
        return self._path.open("wb")

    async def finish(self, name: str) -> DiskSpooledFile:
        """Close the document and put it beside earlier ones of that name, which stay as they are until removed.

        Raises:
            StorageError: the disk does not take it.
        """
        target_path = self._make_path(name)
        try:
            await self._close()
            await aiofiles.os.replace(self._path, target_path)
        except OSError as error:
            raise StorageError(f"{target_path}: {error.strerror}") from error
        return DiskSpooledFile(
            path=target_path, size=self._size, etag=f'"{self._hash.hexdigest()}"', threads=self._threads
        )

    async def abandon(self) -> None:
        """Remove what was written, unless it is finished."""
        with suppress(OSError):
            await self._close()
        with suppress(OSError):
            await aiofiles.os.unlink(self._path)

    async def _close(self) -> None:
        if self._file is not None:
            # Forgotten only when it is closed: cancelled before a thread was free for it, it is still open.
            await self._file.close()
            self._file = None


class DiskSpool:
    """Documents by name: `assay.ports.Spool`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._threads = ThreadPool("spool", 1)
        self._count = 0

    async def open(self) -> None:
        """Begin with an empty directory.

        Raises:
            StorageError: it cannot be made.
        """
        await self._threads.run(self._clear_directory)

    def _clear_directory(self) -> None:
        try:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self._directory}: {error.strerror}") from error

    async def close(self) -> None:
        """End the thread. Idempotent."""
        await self._threads.close()

    @asynccontextmanager
    async def open_writer(self) -> AsyncIterator[DiskSpoolWriter]:
        """A new document; it is removed unless `finish` puts it in its place."""
        sheet = DiskSpoolWriter(self._make_path("unfinished"), self._make_path, self._threads)
        try:
            yield sheet
        finally:
            await sheet.abandon()

    def _make_path(self, name: str) -> Path:
        """Return a path of that name where nothing is."""
        self._count += 1
        return self._directory / f"{name}-{self._count}"


def _open_file(path: Path) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    return FileIO(descriptor, "rb", closefd=True)
