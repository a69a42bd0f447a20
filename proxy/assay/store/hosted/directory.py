"""Directory of hosted files.

    lock                                     locked by the one process that uses the directory
    <index>/incoming/<random>/               uploads in progress; removed at the next start
    <index>/projects/<project>/state.json    status of the project and yanks
    <index>/projects/<project>/files/<filename>/
        content, metadata, provenance        the bytes; `metadata` and `provenance` only if they exist
        entry.json                           digests, time of the upload, uploader and signers

An upload is written and synced in `incoming`. Then its whole directory is renamed into `files`, and `files` is synced.
The rename is the only step that makes it visible, so a crash at any moment leaves all of an upload or nothing. A rename
onto an existing file fails, so no file is ever replaced.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, Self, TypeAlias

from assay import telemetry
from assay.errors import StorageError, StorageInUseError, UploadRefusedError, UpstreamError, UpstreamGoneError
from assay.ports import BodyStream, FileBody, HostedDocument, HostedFile, HostedProject, StagedFile
from assay.simple.model import NormalizedName
from assay.store.blob_directory import sync_directory, to_storage_error
from assay.store.hosted.changes import change_yanks, check_publication, get_document_sha256
from assay.store.hosted.entries import (
    ProjectState,
    check_entry,
    decode_entry,
    decode_state,
    encode_entry,
    encode_state,
    make_project,
)
from assay.store.hosted.staging import LocalStagedFile, open_staged, require_local
from assay.store.threads import ThreadPool

_THREADS: Final = 2
_READ_BYTES: Final = 256 * 1024
_MAX_ENTRY_BYTES: Final = 2**20
_ProjectKey: TypeAlias = tuple[str, NormalizedName]
_StateChange: TypeAlias = Callable[[ProjectState], ProjectState]


class HostedDirectory:
    """Files of all hosted indexes in one directory (`assay.ports.HostedStorage`)."""

    def __init__(self, directory: Path, indexes: Iterable[str]) -> None:
        self._directory = directory
        self._indexes = tuple(indexes)
        self._threads = ThreadPool("hosted", _THREADS)
        self._files: dict[_ProjectKey, dict[str, HostedFile]] = {}
        self._states: dict[_ProjectKey, ProjectState] = {}
        self._projects: dict[_ProjectKey, HostedProject] = {}
        self._damaged: dict[_ProjectKey, str] = {}
        """Name of an unusable file of each project that has one. Such a project takes no uploads."""
        self._changes = threading.Lock()
        self._lock = -1

    @classmethod
    async def open(cls, directory: Path, indexes: Iterable[str], *, read_only: bool = False) -> Self:
        """Lock the directory, remove uploads in progress of an earlier process, and read all entries.

        Args:
            directory: the directory; it is created if it does not exist.
            indexes: names of the hosted indexes.
            read_only: True to read the entries only. Another process may use the directory at the same time.

        Raises:
            StorageInUseError: another process uses the directory.
            StorageError: the directory cannot be created, read or written.
        """
        self = cls(directory, indexes)
        try:
            await asyncio.to_thread(self._scan, read_only=read_only)
        except OSError as error:
            await self.close()
            raise to_storage_error(f"use {directory}", error) from error
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def damaged(self) -> tuple[str, ...]:
        """Name of an unusable file of each project that has one."""
        return tuple(sorted(self._damaged.values()))

    def find_project(self, index: str, project: NormalizedName) -> HostedProject | None:
        """Return a project of an index; None if the index has no file of it."""
        return self._projects.get((index, project))

    def list_projects(self, index: str) -> tuple[NormalizedName, ...]:
        """Return the projects of an index, sorted."""
        return tuple(sorted(project for owner, project in self._projects.copy() if owner == index))

    def is_current(self, index: str) -> bool:
        """Return True: no other process changes the directory."""
        del index
        return True

    async def refresh(self, index: str) -> None:
        """Do nothing: no other process changes the directory."""

    async def wait_until_visible(self, index: str) -> None:
        """Do nothing: only this process shows the files."""

    @asynccontextmanager
    async def stage(self, index: str) -> AsyncIterator[StagedFile]:
        """Open a staged file, which is removed when the context ends."""
        async with open_staged(self._directory / index / "incoming", self._threads) as staged:
            yield staged

    async def publish(
        self,
        index: str,
        project: NormalizedName,
        staged: StagedFile,
        file: HostedFile,
        *,
        metadata: bytes | None,
        provenance: bytes | None,
        known: HostedProject | None,
    ) -> bool:
        """Publish a staged file with its documents, durably and in one step, if its project still equals `known`."""
        upload = require_local(staged)
        documents = {"metadata": metadata, "provenance": provenance, "entry.json": encode_entry(file)}
        return await self._threads.run(self._publish, (index, project), upload, file, documents, known)

    async def set_yanked(
        self, index: str, project: NormalizedName, filenames: Collection[str], reason: str | None
    ) -> None:
        """Yank files for a reason; if it is None, undo the yank."""
        await self._threads.run(
            self._change_state, (index, project), lambda state: change_yanks(state, filenames, reason)
        )

    async def set_status(self, index: str, project: NormalizedName, status: str, reason: str | None) -> None:
        """Set the status of a project."""
        await self._threads.run(
            self._change_state, (index, project), lambda state: replace(state, status=status, reason=reason)
        )

    async def read_document(
        self, index: str, project: NormalizedName, filename: str, kind: HostedDocument
    ) -> bytes | None:
        """Return a document of a file; None if the file does not have it."""
        file = self._files.get((index, project), {}).get(filename)
        if (digest := get_document_sha256(file, kind)) is None:
            return None
        path = self._get_files_path((index, project)) / filename / kind
        try:
            document = await self._threads.run(path.read_bytes)
        except OSError as error:
            raise to_storage_error(f"read the {kind} of {filename}", error) from error
        if hashlib.sha256(document).hexdigest() != digest:
            telemetry.security("hosted-document-changed", index=index, filename=filename, document=kind)
            raise StorageError(f"the {kind} of {filename} has changed on the disk")
        return document

    @asynccontextmanager
    async def open_file(
        self, index: str, project: NormalizedName, filename: str, *, start: int, url: str
    ) -> AsyncIterator[FileBody]:
        """Open the bytes of a file from offset `start`."""
        file = self._files.get((index, project), {}).get(filename)
        if file is None:
            raise UpstreamGoneError(f"the index {index} has no file {filename}")
        path = self._get_files_path((index, project)) / filename / "content"
        try:
            reader = await self._threads.acquire(lambda: path.open("rb", buffering=0), lambda opened: opened.close())
        except OSError as error:
            raise UpstreamError(f"{filename} cannot be read: {error.strerror}") from error
        try:
            yield BodyStream(
                start=start,
                length=file.size,
                chunks=self._iter_chunks(reader, start),
                content_type="application/octet-stream",
                url=url,
            )
        finally:
            await self._threads.run(reader.close)

    async def close(self) -> None:
        """Release the directory. Idempotent."""
        await self._threads.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    async def _iter_chunks(self, reader: BinaryIO, start: int) -> AsyncIterator[bytes]:
        try:
            await self._threads.run(reader.seek, start)
            while chunk := await self._threads.run(reader.read, _READ_BYTES):
                yield chunk
        except OSError as error:
            raise UpstreamError(f"a hosted file cannot be read: {error.strerror}") from error

    def _get_files_path(self, key: _ProjectKey) -> Path:
        return self._directory / key[0] / "projects" / key[1] / "files"

    def _publish(
        self,
        key: _ProjectKey,
        upload: LocalStagedFile,
        file: HostedFile,
        documents: dict[str, bytes | None],
        known: HostedProject | None,
    ) -> bool:
        with upload.steps:
            return self._publish_directory(key, upload.directory, file, documents, known)

    def _publish_directory(
        self,
        key: _ProjectKey,
        staged: Path,
        file: HostedFile,
        documents: dict[str, bytes | None],
        known: HostedProject | None,
    ) -> bool:
        damaged = self._damaged.get(key)
        target = self._get_files_path(key) / file.filename
        try:
            for name, document in documents.items():
                (staged / name).unlink(missing_ok=True)  # of an earlier try
                if document is not None:
                    _write_durably(staged / name, document)
            sync_directory(staged)
            with self._changes:
                if not check_publication(
                    file.filename,
                    key[1],
                    damaged=None if damaged is None else f"the file {damaged}",
                    is_taken=target.exists(),
                    current=self._projects.get(key),
                    known=known,
                ):
                    return False
                _make_directories(self._directory / key[0], target.parent)
                staged.rename(target)
                try:
                    sync_directory(target.parent)
                except OSError:
                    target.rename(staged)
                    raise
                self._files.setdefault(key, {})[file.filename] = file
                self._refresh(key)
                return True
        except OSError as error:
            raise to_storage_error(f"publish {file.filename}", error) from error

    def _change_state(self, key: _ProjectKey, change: _StateChange) -> None:
        with self._changes:
            if key not in self._files:
                raise StorageError(f"the index {key[0]} has no project {key[1]}")
            state = change(self._states.get(key, ProjectState()))
            path = self._directory / key[0] / "projects" / key[1] / "state.json"
            new = path.with_suffix(".new")
            try:
                new.unlink(missing_ok=True)
                _write_durably(new, encode_state(state))
                new.rename(path)
                sync_directory(path.parent)
            except OSError as error:
                raise to_storage_error(f"store the state of {key[1]}", error) from error
            self._states[key] = state
            self._refresh(key)

    def _refresh(self, key: _ProjectKey) -> None:
        state = self._states.get(key, ProjectState())
        self._projects[key] = make_project(key[1], self._files[key].values(), state)

    def _scan(self, *, read_only: bool) -> None:
        if not read_only:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock_directory(self._directory)
        for index in self._indexes:
            home = self._directory / index
            if not read_only:
                _make_directories(self._directory, home / "projects", home / "incoming")
                for left in (home / "incoming").iterdir():
                    shutil.rmtree(left, ignore_errors=True)
            if (home / "projects").is_dir():
                for project in (home / "projects").iterdir():
                    self._scan_project((index, NormalizedName(project.name)), project)

    def _scan_project(self, key: _ProjectKey, path: Path) -> None:
        files: dict[str, HostedFile] = {}
        for place in (path / "files").iterdir() if (path / "files").is_dir() else ():
            try:
                files[place.name] = _read_entry(place, key[1])
            except (OSError, ValueError, UploadRefusedError) as error:
                self._damaged[key] = place.name
                telemetry.security("hosted-entry-unusable", path=str(place), error=str(error))
        if not files:
            return
        self._files[key] = files
        with suppress(FileNotFoundError):
            try:
                self._states[key] = decode_state(_read_limited(path / "state.json"))
            except ValueError as error:
                raise StorageError(f"{path / 'state.json'}: {error}; restore it from a backup") from error
        self._refresh(key)


def _read_entry(place: Path, project: NormalizedName) -> HostedFile:
    """Return the entry of a published file.

    Raises:
        OSError: the entry or the file cannot be read.
        ValueError: the entry is malformed, or belongs to another file.
        UploadRefusedError: the filename belongs to another project or version.
    """
    file = decode_entry(_read_limited(place / "entry.json"))
    size = (place / "content").stat().st_size
    if file.filename != place.name or size != file.size:
        raise ValueError(f"expected {file.filename} with {file.size} bytes, found {size} bytes")
    check_entry(file, project)
    return file


def _read_limited(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_ENTRY_BYTES)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make_directories(base: Path, *paths: Path) -> None:
    """Create directories below `base` durably."""
    for path in paths:
        missing = [each for each in (path, *path.parents) if each.is_relative_to(base) and not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
            sync_directory(each.parent)


def _lock_directory(directory: Path) -> int:
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StorageInUseError(f"the directory of hosted files {directory} is in use by another process") from error
    return descriptor
