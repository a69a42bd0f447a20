"""Writer of the audit trail, a hash chain with an entry for each file that was served or refused.

The trail consists of parts (files, `audit_file`), or is on standard output (`audit_stdout`). A lock file beside the
part that is being written prevents a second proxy from writing, because two writers would fork the chain. Closed parts
stay, or are uploaded (`audit_upload`). A thread writes the entries in the order in which
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
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, Self

from pydantic import AfterValidator, Field, model_validator

from assay.caching.call_thread import CallThread
from assay.errors import StorageError
from assay.settings import Settings, make_key_error
from assay.telemetry import events
from assay.telemetry.audit_chain import ChainEnd, EncodedFields, encode_fields
from assay.telemetry.audit_file import TrailFile
from assay.telemetry.audit_parts import WaitingParts
from assay.telemetry.audit_stdout import TrailStdout
from assay.telemetry.lines import format_instant
from assay.telemetry.metrics import AUDIT_ENTRIES, AUDIT_HEAD, AUDIT_LOST
from assay.units import Duration, Size

_HEAD_METRIC_HEX_DIGITS: Final = 12
_MIN_PART_AGE: Final = timedelta(seconds=1)
_MAX_PART_AGE: Final = timedelta(hours=1)


class OnFailure(StrEnum):
    """Response to a request for a file whose audit entry cannot be written."""

    REFUSE = "refuse"
    ALARM = "alarm"


class AuditSink(StrEnum):
    """Place where the audit trail is kept."""

    FILE = "file"
    OBJECTS = "objects"
    STDOUT = "stdout"


def _check_part_age(age: timedelta) -> timedelta:
    if not _MIN_PART_AGE <= age <= _MAX_PART_AGE:
        raise ValueError('between "1 second" and "1 hour"')
    return age


class AuditUploadSettings(Settings):
    """``[audit.upload]``: Parts of the audit trail, with ``sink = "objects"``."""

    part_age: Annotated[Duration, AfterValidator(_check_part_age)] = timedelta(seconds=60)
    """Maximum time until the file is closed and stored as an object, if it has entries. If the volume of a replica is
    lost, so are the entries of this time."""
    part_size: Annotated[Size, Field(ge=4096, le=256 * 2**20)] = 64 * 2**20
    """Size in bytes at which the file is closed before that time."""
    max_waiting: Annotated[Size, Field(ge=8192)] = 2**30
    """Maximum size in bytes of the entries that wait for an object storage that is away. Beyond it, `on-failure`
    decides. It must be at least twice `part-size`."""

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.max_waiting < 2 * self.part_size:
            raise make_key_error("max-waiting", expected="at least twice part-size", found=self.max_waiting)
        return self


class AuditSettings(Settings):
    """Location and rotation of the audit trail, and the response to a failed write."""

    sink: AuditSink = AuditSink.FILE
    """Place where the audit trail is kept. ``file``: in `path` and its closed parts. ``objects``: closed parts are
    stored in the object storage of ``[storage.shared]``, and then removed; each replica has its own chain.
    ``stdout``: on standard output, a line for each entry."""
    path: Path | None = None
    """File that the audit trail is written to. None: no audit trail, unless `sink` is ``stdout``."""
    on_failure: OnFailure = OnFailure.REFUSE
    """Response to a request whose audit entry cannot be written. ``refuse``: the response is 503. ``alarm``: the file
    is served and a security event is logged."""
    rotate: Annotated[Size, Field(ge=4096)] = 256 * 2**20
    """Size in bytes at which the file of the audit trail is closed and renamed. Later entries go to a new file.
    With ``sink = "objects"``, ``audit.upload.part-size`` applies instead."""
    upload: AuditUploadSettings = AuditUploadSettings()

    @model_validator(mode="after")
    def _check_sink(self) -> Self:
        if self.sink is AuditSink.OBJECTS and self.path is None:
            raise make_key_error(
                "path", expected='a file for entries that wait, which sink = "objects" needs', found=None
            )
        if self.sink is AuditSink.STDOUT and self.path is not None:
            raise make_key_error("path", expected='no file with sink = "stdout"', found=str(self.path))
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLimits:
    """Limits that protect requests and memory if the disk does not respond."""

    write_timeout_seconds: float = 10.0
    """Maximum time in seconds that a request waits until its entry is written."""
    max_queued_entries: int = 10_000


class EntryWrite:
    """Entry that is queued, and the result of its write.

    In contrast to a future, it calls all callbacks of a batch directly after each other. A future would schedule each
    one for itself, which takes as much CPU time as writing the entry.

    Args:
        fields: members of the entry.
        queued_at: time of the event loop in seconds.

    Attributes:
        is_done: True if the entry is written or rejected.
        error: reason for which the entry is not written; None if it is written, or not done.
    """

    __slots__ = ("_callbacks", "error", "fields", "is_done", "queued_at")

    def __init__(self, fields: EncodedFields, queued_at: float) -> None:
        self.fields = fields
        self.queued_at = queued_at
        self.is_done = False
        self.error: StorageError | None = None
        self._callbacks: list[Callable[[], None]] = []

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the entry is written or rejected; now if that is already so.

        An exception of the callback goes to the exception handler of the event loop.
        """
        if self.is_done:
            callback()
        else:
            self._callbacks.append(callback)

    def finish(self, error: StorageError | None = None) -> None:
        """Store the result and call the callbacks. Do nothing if the entry has a result already."""
        if self.is_done:
            return
        self.is_done, self.error = True, error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception as fault:  # noqa: BLE001 - the other entries of the batch must get their result
                context = {"message": "a callback of an audit entry failed", "exception": fault}
                asyncio.get_running_loop().call_exception_handler(context)

    async def wait(self) -> None:
        """Wait until the entry is written.

        Raises:
            StorageError: the entry is not written.
        """
        if not self.is_done:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.add_done_callback(lambda: None if done.done() else done.set_result(None))
            await done
        if self.error is not None:
            raise StorageError(*self.error.args)


class TrailWriter(Protocol):
    """Writer of the chain. All methods are blocking; only one thread at a time calls `append`."""

    @property
    def end(self) -> ChainEnd:
        """Last entry."""

    def acquire(self) -> None:
        """Prepare the writer.

        Raises:
            ConfigurationError: the place has another trail.
            StorageError: the place cannot be written.
        """

    def append(self, entries: list[EncodedFields]) -> None:
        """Write entries.

        Raises:
            StorageError: the entries could not be written.
        """

    def close(self) -> None:
        """Write what is buffered, and release the place."""


class AuditTrail:
    """Open audit trail, with a queue of entries and the task that writes them.

    Args:
        writer: writer of the entries.
        on_failure: response to a request whose entry cannot be written.
        clock: returns the current time, for the entries.
        limits: limits on waiting and on queued entries; None: the defaults.
    """

    def __init__(
        self,
        writer: TrailWriter,
        *,
        on_failure: OnFailure,
        clock: Callable[[], datetime],
        limits: AuditLimits | None = None,
    ) -> None:
        self._limits = limits or AuditLimits()
        self._on_failure = on_failure
        self._clock = clock
        self._file = writer
        self._thread = CallThread("audit trail")
        self._queue: list[EntryWrite] = []
        self._batch: list[EntryWrite] = []
        """Entries that the thread is writing."""
        self._timeout_timer: asyncio.TimerHandle | None = None
        self._writer_task: asyncio.Task[None] | None = None
        self._lost_entries = 0
        self._failing = False

    @classmethod
    async def open(
        cls, settings: AuditSettings, clock: Callable[[], datetime], limits: AuditLimits | None = None
    ) -> Self | None:
        """Open the configured trail, so that new entries follow its last entry. Return None if no trail is configured.

        Raises:
            ConfigurationError: the path has a trail for another sink.
            StorageError: the trail cannot be written, or its last entry is invalid.
            StorageInUseError: another proxy writes this trail.
        """
        writer = _make_writer(settings)
        if writer is None:
            return None
        trail = cls(writer, on_failure=settings.on_failure, clock=clock, limits=limits)
        try:
            await trail._thread.run(trail._file.acquire)
        except BaseException:
            trail._thread.stop()
            raise
        trail._mark_written()
        return trail

    @property
    def parts(self) -> TrailFile | None:
        """Parts that are uploaded; None if the sink is not ``objects``."""
        return self._file if isinstance(self._file, TrailFile) and self._file.replica else None

    @property
    def head(self) -> ChainEnd:
        """Sequence number and hash of the last entry."""
        return self._file.end

    def begin_record(self, fields: Mapping[str, Any], encoded: EncodedFields | None = None) -> EntryWrite | None:
        """Append an entry, and return its write.

        Return None if `on-failure` is "alarm", because the caller need not wait then. If the write has an error, the
        caller must not serve the file.

        Args:
            fields: members of the entry.
            encoded: further members, which follow `fields`. The caller may keep and use them again.
        """
        write = self._enqueue(fields, encoded)
        return write if self._on_failure is OnFailure.REFUSE else None

    async def record(self, fields: Mapping[str, Any]) -> None:
        """Append an entry. If `on-failure` is "refuse", wait until the entry is written.

        Raises:
            StorageError: `on-failure` is "refuse" and the entry was not written. The caller must not serve the file.
        """
        if (write := self.begin_record(fields)) is not None:
            await write.wait()

    def record_nowait(self, fields: Mapping[str, Any]) -> None:
        """Append an entry about something that has already happened. Do not wait until it is written."""
        self._enqueue(fields)

    async def ensure_writable(self) -> None:
        """If the last write failed, write an entry to check that the trail can be written again.

        Do nothing if `on-failure` is "alarm".

        Raises:
            StorageError: the trail still cannot be written, so that no file may be served.
        """
        if self._failing and self._on_failure is OnFailure.REFUSE:
            await self.record({"event": "resumed"})

    async def drain(self) -> None:
        """Wait until the entries that are queued now are written, or rejected."""
        if self._writer_task is not None:
            await asyncio.gather(self._writer_task, return_exceptions=True)

    async def close(self) -> None:
        """Write the queued entries, sync and close the file, and release the lock."""
        await self.drain()
        if self._timeout_timer is not None:
            self._timeout_timer.cancel()
        await self._thread.run(self._file.close)
        self._thread.stop()

    def _enqueue(self, fields: Mapping[str, Any], encoded: EncodedFields | None = None) -> EntryWrite:
        loop = asyncio.get_running_loop()
        members = self._encode_now(fields)
        write = EntryWrite(EncodedFields(f"{members},{encoded}") if encoded else members, loop.time())
        if len(self._queue) >= self._limits.max_queued_entries:
            self._reject_entries(
                [write],
                StorageError(
                    f"{self._limits.max_queued_entries} entries already wait to be written to the audit trail"
                ),
            )
            return write
        self._queue.append(write)
        if self._timeout_timer is None:
            self._timeout_timer = loop.call_later(self._limits.write_timeout_seconds, self._expire_entries)
        if self._writer_task is None or self._writer_task.done():
            # An empty context, not this request's: the task also writes the entries of other requests.
            self._writer_task = loop.create_task(
                self._write_queued(), name="audit trail", context=contextvars.Context()
            )
        return write

    def _encode_now(self, fields: Mapping[str, Any]) -> EncodedFields:
        """Return the members of an entry, with the current time as the first one."""
        return encode_fields({"time": format_instant(self._clock().timestamp()), **fields})

    async def _write_queued(self) -> None:
        while self._queue:
            batch, self._queue = self._queue, []
            self._batch = batch
            entries = [each.fields for each in batch]
            lost, self._lost_entries = self._lost_entries, 0
            if lost:
                entries.insert(0, self._encode_now({"event": "lost", "count": lost}))
            try:
                await self._thread.run(partial(self._file.append, entries))
            except StorageError as error:
                self._lost_entries += lost
                self._reject_entries(batch, error)
                continue
            finally:
                self._batch = []
            self._mark_written()
            for each in batch:
                each.finish()

    def _expire_entries(self) -> None:
        """End the wait for the entries that were not written in time. One timer serves all entries."""
        self._timeout_timer = None
        loop, limit = asyncio.get_running_loop(), self._limits.write_timeout_seconds
        waiting = [each for each in (*self._batch, *self._queue) if not each.is_done]
        for each in waiting:
            if (remaining := each.queued_at + limit - loop.time()) > 0:
                self._timeout_timer = loop.call_later(remaining, self._expire_entries)
                return
            self._failing = True
            each.finish(StorageError(f"the audit trail did not take an entry within {limit:.0f} s"))

    def _reject_entries(self, writes: list[EntryWrite], error: StorageError) -> None:
        events.security("audit-write-failed", entries=len(writes), error=str(error), then=self._on_failure.value)
        AUDIT_LOST.inc(len(writes))
        self._failing = True
        if self._on_failure is OnFailure.ALARM:
            self._lost_entries += len(writes)
        for each in writes:
            each.finish(error)

    def _mark_written(self) -> None:
        self._failing = False
        AUDIT_ENTRIES.set(self._file.end.sequence)
        AUDIT_HEAD.set(int(self._file.end.hash[:_HEAD_METRIC_HEX_DIGITS], 16))


def _make_writer(settings: AuditSettings) -> TrailWriter | None:
    if settings.sink is AuditSink.STDOUT:
        return TrailStdout()
    if settings.path is None:
        return None
    if settings.sink is AuditSink.OBJECTS:
        upload = settings.upload
        return TrailFile(settings.path, upload.part_size, WaitingParts(settings.path, upload.max_waiting))
    return TrailFile(settings.path, settings.rotate)


@contextlib.asynccontextmanager
async def open_audit_trail(
    settings: AuditSettings, clock: Callable[[], datetime], limits: AuditLimits | None = None
) -> AsyncIterator[AuditTrail | None]:
    """Open the configured trail as a context. At its end, write the queued entries and close the trail.

    The value of the context is None if no trail is configured.

    Raises:
        ConfigurationError: the path has a trail for another sink.
        StorageError: the trail cannot be written, or its last entry is invalid.
        StorageInUseError: another proxy writes this trail.
    """
    trail = await AuditTrail.open(settings, clock, limits)
    try:
        yield trail
    finally:
        if trail is not None:
            await trail.close()
