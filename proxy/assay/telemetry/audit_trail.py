"""The audit trail's writer: what was served and refused, appended in order, off the loop, and chained.

Owns the file that is being written, alone (a lock file beside it keeps a second proxy away: two would fork the chain).
Entries are written in the order in which they were recorded, all that wait in one write; files are synced at most each
second, at rotation and at the end. What cannot be written is, by `on-failure`, refused to the client before its first
byte, or an alarm and, once writing works again, an entry that says how many are missing.
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
"""Seconds: what a power cut may take of the trail."""
_HEAD_METRIC_HEX_DIGITS: Final = 12


class OnFailure(StrEnum):
    """What becomes of a file whose entry cannot be written."""

    REFUSE = "refuse"
    ALARM = "alarm"


class AuditSettings(Settings):
    """Whether and where there is a trail."""

    path: Path | None = None
    """None: no trail."""
    on_failure: OnFailure = OnFailure.REFUSE
    """What becomes of a file whose line cannot be written: ``refuse``, 503; ``alarm``, it is served, and an alarm."""
    rotate: Annotated[Size, Field(ge=4096)] = 256 * 2**20
    """Bytes from which on a part is closed and the next one begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLimits:
    """What a disk that hangs may cost."""

    write_timeout_seconds: float = 10.0
    """Seconds that a request waits for its entry."""
    max_queued_entries: int = 10_000


class AuditTrail:
    """One trail, open."""

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
        """The trail of these settings, continued where it ends; None where there is to be none.

        Raises:
            StorageError: it cannot be written, or does not end in a sound entry.
            StorageInUseError: another proxy writes it.
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
        """The last entry's number and hash."""
        return self._file.end

    async def record(self, fields: Mapping[str, Any]) -> None:
        """Append an entry; with "refuse", wait until it is written.

        Raises:
            StorageError: it is not, and with "refuse" what it is about must not happen.
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
        """Append an entry about what has happened already: nobody waits for it."""
        _ = self._enqueue(fields)

    async def ensure_writable(self) -> None:
        """Nothing while writing works or failure is only an alarm; else try again.

        Raises:
            StorageError: it cannot be written, so that no file can be served.
        """
        if self._failing and self._on_failure is OnFailure.REFUSE:
            await self.record({"event": "resumed"})

    async def close(self) -> None:
        """Write what waits, sync, and let go of it."""
        if self._writer_task is not None:
            await asyncio.gather(self._writer_task, return_exceptions=True)
        await asyncio.to_thread(self._file.close)

    def _enqueue(self, fields: Mapping[str, Any]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        # An exception that nobody awaits is told in `_reject_entries`, not once more by the loop.
        written.add_done_callback(lambda done: done.cancelled() or done.exception())
        if len(self._queue) >= self._limits.max_queued_entries:
            self._reject_entries(
                [written], StorageError(f"{self._limits.max_queued_entries} entries wait for the audit trail already")
            )
            return written
        instant = self._clock().astimezone(UTC).isoformat(timespec="milliseconds")
        self._queue.append(({"time": instant, **fields}, written))
        if self._writer_task is None or self._writer_task.done():
            # In a context of its own: it writes for other requests too.
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
        events.security("audit-not-written", entries=len(futures), error=str(error), then=self._on_failure.value)
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
    """`AuditTrail.open`, closed with all that waits written.

    Raises:
        StorageError: it cannot be written, or does not end in a sound entry.
        StorageInUseError: another proxy writes it.
    """
    trail = await AuditTrail.open(settings, clock, limits)
    try:
        yield trail
    finally:
        if trail is not None:
            await trail.close()


class _TrailFile:
    """The file that is being written, and its end. Used by one thread at a time."""

    def __init__(self, path: Path, rotate_bytes: int) -> None:
        self.end = EMPTY_CHAIN
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._descriptor: int | None = None
        self._lock: int | None = None
        self._size = 0
        self._synced = 0.0

    def acquire(self) -> None:
        """Lock the trail and find its end."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageInUseError(f"{self._path}: another proxy writes this audit trail") from error
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
        try:
            self._open_and_recover()
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error

    def append(self, entries: list[dict[str, Any]]) -> None:
        """Write `entries` behind the last one.

        Raises:
            StorageError: not all could be written, so that none is in the trail; or the trail could not be rotated.
        """
        try:
            descriptor = self._open_and_recover() if self._descriptor is None else self._descriptor
            self._write(descriptor, entries)
            if self._size >= self._rotate_bytes:
                self._rotate_file(descriptor)
            elif time.monotonic() - self._synced >= _SYNC_INTERVAL_SECONDS:
                os.fdatasync(descriptor)
                self._synced = time.monotonic()
        except OSError as error:
            self._undo_failed_write()
            self._close_descriptor()  # the next batch looks where the file really ends
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Sync and let go."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._descriptor)
        self._close_descriptor()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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
                # Not an accusation: a power cut does this. The entry keeps what was there comparable.
                events.warning("audit-trail-mended", path=str(self._path), bytes=len(torn))
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
            raise StorageError(f"{earlier[-1]} does not end in a finished entry")
        return end

    def _rotate_file(self, descriptor: int) -> None:
        """Close this part and begin the next."""
        os.fsync(descriptor)
        os.fchmod(descriptor, 0o400)
        self._path.rename(name_rotated_part(self._path, self.end.sequence))
        self._close_descriptor()
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._open_and_recover()

    def _undo_failed_write(self) -> None:
        """Cut off what a failed write left; where even that fails, `_open_and_recover` does it later and says so."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
