"""Lock, owner and layout of a storage directory.

    lock        locked by the one process that uses the directory; contains its process id
    format      layout of the directory

A directory is refused if another process uses it, if its owner is neither Assay's user nor root, if it is not writable,
or if it has another layout. It is also refused if root owns it and all users may write to it. Its mode is 0700.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.errors import ConfigurationError, StorageError, StorageInUseError
from assay.store.blob_directory import sync_directory, to_storage_error

EMBEDDED_LAYOUT: Final = "1\n"
"""Layout of a directory with a separate ledger and separate records."""
SHARED_LAYOUT: Final = "shared 1\n"
"""Layout of a directory that is the local tier of a storage that several replicas share."""
_MAX_PID_BYTES = 20
_EXPLANATIONS: Final = {
    EMBEDDED_LAYOUT: (
        "has an embedded ledger, which a shared storage does not use. Move its facts: export them with a configuration"
        " that has no [storage.shared] (assay ledger export FILE), import them with one that has it (assay ledger"
        " import FILE), and then set another storage.directory or remove this one"
    ),
    SHARED_LAYOUT: (
        "is the local tier of a shared storage ([storage.shared]) and has no ledger; set another storage.directory for"
        " a proxy with an embedded ledger"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedDirectory:
    """Storage directory that this process has locked."""

    directory: Path
    lock: int
    """Descriptor of the lock file. Closing it unlocks the directory."""
    is_new: bool
    """True if no proxy has used the directory before."""


def lock_directory(path: Path, layout: str) -> LockedDirectory:
    """Create the storage directory if necessary, check its owner and layout, and lock it for this process. Blocking.

    Raises:
        StorageInUseError: another process uses the directory.
        StorageError: the directory is unusable, or has an unknown layout.
        ConfigurationError: the directory has the layout of the other engine.
    """
    directory = path.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(directory)
        lock = _acquire_lock(directory / "lock")
        try:
            is_new = not _has_layout(directory, layout)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise to_storage_error(f"use the storage directory {directory}", error) from error
    return LockedDirectory(directory=directory, lock=lock, is_new=is_new)


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


def _has_layout(directory: Path, layout: str) -> bool:
    """Return whether the directory has a layout; False if no proxy has used it.

    Raises:
        ConfigurationError: the directory has the layout of the other engine.
        StorageError: the directory has an unknown layout.
    """
    path = directory / "format"
    try:
        found = path.read_text("ascii", errors="replace")
    except FileNotFoundError:
        has_ledger = any((directory / "ledger").glob("ledger.db*"))
        if layout == EMBEDDED_LAYOUT or not has_ledger:
            return False
        found = EMBEDDED_LAYOUT
    if found == layout:
        return True
    if (explanation := _EXPLANATIONS.get(found)) is not None:
        raise ConfigurationError(f"the storage directory {directory} {explanation}")
    raise StorageError(f"{path}: expected layout {layout.strip()!r}, found {found[:20].strip()!r}")


def write_layout(directory: Path, layout: str) -> None:
    """Write the layout durably, unless the directory has it. Call this after the ledger has been created. Blocking.

    Raises:
        StorageError: the file cannot be written.
    """
    path = directory / "format"
    if path.exists():
        return
    sync_directory(directory)
    try:
        descriptor = os.open(directory / "format.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, layout.encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        (directory / "format.new").replace(path)
        sync_directory(directory)
    except OSError as error:
        raise to_storage_error(f"write {path}", error) from error
