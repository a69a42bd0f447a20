"""Spool of large generated documents on disk. A document is complete or absent, and is removed at the next start.

A finished document never changes. A newer version is written to another file, and the older version is removed later.
Readers that are open can still read it. The directory is emptied at start, because documents can be generated again.

This module uses aiofiles, because there is one writer, chunks have at least 64 KiB, and nothing must be durable.
`blobs` explains why it does not use aiofiles.
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
    """Finished document on disk (`assay.ports.SpooledFile`)."""

    path: Path
    size: int
    etag: str
    """Strong ETag of the bytes."""
    threads: ThreadPool

    @asynccontextmanager
    async def open_reader(self) -> AsyncIterator[BinaryIO]:
        """Open a separate, unbuffered reader of the document. It is closed when the context ends.

        Raises:
            StorageError: the document was removed.
        """
        file = await self.threads.acquire(lambda: _open_file(self.path), lambda late: late.close())
        try:
            yield file
        finally:
            file.close()

    async def remove(self) -> None:
        """Remove the document. If removing fails, the document is removed at the next start."""
        with suppress(OSError):
            await aiofiles.os.unlink(self.path)


class DiskSpoolWriter:
    """Writer of one document (`assay.ports.SpoolWriter`).

    Args:
        path: path of the temporary file.
        make_path: returns the final path of a document, from the document's name.
        thread_pool: threads in which the file is opened.
    """

    def __init__(self, path: Path, make_path: Callable[[str], Path], thread_pool: ThreadPool) -> None:
        self._path = path
        self._make_path = make_path
        self._threads = thread_pool
        self._hash = hashlib.sha256()
        self._size = 0
        self._file: AsyncBufferedIOBase | None = None

    async def append(self, chunk: bytes) -> None:
        """Write and hash a chunk.

        Raises:
            StorageError: writing failed.
        """
        try:
            if self._file is None:
                # Not with aiofiles.open: if it is cancelled, it leaves a file open that no code can close.
                self._file = wrap(await self._threads.acquire(self._open, lambda late: late.close()))
            await self._file.write(chunk)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error
        self._hash.update(chunk)
        self._size += len(chunk)

    def _open(self) -> BufferedWriter:
        return self._path.open("wb")

    async def finish(self, name: str) -> DiskSpooledFile:
        """Complete the document and return it. Earlier documents of the same name are kept until they are removed.

        Raises:
            StorageError: writing failed.
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
        """Remove the document, unless it has been finished."""
        with suppress(OSError):
            await self._close()
        with suppress(OSError):
            await aiofiles.os.unlink(self._path)

    async def _close(self) -> None:
        if self._file is not None:
            # Reset only after closing: if this is cancelled while it waits for a thread, the file is still open.
            await self._file.close()
            self._file = None


class DiskSpool:
    """Spool of documents in one directory (`assay.ports.Spool`)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._threads = ThreadPool("spool", 1)
        self._count = 0

    async def open(self) -> None:
        """Create the directory, and remove everything that it contained before.

        Raises:
            StorageError: the directory cannot be created or emptied.
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
        """Yield the writer of a new document. An unfinished document is removed when the context ends."""
        sheet = DiskSpoolWriter(self._make_path("unfinished"), self._make_path, self._threads)
        try:
            yield sheet
        finally:
            await sheet.abandon()

    def _make_path(self, name: str) -> Path:
        """Return an unused path for a document with the name `name`."""
        self._count += 1
        return self._directory / f"{name}-{self._count}"


def _open_file(path: Path) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    return FileIO(descriptor, "rb", closefd=True)
