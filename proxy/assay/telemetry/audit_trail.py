"""Writer of the audit trail, a hash chain with an entry for each file that was served or refused.

The trail consists of parts (files). The writer owns the part that is being written. A lock file beside it prevents a
second proxy from writing, because two writers would fork the chain. A thread writes the entries in the order in which
they were recorded, all queued entries in one write. The file is synced at most once a second, at rotation and at
shutdown.

If an entry cannot be written, the setting `on-failure` decides. With "refuse", the client gets an error before the
first byte of the file. With "alarm", the client gets the file and a security event is logged. When writing works again,
an entry states how many entries were lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import Field

from assay.errors import StorageError, StorageInUseError
from assay.settings import Settings
from assay.telemetry import events
from assay.telemetry.audit_chain import (
    EMPTY_CHAIN,
    ChainEnd,
    encode_entry,
    list_parts,
    name_rotated_part,
    read_chain_end,
)
from assay.telemetry.metrics import AUDIT_ENTRIES, AUDIT_HEAD, AUDIT_LOST
from assay.units import Size

_SYNC_INTERVAL_SECONDS: Final = 1.0
"""Minimum time between two syncs, in seconds. A power failure can lose the entries since the last sync."""
_HEAD_METRIC_HEX_DIGITS: Final = 12


class OnFailure(StrEnum):
    """Response to a request for a file whose audit entry cannot be written."""

    REFUSE = "refuse"
    ALARM = "alarm"


class AuditSettings(Settings):
    """Location and rotation of the audit trail, and the response to a failed write."""

    path: Path | None = None
    """File that the audit trail is written to. None: no audit trail."""
    on_failure: OnFailure = OnFailure.REFUSE
    """Response to a request whose audit entry cannot be written. ``refuse``: the response is 503. ``alarm``: the file
    is served and a security event is logged."""
    rotate: Annotated[Size, Field(ge=4096)] = 256 * 2**20
    """Size in bytes at which the file of the audit trail is closed and renamed. Later entries go to a new file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLimits:
    """Limits that protect requests and memory if the disk does not respond."""

    write_timeout_seconds: float = 10.0
    """Maximum time in seconds that a request waits until its entry is written."""
    max_queued_entries: int = 10_000


class AuditTrail:
    """Open audit trail, with a queue of entries and the task that writes them.

    Args:
        path: file that entries are appended to.
        rotate_bytes: size in bytes at which the file is rotated.
        on_failure: response to a request whose entry cannot be written.
        clock: returns the current time, for the entries.
        limits: limits on waiting and on queued entries; None: the defaults.
    """

    def __init__(
        self,
        path: Path,
        *,
        rotate_bytes: int,
        on_failure: OnFailure,
        clock: Callable[[], datetime],
        limits: AuditLimits | None = None,
    ) -> None:
        self._limits = limits or AuditLimits()
        self._on_failure = on_failure
        self._clock = clock
        self._file = _TrailFile(path, rotate_bytes)
        self._queue: list[tuple[dict[str, Any], asyncio.Future[None]]] = []
        self._writer_task: asyncio.Task[None] | None = None
        self._lost_entries = 0
        self._failing = False

    @classmethod
    async def open(
        cls, settings: AuditSettings, clock: Callable[[], datetime], limits: AuditLimits | None = None
    ) -> Self | None:
        """Open the configured trail, so that new entries follow its last entry. Return None if no trail is configured.

        Raises:
            StorageError: the trail cannot be written, or its last entry is invalid.
            StorageInUseError: another proxy writes this trail.
        """
        if settings.path is None:
            return None
        trail = cls(
            settings.path, rotate_bytes=settings.rotate, on_failure=settings.on_failure, clock=clock, limits=limits
        )
        await asyncio.to_thread(trail._file.acquire)
        trail._mark_written()
        return trail

    @property
    def head(self) -> ChainEnd:
        """Sequence number and hash of the last entry."""
        return self._file.end

    async def record(self, fields: Mapping[str, Any]) -> None:
        """Append an entry. If `on-failure` is "refuse", wait until the entry is written.

        Raises:
            StorageError: `on-failure` is "refuse" and the entry was not written. The caller must not serve the file.
        """
        written = self._enqueue(fields)
        if self._on_failure is not OnFailure.REFUSE:
            return
        try:
            async with asyncio.timeout(self._limits.write_timeout_seconds):
                await asyncio.shield(written)
        except TimeoutError as error:
            self._failing = True
            raise StorageError(
                f"the audit trail did not take an entry within {self._limits.write_timeout_seconds:.0f} s"
            ) from error

    def record_nowait(self, fields: Mapping[str, Any]) -> None:
        """Append an entry about something that has already happened. Do not wait until it is written."""
        _ = self._enqueue(fields)

    async def ensure_writable(self) -> None:
        """If the last write failed, write an entry to check that the trail can be written again.

        Do nothing if `on-failure` is "alarm".

        Raises:
            StorageError: the trail still cannot be written, so that no file may be served.
        """
        if self._failing and self._on_failure is OnFailure.REFUSE:
            await self.record({"event": "resumed"})

    async def close(self) -> None:
        """Write the queued entries, sync and close the file, and release the lock."""
        if self._writer_task is not None:
            await asyncio.gather(self._writer_task, return_exceptions=True)
        await asyncio.to_thread(self._file.close)

    def _enqueue(self, fields: Mapping[str, Any]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        # `_reject_entries` logs the exception. Reading it here keeps asyncio from logging it again.
        written.add_done_callback(lambda done: done.cancelled() or done.exception())
        if len(self._queue) >= self._limits.max_queued_entries:
            self._reject_entries(
                [written],
                StorageError(
                    f"{self._limits.max_queued_entries} entries already wait to be written to the audit trail"
                ),
            )
            return written
        instant = self._clock().astimezone(UTC).isoformat(timespec="milliseconds")
        self._queue.append(({"time": instant, **fields}, written))
        if self._writer_task is None or self._writer_task.done():
            # An empty context, not this request's: the task also writes the entries of other requests.
            self._writer_task = loop.create_task(
                self._write_queued(), name="audit trail", context=contextvars.Context()
            )
        return written

    async def _write_queued(self) -> None:
        while self._queue:
            batch, self._queue = self._queue, []
            entries = [fields for fields, _ in batch]
            lost, self._lost_entries = self._lost_entries, 0
            if lost:
                entries.insert(0, {"time": entries[0]["time"], "event": "lost", "count": lost})
            try:
                await asyncio.to_thread(self._file.append, entries)
            except StorageError as error:
                self._lost_entries += lost
                self._reject_entries([written for _, written in batch], error)
                continue
            self._mark_written()
            for _, written in batch:
                if not written.done():
                    written.set_result(None)

    def _reject_entries(self, futures: list[asyncio.Future[None]], error: StorageError) -> None:
        events.security("audit-write-failed", entries=len(futures), error=str(error), then=self._on_failure.value)
        AUDIT_LOST.inc(len(futures))
        self._failing = True
        if self._on_failure is OnFailure.ALARM:
            self._lost_entries += len(futures)
        for written in futures:
            if not written.done():
                written.set_exception(StorageError(*error.args))

    def _mark_written(self) -> None:
        self._failing = False
        AUDIT_ENTRIES.set(self._file.end.sequence)
        AUDIT_HEAD.set(int(self._file.end.hash[:_HEAD_METRIC_HEX_DIGITS], 16))


@contextlib.asynccontextmanager
async def open_audit_trail(
    settings: AuditSettings, clock: Callable[[], datetime], limits: AuditLimits | None = None
) -> AsyncIterator[AuditTrail | None]:
    """Open the configured trail as a context. At its end, write the queued entries and close the trail.

    The value of the context is None if no trail is configured.

    Raises:
        StorageError: the trail cannot be written, or its last entry is invalid.
        StorageInUseError: another proxy writes this trail.
    """
    trail = await AuditTrail.open(settings, clock, limits)
    try:
        yield trail
    finally:
        if trail is not None:
            await trail.close()


class _TrailFile:
    """Part of the trail that is being written, with its lock and its last entry.

    Only one thread at a time may use it.
    """

    def __init__(self, path: Path, rotate_bytes: int) -> None:
        self.end = EMPTY_CHAIN
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._descriptor: int | None = None
        self._lock: int | None = None
        self._size = 0
        self._synced = 0.0

    def acquire(self) -> None:
        """Lock the trail and find its last entry.

        Raises:
            StorageError: the trail cannot be written, or its last entry is invalid.
            StorageInUseError: another proxy writes this trail.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release_lock()
            raise StorageInUseError(f"{self._path}: another proxy writes this audit trail; set another path") from error
        except OSError as error:
            self._release_lock()
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
        try:
            self._open_and_recover()
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error

    def append(self, entries: list[dict[str, Any]]) -> None:
        """Append entries to the part.

        Raises:
            StorageError: an entry could not be written or synced; all entries were removed again.
        """
        size = self._size
        try:
            descriptor = self._open_and_recover() if self._descriptor is None else self._descriptor
            size = self._size
            self._write(descriptor, entries)
            is_full = self._size >= self._rotate_bytes
            if is_full or time.monotonic() - self._synced >= _SYNC_INTERVAL_SECONDS:
                os.fdatasync(descriptor)
                self._synced = time.monotonic()
        except OSError as error:
            self._undo_failed_write(size)
            self._close_descriptor()  # so that the next batch finds the end of the file again
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
        if is_full:
            self._try_to_rotate(descriptor)

    def close(self) -> None:
        """Sync and close the file, and release the lock."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._descriptor)
        self._close_descriptor()
        self._release_lock()

    def _release_lock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _write(self, descriptor: int, entries: list[dict[str, Any]]) -> None:
        lines = bytearray()
        end = self.end
        for fields in entries:
            line, end = encode_entry(fields, end)
            lines += line
        view = memoryview(lines)
        while view:
            view = view[os.write(descriptor, view) :]
        self._size += len(lines)
        self.end = end

    def _open_and_recover(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            with os.fdopen(os.dup(descriptor), "rb") as file:
                end, torn = read_chain_end(file, size)
            if end is None:
                end = self._read_previous_end()
            self._size, self.end = size - len(torn), end
            if torn:
                os.ftruncate(descriptor, self._size)
                # A warning, not a security event: a power failure leaves an unfinished line. The entry records the
                # digest of the removed bytes, so that a copy of them can be recognized.
                events.warning("audit-trail-repaired", path=str(self._path), bytes=len(torn))
                cut = {"event": "mended", "bytes": len(torn), "torn": sha256(torn).hexdigest()}
                self._write(descriptor, [{"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **cut}])
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return descriptor

    def _read_previous_end(self) -> ChainEnd:
        earlier = [part for part in list_parts(self._path) if part != self._path]
        if not earlier:
            return EMPTY_CHAIN
        with earlier[-1].open("rb") as file:
            end, torn = read_chain_end(file, earlier[-1].stat().st_size)
        if end is None or torn:
            raise StorageError(f"{earlier[-1]} does not end with a complete entry")
        return end

    def _try_to_rotate(self, descriptor: int) -> None:
        """Rotate the full part. After a failure, a later batch tries again; the entries are written in any case."""
        try:
            self._rotate_file(descriptor)
        except OSError as error:
            self._close_descriptor()
            events.warning("audit-rotation-failed", path=str(self._path), error=error.strerror)

    def _rotate_file(self, descriptor: int) -> None:
        """Rename the full part, make it read-only, and open a new part."""
        self._path.rename(name_rotated_part(self._path, self.end.sequence))
        os.fchmod(descriptor, 0o400)
        self._close_descriptor()
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._open_and_recover()

    def _undo_failed_write(self, size: int) -> None:
        """Remove the bytes of a failed write, so that the part has `size` bytes as before.

        If the removal fails too, an incomplete last line may stay. `_open_and_recover` removes it later and logs an
        event.
        """
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, size)

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
