"""Files of uploads in progress, on the local disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from assay.errors import StorageError
from assay.ports import StagedFile
from assay.store.blob_directory import to_storage_error
from assay.store.threads import ThreadPool


class LocalStagedFile:
    """File of an upload in progress in a separate directory (`assay.ports.StagedFile`)."""

    def __init__(self, directory: Path, threads: ThreadPool) -> None:
        self.directory = directory
        self._threads = threads
        self._path = directory / "content"
        self._sha256, self._blake2 = hashlib.sha256(), hashlib.blake2b(digest_size=32)
        self._file: BinaryIO | None = None
        self._is_removed = False
        self.steps = threading.Lock()
        """Lock of each step: the step of a cancelled upload continues in its thread while the file is removed."""
        self.size = 0

    async def open(self) -> None:
        """Create the directory and the file."""
        await self._threads.run(self._open)

    async def write(self, data: bytes | bytearray) -> None:
        """Append bytes, and hash them."""
        await self._threads.run(self._write, data)

    async def finish(self) -> tuple[str, str]:
        """Flush the file to the disk; return its SHA-256 and its BLAKE2b-256, hexadecimal."""
        await self._threads.run(self._finish)
        return self._sha256.hexdigest(), self._blake2.hexdigest()

    def open_reader(self) -> BinaryIO:
        """Open the finished file for reading. Blocking."""
        return self._path.open("rb")

    def remove(self) -> None:
        """Close the file and remove the directory, unless it was published. Blocking."""
        with self.steps:
            self._is_removed = True
            if self._file is not None:
                self._file.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    def _open(self) -> None:
        try:
            with self.steps:
                if self._is_removed:
                    return
                self.directory.mkdir(mode=0o700)
                self._file = self._path.open("xb", buffering=0)
        except OSError as error:
            raise to_storage_error("store the upload", error) from error

    def _write(self, data: bytes | bytearray) -> None:
        self._sha256.update(data)
        self._blake2.update(data)
        try:
            with self.steps:
                file, left = self._require_file(), memoryview(data)
                while left:
                    left = left[file.write(left) :]
        except OSError as error:
            raise to_storage_error("store the upload", error) from error
        self.size += len(data)

    def _finish(self) -> None:
        try:
            with self.steps:
                file = self._require_file()
                os.fsync(file.fileno())
                file.close()
        except OSError as error:
            raise to_storage_error("store the upload", error) from error

    def _require_file(self) -> BinaryIO:
        if self._file is None or self._is_removed:
            raise StorageError("the upload is not open")
        return self._file


def require_local(staged: StagedFile) -> LocalStagedFile:
    """Return a staged file of this module.

    Raises:
        TypeError: the file was staged by another storage.
    """
    if not isinstance(staged, LocalStagedFile):
        raise TypeError("the file was staged by another storage")
    return staged


@asynccontextmanager
async def open_staged(incoming: Path, threads: ThreadPool) -> AsyncIterator[LocalStagedFile]:
    """Open a staged file in a new directory below `incoming`, and remove the directory when the context ends.

    Raises:
        StorageError: the directory cannot be created.
    """
    staged = LocalStagedFile(incoming / token_hex(16), threads)
    try:
        await staged.open()
        yield staged
    finally:
        with suppress(StorageError):  # the pool is closed: the next start removes the directory
            await threads.run(staged.remove)
