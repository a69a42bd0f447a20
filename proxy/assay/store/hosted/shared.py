"""Hosted files that several replicas share: entries in PostgreSQL, bytes and documents in object storage.

    <deployment>/hosted/<index>/<project>/<upload>/content, metadata, provenance

An upload is staged on the local disk. `publish` registers it in the database, writes its objects, and then adds its
entry in one transaction, which is the only step that makes it visible. A crash at any moment leaves all of an upload or
nothing. Each upload has its own random identifier, so no object is ever replaced. Objects of uploads that were not
published within `ABANDONED_AFTER` are removed. Objects that the database does not know are left alone: after a restore
of the database from a backup, they may be the only copy.

Each replica keeps all entries in memory (`catalog`), and checks by the version of each index whether they have changed
(`freshness`). An index whose entries do not fit in memory is not shown, and the other indexes are not affected.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, Self, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import AssayError, StorageError, UpstreamError, UpstreamGoneError
from assay.ports import BodyStream, FileBody, HostedDocument, HostedFile, HostedProject, StagedFile
from assay.simple.model import NormalizedName, Sha256
from assay.store.blob_directory import to_storage_error
from assay.store.hosted.catalog import (
    Catalog,
    CatalogProject,
    FileRow,
    StateRow,
    find_lost,
    merge_rows,
    weigh_catalog,
)
from assay.store.hosted.changes import change_yanks, check_publication, get_document_sha256
from assay.store.hosted.entries import ProjectState, decode_state, encode_entry, encode_state
from assay.store.hosted.freshness import VISIBLE_SECONDS, Freshness
from assay.store.hosted.staging import LocalStagedFile, open_staged, require_local
from assay.store.threads import ThreadPool

if TYPE_CHECKING:  # the driver of the database is not installed everywhere
    from assay.store.postgresql.hosted import HostedTables

ABANDONED_AFTER: Final = timedelta(days=1)
"""Time after its registration in which an upload can be published."""
_HEARTBEAT_SECONDS: Final = 10.0
"""Time in seconds between two checks without a request, so that the last successful check is never old."""
_SWEEP_SECONDS: Final = 3600.0
_SWEPT_AT_ONCE: Final = 100
_THREADS: Final = 2
_ROWS_AT_ONCE: Final = 500
_MAX_ROWS_PER_INDEX: Final = 1_000_000
_MAX_INDEX_WEIGHT: Final = 512 * 2**20
_RETRY_SECONDS: Final = 600.0
"""Time in seconds until an index that was too large is read again."""
_MAX_DOCUMENT_BYTES: Final = 16 * 2**20
_NO_PROJECT: Final = CatalogProject()
_RowT = TypeVar("_RowT", FileRow, StateRow)
_ReadRows: TypeAlias = Callable[[str, int, int], Awaitable[tuple[list[_RowT], bool]]]


class ObjectBucket(Protocol):
    """Objects by their keys, below ``<deployment>/``. Their bytes are untrusted."""

    def open(self, key: str, start: int = 0) -> AbstractAsyncContextManager[FileBody]:
        """Open the bytes of an object from offset `start`.

        Raises:
            UpstreamGoneError: no such object.
            UpstreamError: the object cannot be read.
        """

    async def read(self, key: str, max_bytes: int) -> bytes | None:
        """Return a small object; None if it does not exist.

        Raises:
            UpstreamError: the object cannot be read, or has more than `max_bytes` bytes.
        """

    async def put(self, key: str, body: bytes) -> bool:
        """Store a small object durably.

        Raises:
            StorageError: the object cannot be written.
        """

    async def put_file(self, key: str, reader: BinaryIO, sha256: Sha256) -> None:
        """Store a file durably, and close its reader. An object of the same size is left as it is.

        Raises:
            StorageError: the file cannot be read or has another digest, or the object cannot be written.
        """

    async def remove(self, key: str) -> None:
        """Remove an object, if it exists.

        Raises:
            StorageError: the object cannot be removed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedHostedSettings:
    """Settings of hosted files in shared storage."""

    incoming: Path
    """Local directory of uploads in progress, which belongs to this process. It is emptied at the start."""
    indexes: tuple[str, ...]
    """Names of the hosted indexes."""
    grace_seconds: float
    """Time in seconds for which the last known files are shown while the database is away."""
    max_index_weight: int = _MAX_INDEX_WEIGHT
    """Maximum number of characters and bytes of all entries and states of one index."""
    retry_seconds: float = _RETRY_SECONDS
    """Time in seconds until an index that was too large is read again."""


class _IndexTooLargeError(StorageError):
    """Error if the entries of one index do not fit in memory."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Index that was too large: the reason, and the time of the next try in seconds, monotonic."""

    reason: str
    retry_at: float


class SharedHosted:
    """Files of all hosted indexes in PostgreSQL and object storage (`assay.ports.HostedStorage`).

    Args:
        tables: tables of the entries. They and the bucket belong to the caller.
        bucket: object storage.
        settings: local directory, indexes and grace.
    """

    def __init__(self, tables: HostedTables, bucket: ObjectBucket, settings: SharedHostedSettings) -> None:
        self._tables = tables
        self._bucket = bucket
        self._settings = settings
        self._threads = ThreadPool("hosted", _THREADS)
        self._tasks = BackgroundTasks(
            report=lambda name, error: telemetry.failure("hosted-check-failed", error, task=name)
        )
        self._catalogs: dict[str, Catalog] = {index: {} for index in settings.indexes}
        self._versions: dict[str, int] = {}
        """Version of each index up to which its catalog has all changes."""
        self._refusals: dict[str, _Refusal] = {}
        """Indexes that were too large, whose catalogs are out of date."""
        self._freshness = Freshness(self._load_changes, grace_seconds=settings.grace_seconds)
        self._uploads = WeakKeyDictionary[StagedFile, str]()
        """Identifiers of uploads that were registered. Another try to publish an upload uses the same objects."""

    @classmethod
    async def open(
        cls, tables: HostedTables, bucket: ObjectBucket, settings: SharedHostedSettings, *, read_only: bool = False
    ) -> Self:
        """Read all entries; unless `read_only`, empty the local directory and start the background work.

        If the database is away, no project can be requested until it is back.

        Raises:
            StorageError: the local directory cannot be used.
        """
        self = cls(tables, bucket, settings)
        try:
            if not read_only:
                await asyncio.to_thread(_empty_directory, settings.incoming)
                self._tasks.spawn(self._check_regularly(), name="hosted files: check")
                self._tasks.spawn(self._sweep_regularly(), name="hosted files: sweep")
            await self._check_quietly()
        except BaseException:
            await self.close()
            raise
        return self

    def find_project(self, index: str, project: NormalizedName) -> HostedProject | None:
        """Return a project of an index; None if the index has no file of it."""
        return self._find(index, project).shown

    def list_projects(self, index: str) -> tuple[NormalizedName, ...]:
        """Return the projects of an index, sorted."""
        return tuple(sorted(name for name, known in self._catalogs[index].items() if known.shown is not None))

    def is_current(self, index: str) -> bool:
        """Return whether `refresh` has nothing to do now."""
        return index not in self._refusals and self._freshness.is_current()

    async def refresh(self, index: str) -> None:
        """Make the look-ups show all changes for which a method of any process has returned before this call."""
        await self._freshness.refresh()
        if (refusal := self._refusals.get(index)) is not None:
            raise StorageError(refusal.reason)

    async def wait_until_visible(self, index: str) -> None:
        """Wait until all processes show what this process shows."""
        del index
        await asyncio.sleep(VISIBLE_SECONDS)

    @asynccontextmanager
    async def stage(self, index: str) -> AsyncIterator[StagedFile]:
        """Open a staged file, which is removed when the context ends."""
        del index
        async with open_staged(self._settings.incoming, self._threads) as staged:
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
        local, current = require_local(staged), self._find(index, project)
        if not check_publication(
            file.filename,
            project,
            damaged=None if current.damaged is None else f"the entry of {current.damaged}",
            is_taken=file.filename in current.files,
            current=current.shown,
            known=known,
        ):
            return False
        upload = self._uploads.setdefault(staged, token_hex(16))
        await self._tables.register_upload(index, project, upload)
        await self._store(_make_prefix(index, project, upload), local, file, metadata, provenance)
        row = FileRow(
            project=project, filename=file.filename, upload=upload, entry=encode_entry(file), changed=current.revision
        )
        if not await self._tables.publish(index, row):
            # `refresh` may not show the change yet: the process that made it still waits.
            await self._freshness.check()
            return False
        await self._show_change(index)
        return True

    async def set_yanked(
        self, index: str, project: NormalizedName, filenames: Collection[str], reason: str | None
    ) -> None:
        """Yank files for a reason; if it is None, undo the yank."""
        await self._change_state(index, project, lambda state: change_yanks(state, filenames, reason))

    async def set_status(self, index: str, project: NormalizedName, status: str, reason: str | None) -> None:
        """Set the status of a project."""
        await self._change_state(index, project, lambda state: replace(state, status=status, reason=reason))

    async def read_document(
        self, index: str, project: NormalizedName, filename: str, kind: HostedDocument
    ) -> bytes | None:
        """Return a document of a file; None if the file does not have it."""
        known = self._find(index, project)
        file = known.files.get(filename)
        if (digest := get_document_sha256(file, kind)) is None:
            return None
        key = _make_prefix(index, project, known.uploads[filename]) + kind
        try:
            document = await self._bucket.read(key, _MAX_DOCUMENT_BYTES)
        except UpstreamError as error:
            raise StorageError(f"the {kind} of {filename} cannot be read: {error}") from error
        if document is None or hashlib.sha256(document).hexdigest() != digest:
            telemetry.security("hosted-document-changed", index=index, filename=filename, document=kind)
            raise StorageError(f"the {kind} of {filename} has changed in the object storage, or is missing from it")
        return document

    @asynccontextmanager
    async def open_file(
        self, index: str, project: NormalizedName, filename: str, *, start: int, url: str
    ) -> AsyncIterator[FileBody]:
        """Open the bytes of a file from offset `start`."""
        known = self._find(index, project)
        if (file := known.files.get(filename)) is None:
            raise UpstreamGoneError(f"the index {index} has no file {filename}")
        key = _make_prefix(index, project, known.uploads[filename]) + "content"
        try:
            async with self._bucket.open(key, start) as body:
                yield BodyStream(
                    start=body.start,
                    length=file.size if body.length is None else body.length,
                    chunks=body.chunks,
                    content_type="application/octet-stream",
                    url=url,
                )
        except UpstreamGoneError as error:
            telemetry.security("hosted-file-missing", index=index, filename=filename)
            raise UpstreamError(f"the object storage does not have the published file {filename}") from error

    async def close(self) -> None:
        """Cancel the background work. Idempotent."""
        await self._tasks.close()
        await self._freshness.close()
        await self._threads.close()

    def _find(self, index: str, project: NormalizedName) -> CatalogProject:
        return self._catalogs[index].get(project, _NO_PROJECT)

    async def _store(
        self,
        prefix: str,
        staged: LocalStagedFile,
        file: HostedFile,
        metadata: bytes | None,
        provenance: bytes | None,
    ) -> None:
        try:
            reader = await self._threads.acquire(staged.open_reader, lambda opened: opened.close())
        except OSError as error:
            raise to_storage_error(f"publish {file.filename}", error) from error
        await self._bucket.put_file(f"{prefix}content", reader, Sha256(file.sha256))
        for name, document in (("metadata", metadata), ("provenance", provenance)):
            if document is not None:
                await self._bucket.put(prefix + name, document)

    async def _change_state(
        self, index: str, project: NormalizedName, change: Callable[[ProjectState], ProjectState]
    ) -> None:
        def change_row(raw: bytes | None) -> bytes:
            try:
                return encode_state(change(ProjectState() if raw is None else decode_state(raw)))
            except ValueError as error:
                raise StorageError(f"the status of {project} is damaged: restore it from a backup") from error

        await self._tables.change_state(index, project, change_row)
        await self._show_change(index)

    async def _show_change(self, index: str) -> None:
        """Learn a change that this process has made, and wait until the other processes have learned it too."""
        try:
            await self._freshness.check()
        except StorageError:
            # The change was made. This process shows it as soon as the database answers again.
            telemetry.warning("hosted-unconfirmed", error="the database stopped answering after a change")
        await self.wait_until_visible(index)

    async def _load_changes(self) -> None:
        """Load the changes of all indexes.

        Raises:
            StorageError: the database cannot be read.
        """
        versions = await self._tables.get_versions(self._settings.indexes)
        for index in self._settings.indexes:
            refusal = self._refusals.get(index)
            if refusal is not None and time.monotonic() < refusal.retry_at:
                continue
            try:
                await self._load_index(index, versions.get(index, 0))
            except _IndexTooLargeError as error:
                self._refusals[index] = _Refusal(str(error), time.monotonic() + self._settings.retry_seconds)
                if refusal is None:
                    telemetry.security("hosted-index-too-large", index=index, error=str(error))
            else:
                self._refusals.pop(index, None)

    async def _load_index(self, index: str, version: int) -> None:
        known_version = self._versions.get(index, 0)
        is_certain = not self._freshness.is_away and index not in self._refusals
        if version == known_version and is_certain:
            return
        if version > known_version and is_certain:
            catalog = await self._load(index, self._catalogs[index], known_version)
        else:
            # The database may have been restored from a backup while it was away.
            catalog = await self._load(index, {}, 0)
            if lost := await asyncio.to_thread(find_lost, self._catalogs[index], catalog):
                telemetry.security("hosted-went-back", index=index, files=len(lost), example=lost[0])
        self._catalogs[index], self._versions[index] = catalog, version

    async def _load(self, index: str, known: Catalog, after: int) -> Catalog:
        # The states are read last, so that they are at least as new as the files: no quarantine is missed.
        files = await self._read_rows(index, self._tables.read_files, after)
        states = await self._read_rows(index, self._tables.read_states, after)
        catalog = await asyncio.to_thread(merge_rows, index, known, files, states)
        self._check_weight(index, await asyncio.to_thread(weigh_catalog, catalog))
        return catalog

    async def _read_rows(self, index: str, read: _ReadRows[_RowT], after: int) -> list[_RowT]:
        rows: list[_RowT] = []
        weight, is_last = 0, False
        while not is_last:
            batch, is_last = await read(index, rows[-1].changed if rows else after, _ROWS_AT_ONCE)
            rows += batch
            weight += sum(row.weight for row in batch)
            self._check_weight(index, weight)
            if len(rows) > _MAX_ROWS_PER_INDEX:
                raise _IndexTooLargeError(f"the index {index} has more than {_MAX_ROWS_PER_INDEX} files")
        return rows

    def _check_weight(self, index: str, weight: int) -> None:
        if weight > self._settings.max_index_weight:
            raise _IndexTooLargeError(
                f"the entries of the index {index} have more than {self._settings.max_index_weight} bytes"
            )

    async def _check_quietly(self) -> None:
        try:
            await self._freshness.check()
        except StorageError:
            return  # it was logged, and each request tries again

    async def _check_regularly(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            await self._check_quietly()

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                await self.sweep()
            except AssayError as error:
                telemetry.warning("hosted-sweep-failed", error=str(error))

    async def sweep(self, older_than: timedelta = ABANDONED_AFTER) -> int:
        """Remove the objects of uploads that were not published in time; return the number of these uploads.

        Raises:
            StorageError: the database or the object storage failed.
        """
        swept = 0
        while uploads := await self._tables.abandon_uploads(older_than, _SWEPT_AT_ONCE):
            for each in uploads:
                for name in ("content", "metadata", "provenance"):
                    await self._bucket.remove(
                        _make_prefix(each.index, NormalizedName(each.project), each.upload) + name
                    )
            await self._tables.mark_removed([each.upload for each in uploads])
            swept += len(uploads)
            telemetry.event("hosted-uploads-swept", uploads=len(uploads))
        return swept


def _make_prefix(index: str, project: NormalizedName, upload: str) -> str:
    return f"hosted/{index}/{project}/{upload}/"


def _empty_directory(directory: Path) -> None:
    try:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise to_storage_error(f"use {directory}", error) from error
