"""The storage directory: who may use it, and the three parts in it.

    lock        held by the one process that uses the directory, with its id
    format      the layout's version; its presence says that a ledger must be here
    blobs/      distributions by SHA-256
    records/    remembered facts, a cache
    ledger/     what must never be forgotten
    spool/      large documents of our own making, gone at the next start

Refuses a directory that another process uses, that another user owns or everybody may write to, and one that cannot be
written. Everything in it is made for its owner alone (0700, 0600).
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
from pathlib import Path
from typing import Self

from assay import telemetry
from assay.errors import StorageError, StorageInUseError
from assay.ports import Notice
from assay.store.blob_directory import sync_directory, to_storage_error
from assay.store.blobs import DiskBlobStore
from assay.store.fallback_blobs import FallbackBlobStore
from assay.store.ledger import SqliteLedger
from assay.store.records import DiskcacheRecordStore
from assay.store.settings import StorageSettings
from assay.store.spool import DiskSpool
from assay.store.temp_blobs import TempBlobs

_LAYOUT_VERSION = "1\n"
_MAX_PID_BYTES = 20


class LocalNotices:
    """Notices within the one process that uses the directory: `assay.ports.Notices`."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Notice], None]] = []

    def subscribe(self, act: Callable[[Notice], None]) -> None:
        """Call `act` with every notice from now on."""
        self._subscribers.append(act)

    def publish(self, notice: Notice) -> None:
        """Call all subscribers, in the order in which they subscribed."""
        for act in self._subscribers:
            act(notice)


class StorageDirectory:
    """An open storage directory; `assay.ports.Storage`.

    Attributes:
        blobs, records, ledger: its parts.
        download_blobs: `blobs` that go on in anonymous files where the directory refuses.
        notices: between the parts of this process, the only one that uses the directory.
    """

    def __init__(
        self, locked_directory: _LockedDirectory, settings: StorageSettings, clock: Callable[[], float]
    ) -> None:
        self._directory = directory = locked_directory.directory
        self._lock = locked_directory.lock
        self.blobs = DiskBlobStore(directory / "blobs", settings.blobs, clock)
        self.records = DiskcacheRecordStore(directory / "records", settings.records, clock)
        self.ledger = SqliteLedger(directory / "ledger" / "ledger.db", may_create=locked_directory.fresh)
        self.notices = LocalNotices()
        self._temp_blobs = TempBlobs()
        self.download_blobs = FallbackBlobStore(self.blobs, self._temp_blobs)
        self._spool = DiskSpool(directory / "spool")

    @property
    def directory(self) -> str:
        """Where it is."""
        return str(self._directory)

    @classmethod
    async def open(cls, settings: StorageSettings, *, clock: Callable[[], float] = time.time) -> Self:
        """Take the directory for this process, sweep what an earlier one left unfinished, and open the parts.

        Args:
            settings: where, and how much.
            clock: seconds since 1970.

        Raises:
            StorageInUseError: another process has it.
            StorageError: it cannot be made, read or written, or is not ours.
            LedgerError: the ledger is missing, damaged or of another version.
        """
        taken = await asyncio.to_thread(_lock_directory, settings.directory)
        store = cls(taken, settings, clock)
        try:
            await store.blobs.scan()
            await store.ledger.open()
            await asyncio.to_thread(_write_format, taken.directory)
        except BaseException:
            await store.close()
            raise
        telemetry.event("storage-opened", directory=taken.directory)
        return store

    async def open_spool(self) -> DiskSpool:
        """Return the spool, emptied; to be called once.

        Raises:
            StorageError: its directory cannot be made.
        """
        await self._spool.open()
        return self._spool

    async def check(self) -> None:
        """Write a few bytes where blobs go, and remove them.

        Raises:
            StorageError: the disk does not take them.
        """
        partial = await self.blobs.create_partial()
        try:
            await partial.append(b"ready?")
        finally:
            await partial.discard()

    async def close(self) -> None:
        """Remove what is unfinished, close everything, and let go of the directory. Idempotent."""
        await self._spool.close()
        await self._temp_blobs.close()
        await self.blobs.close()
        await self.records.close()
        await self.ledger.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


async def open_ledger(settings: StorageSettings) -> SqliteLedger:
    """The ledger alone, for reading, even while another process has the directory: what is exported from a live proxy.

    Raises:
        LedgerError: there is none, or it cannot be read.
    """
    ledger = SqliteLedger(settings.directory / "ledger" / "ledger.db", may_create=False, read_only=True)
    try:
        await ledger.open()
    except BaseException:
        await ledger.close()
        raise
    return ledger


def is_directory_used(settings: StorageSettings) -> bool:
    """Return whether the storage directory has ever been used. Blocks."""
    return (settings.directory / "format").exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class _LockedDirectory:
    """A directory that is ours."""

    directory: Path
    lock: int
    """Descriptor of the locked file."""
    fresh: bool
    """It was never used before."""


def _lock_directory(path: Path) -> _LockedDirectory:
    """Lock the directory, once it is fit for use."""
    directory = path.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(directory)
        lock = _acquire_lock(directory / "lock")
        try:
            (directory / "ledger").mkdir(mode=0o700, exist_ok=True)
            fresh = not _has_format(directory / "format")
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise to_storage_error(f"use the storage directory {directory}", error) from error
    return _LockedDirectory(directory=directory, lock=lock, fresh=fresh)


def _check_owner(directory: Path) -> None:
    facts = directory.stat()
    user = os.geteuid()
    # A mounted volume's root may belong to root, and be writable to us by our group (Kubernetes' fsGroup); root could
    # change what is in it anyway. Any other owner could without being asked.
    if facts.st_uid not in {user, 0}:
        raise StorageError(f"the storage directory {directory} belongs to user {facts.st_uid}; Assay runs as {user}")
    if facts.st_uid == user:
        if stat.S_IMODE(facts.st_mode) != stat.S_IRWXU:
            directory.chmod(stat.S_IRWXU)
    elif facts.st_mode & stat.S_IWOTH:
        raise StorageError(f"everybody may write to the storage directory {directory}")


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
            f"the storage directory {path.parent} is in use by process {holder or 'unknown'}; stop it, or give this one"
            " a storage.directory of its own"
        ) from error
    with suppress(OSError):  # a full disk: the lock holds all the same
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
    """Say, durably, that a ledger is here: after it is."""
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
