"""Storage directory: its lock, its owner and its parts.

    lock        locked by the one process that uses the directory; contains its process id
    format      version of the layout; if it exists, a ledger must exist too
    blobs/      files by SHA-256
    records/    cache of records
    ledger/     permanent facts
    activity/   history of what clients used and of refused requests
    spool/      temporary large documents, removed at the next start

A directory is refused if another process uses it, if its owner is neither Assay's user nor root, or if it is not
writable. It is also refused if root owns it and all users may write to it. All files in it are created for the owner
only (0700, 0600).

A directory that has been used but has no ledger is refused too, unless the operator asks for a new ledger.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from assay import telemetry
from assay.errors import LedgerError, StorageError, StorageInUseError
from assay.ports import Notice
from assay.store.activity.database import ActivityDatabase
from assay.store.activity.refusals import RefusalRecord
from assay.store.activity.reported_hits import ReportedHitRecord
from assay.store.activity.usage import UsageRecord
from assay.store.blob_directory import sync_directory, to_storage_error
from assay.store.blob_scrub import BlobScrub
from assay.store.blobs import DiskBlobStore
from assay.store.fallback_blobs import FallbackBlobStore
from assay.store.ledger.ledger import SqliteLedger
from assay.store.records import DiskcacheRecordStore
from assay.store.settings import StorageSettings
from assay.store.spool import DiskSpool
from assay.store.temp_blobs import TempBlobs

_LAYOUT_VERSION = "1\n"
_MAX_PID_BYTES = 20
_LEDGER_PATH = Path("ledger/ledger.db")
"""Path of the ledger in the storage directory."""


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class LocalNotices:
    """Channel of notices within the process that uses the directory (`assay.ports.Notices`)."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Notice], None]] = []

    def subscribe(self, act: Callable[[Notice], None]) -> None:
        """Call `act` with each notice that is published after this call."""
        self._subscribers.append(act)

    def publish(self, notice: Notice) -> None:
        """Call all subscribers in the order in which they subscribed."""
        for act in self._subscribers:
            act(notice)


class StorageDirectory:
    """Open storage directory (`assay.ports.Storage`).

    Attributes:
        blobs, records, ledger: parts of the directory.
        download_blobs: blob store for downloads. It uses `blobs`. If `blobs` does not accept a new blob, the blob is
            written to an anonymous file instead.
        usage: record of what clients used.
        reported_hits: record of the advisory hits that were reported.
        refusals: record of refused requests.
        notices: channel between the parts of this process. No other process uses the directory.
    """

    def __init__(
        self,
        locked_directory: _LockedDirectory,
        settings: StorageSettings,
        clock: Callable[[], float],
        utc_clock: Callable[[], datetime],
    ) -> None:
        self._directory = directory = locked_directory.directory
        self._lock = locked_directory.lock
        self.blobs = DiskBlobStore(directory / "blobs", settings.blobs, clock)
        self.records = DiskcacheRecordStore(directory / "records", settings.records, clock)
        self.ledger = SqliteLedger(directory / _LEDGER_PATH, may_create=locked_directory.may_create_ledger)
        self.notices = LocalNotices()
        self._activity = ActivityDatabase(directory / "activity" / "activity.db", utc_clock)
        self.usage = UsageRecord(self._activity, utc_clock)
        self.reported_hits = ReportedHitRecord(self._activity)
        self.refusals = RefusalRecord(self._activity, utc_clock)
        self._temp_blobs = TempBlobs()
        self.download_blobs = FallbackBlobStore(self.blobs, self._temp_blobs)
        self._spool = DiskSpool(directory / "spool")
        self._scrub = BlobScrub(self.blobs, settings.verify_every, clock) if settings.verify_every else None

    @property
    def directory(self) -> str:
        """Path of the directory."""
        return str(self._directory)

    @classmethod
    async def open(
        cls,
        settings: StorageSettings,
        *,
        clock: Callable[[], float] = time.time,
        utc_clock: Callable[[], datetime] = utc_now,
        new_ledger: bool = False,
    ) -> Self:
        """Lock the directory for this process, remove unfinished blobs of an earlier process, and open all parts.

        Args:
            settings: path and limits.
            clock: returns the time in seconds since 1970.
            utc_clock: returns the current time in UTC, for the record of activity.
            new_ledger: True to create an empty ledger if the directory has been used and its ledger is missing. An
                existing ledger is used as it is.

        Raises:
            StorageInUseError: another process uses the directory.
            StorageError: the directory cannot be created, read or written, or belongs to another user.
            LedgerError: the ledger is missing, damaged or of another version.
        """
        taken = await asyncio.to_thread(_lock_directory, settings.directory, new_ledger=new_ledger)
        store = cls(taken, settings, clock, utc_clock)
        try:
            await store.blobs.scan()
            await store.ledger.open()
            await asyncio.to_thread(_write_format, taken.directory)
        except BaseException:
            await store.close()
            raise
        if new_ledger:
            telemetry.warning(
                "new-ledger" if taken.has_lost_ledger else "new-ledger-ignored", directory=taken.directory
            )
        telemetry.event("storage-opened", directory=taken.directory)
        return store

    async def open_spool(self) -> DiskSpool:
        """Return an empty spool. Call this method only once.

        Raises:
            StorageError: the directory of the spool cannot be created.
        """
        await self._spool.open()
        return self._spool

    def start_scrub(self) -> None:
        """Start the background verification of all blobs, unless it is switched off. Call this at most once."""
        if self._scrub is not None:
            self._scrub.start()

    async def check(self) -> None:
        """Check that blobs can be written: write a small file and remove it.

        Raises:
            StorageError: writing failed.
        """
        partial = await self.blobs.create_partial()
        try:
            await partial.append(b"ready?")
        finally:
            await partial.discard()

    async def close(self) -> None:
        """Remove unfinished blobs, close all parts, and unlock the directory. Idempotent."""
        if self._scrub is not None:
            await self._scrub.close()
        await self.usage.close()
        await self.refusals.close()
        await self._activity.close()
        await self._spool.close()
        await self._temp_blobs.close()
        await self.blobs.close()
        await self.records.close()
        await self.ledger.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


async def open_ledger(settings: StorageSettings) -> SqliteLedger:
    """Open only the ledger, for reading. Another process may use the directory at the same time.

    Raises:
        LedgerError: the ledger does not exist or cannot be read.
    """
    return await _open(SqliteLedger(settings.directory / _LEDGER_PATH, may_create=False, read_only=True))


async def open_ledger_beside(settings: StorageSettings) -> SqliteLedger:
    """Open only the ledger, for reading and writing. Another process may use the directory at the same time.

    The ledger is not migrated, because the other process may be of an earlier version.

    Raises:
        LedgerError: the ledger does not exist, cannot be read, or has an earlier schema version.
    """
    return await _open(SqliteLedger(settings.directory / _LEDGER_PATH, may_create=False, may_migrate=False))


async def _open(ledger: SqliteLedger) -> SqliteLedger:
    try:
        await ledger.open()
    except BaseException:
        await ledger.close()
        raise
    return ledger


def is_directory_used(settings: StorageSettings) -> bool:
    """Return whether a proxy has used the storage directory before. Blocking."""
    return (settings.directory / "format").exists()


def require_ledger(directory: Path) -> None:
    """Check that a storage directory that has been used has a ledger. Blocking.

    Raises:
        LedgerError: the directory has been used, and its ledger is missing or empty.
    """
    if _has_lost_ledger(directory):
        raise LedgerError(
            f"the storage directory {directory} has been used, but its ledger {_LEDGER_PATH} is missing or empty;"
            " restore the ledger from a backup, or import an export with: assay ledger import FILE --new-ledger; or"
            " begin without any history: assay serve --new-ledger (every file and publisher then counts as seen for the"
            " first time)"
        )


def _has_lost_ledger(directory: Path) -> bool:
    """Return whether a storage directory has been used, and its ledger is missing or empty.

    A start that was interrupted leaves a directory that has not been used: with `ledger`, without `format`, and without
    a file in `blobs` and `records`.
    """
    with suppress(FileNotFoundError):
        if (directory / _LEDGER_PATH).stat().st_size:
            return False
    if (directory / "format").exists():
        return True
    parts = (directory / "blobs", directory / "records")
    if not (directory / _LEDGER_PATH).parent.exists() and all(part.exists() for part in parts):
        return True
    return any(files for part in parts for _, _, files in os.walk(part))


@dataclass(frozen=True, slots=True, kw_only=True)
class _LockedDirectory:
    """Storage directory that this process has locked."""

    directory: Path
    lock: int
    """Descriptor of the lock file."""
    may_create_ledger: bool
    """True if no proxy has used the directory before, or if the operator asked for a new ledger."""
    has_lost_ledger: bool
    """True if the directory has been used, and its ledger is missing or empty."""


def _lock_directory(path: Path, *, new_ledger: bool) -> _LockedDirectory:
    """Create the storage directory if necessary, check its owner and its ledger, and lock it for this process."""
    directory = path.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(directory)
        lock = _acquire_lock(directory / "lock")
        try:
            fresh = not _has_format(directory / "format")
            has_lost_ledger = _has_lost_ledger(directory)
            if not new_ledger:
                require_ledger(directory)
            (directory / _LEDGER_PATH).parent.mkdir(mode=0o700, exist_ok=True)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise to_storage_error(f"use the storage directory {directory}", error) from error
    return _LockedDirectory(
        directory=directory, lock=lock, may_create_ledger=fresh or has_lost_ledger, has_lost_ledger=has_lost_ledger
    )


def _check_owner(directory: Path) -> None:
    facts = directory.stat()
    user = os.geteuid()
    # The root of a mounted volume may belong to root and be writable for this process by its group (Kubernetes'
    # fsGroup). root can change the contents in any case; no other user may be able to.
    if facts.st_uid not in {user, 0}:
        raise StorageError(f"the storage directory {directory} belongs to user {facts.st_uid}; Assay runs as {user}")
    if facts.st_uid == user:
        if stat.S_IMODE(facts.st_mode) != stat.S_IRWXU:
            directory.chmod(stat.S_IRWXU)
    elif facts.st_mode & stat.S_IWOTH:
        raise StorageError(f"all users may write to the storage directory {directory}")


def _acquire_lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, _MAX_PID_BYTES, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        if error.errno != errno.EWOULDBLOCK:
            raise
        raise StorageInUseError(
            f"the storage directory {path.parent} is in use by process {holder or 'unknown'}; stop that process, or set"
            " another storage.directory for this one"
        ) from error
    with suppress(OSError):  # on a full disk the process id is missing, but the lock is effective
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _has_format(path: Path) -> bool:
    try:
        found = path.read_text("ascii", errors="replace")
    except FileNotFoundError:
        return False
    if found != _LAYOUT_VERSION:
        raise StorageError(f"{path}: expected layout {_LAYOUT_VERSION.strip()!r}, found {found[:20].strip()!r}")
    return True


def _write_format(directory: Path) -> None:
    """Write the file `format` durably. Call this after the ledger has been created."""
    path = directory / "format"
    if path.exists():
        return
    sync_directory(directory / "ledger")
    sync_directory(directory)
    try:
        descriptor = os.open(directory / "format.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, _LAYOUT_VERSION.encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        (directory / "format.new").replace(path)
        sync_directory(directory)
    except OSError as error:
        raise to_storage_error(f"write {path}", error) from error
