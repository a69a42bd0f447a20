"""Part of the audit trail that is being written: its lock, its repair after a crash, and its rotation."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from assay.errors import ConfigurationError, StorageError, StorageInUseError
from assay.telemetry import events
from assay.telemetry.audit_chain import (
    EMPTY_CHAIN,
    ChainEnd,
    EncodedFields,
    encode_entries,
    encode_fields,
    list_parts,
    name_rotated_part,
    read_chain_end,
)
from assay.telemetry.audit_parts import WaitingParts, get_state_path, sync_directory

_SYNC_INTERVAL_SECONDS: Final = 1.0
"""Minimum time between two syncs, in seconds. A power failure can lose the entries since the last sync."""


class TrailFile:
    """Part of the trail that is being written, with its lock and its last entry. All methods are blocking.

    Args:
        path: file that entries are appended to.
        rotate_bytes: size in bytes at which the file is closed and renamed.
        waiting: closed parts that are uploaded and then removed; None to keep them.
    """

    def __init__(self, path: Path, rotate_bytes: int, waiting: WaitingParts | None = None) -> None:
        self.end = EMPTY_CHAIN
        self._waiting = waiting
        self._busy = threading.Lock()
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._descriptor: int | None = None
        self._lock: int | None = None
        self._size = 0
        self._synced = 0.0

    def acquire(self) -> None:
        """Lock the trail and find its last entry.

        Raises:
            ConfigurationError: the path has a trail for another sink.
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
            self._open_waiting()
            self._open_and_recover()
        except OSError as error:
            self._release_lock()
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
        except BaseException:
            self._release_lock()
            raise

    def _open_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.open()
        elif get_state_path(self._path).exists():
            raise ConfigurationError(f'audit.path: {self._path} has a trail of sink = "objects"; set another path')

    def append(self, entries: list[EncodedFields]) -> None:
        """Append entries to the part.

        Raises:
            StorageError: an entry could not be written or synced; all entries were removed again. Or too many bytes
                wait for an upload.
        """
        with self._busy:
            self._append(entries)

    def _append(self, entries: list[EncodedFields]) -> None:
        if self._waiting is not None:
            self._waiting.require_room(self._size)
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

    @property
    def replica(self) -> str:
        """Name of the trail in the archive; empty if its parts are not uploaded."""
        return "" if self._waiting is None else self._waiting.replica

    def rotate(self) -> None:
        """Close the part that is being written, if it has entries. After a failure, a later call tries again.

        Raises:
            StorageError: the part cannot be synced.
        """
        with self._busy:
            try:
                descriptor = self._open_and_recover() if self._descriptor is None else self._descriptor
                if not self._size:
                    return
                os.fdatasync(descriptor)
            except OSError as error:
                self._close_descriptor()
                raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
            self._try_to_rotate(descriptor)

    def list_waiting(self) -> list[Path]:
        """Return the closed parts that are not uploaded, oldest first."""
        return [] if self._waiting is None else self._waiting.list()

    def discard(self, part: Path, end: ChainEnd) -> None:
        """Remove the oldest part, which the archive has.

        Args:
            part: the part.
            end: its last entry.

        Raises:
            StorageError: the part cannot be removed.
        """
        with self._busy:
            try:
                if self._waiting is not None:
                    self._waiting.discard(part, end)
            except OSError as error:
                raise StorageError(f"{part}: cannot be removed: {error.strerror}") from error

    def close(self) -> None:
        """Sync and close the file, and release the lock."""
        with self._busy:
            if self._descriptor is not None:
                with contextlib.suppress(OSError):
                    os.fsync(self._descriptor)
            self._close_descriptor()
            self._release_lock()

    def _release_lock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _write(self, descriptor: int, entries: list[EncodedFields]) -> None:
        lines, end = encode_entries(entries, self.end)
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
                instant = datetime.now(UTC).isoformat(timespec="milliseconds")
                self._write(descriptor, [encode_fields({"time": instant, **cut})])
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return descriptor

    def _read_previous_end(self) -> ChainEnd:
        earlier = [part for part in list_parts(self._path) if part != self._path]
        if not earlier:
            return EMPTY_CHAIN if self._waiting is None else self._waiting.uploaded
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
        if self._waiting is not None:
            self._waiting.add(self._size)
        os.fchmod(descriptor, 0o400)
        self._close_descriptor()
        sync_directory(self._path.parent)
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
