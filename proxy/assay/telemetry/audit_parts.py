"""Closed parts of an audit trail that wait on the disk until an archive has them.

A file beside the trail has the name of the trail and the last entry that the archive has. A trail whose parts were
all uploaded and removed therefore continues its chain. The name contains random digits: if a replica loses its disk,
its new trail has another name, so that no part of the old one is in its way.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
from pathlib import Path
from typing import Final

from assay.errors import ConfigurationError, StorageError
from assay.telemetry.audit_chain import EMPTY_CHAIN, ChainEnd, list_parts

_MAX_STATE_BYTES: Final = 4096
_MAX_HOST_CHARACTERS: Final = 80
_REPLICA: Final = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class WaitingParts:
    """Closed parts of one trail, oldest first. All methods are blocking. Only one thread at a time may use it.

    Args:
        path: file that entries are appended to.
        max_bytes: maximum size of all parts, including the one that is being written, in bytes.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.replica = ""
        """Name of the trail."""
        self.uploaded = EMPTY_CHAIN
        """Last entry that the archive has."""
        self._path = path
        self._max_bytes = max_bytes
        self._bytes = 0

    def open(self) -> None:
        """Read the state of the trail, or name a new trail.

        Raises:
            ConfigurationError: the path has a trail that was not written for uploads.
            StorageError: the state is malformed.
            OSError: the state cannot be read or written.
        """
        try:
            with get_state_path(self._path).open("rb") as file:
                content = file.read(_MAX_STATE_BYTES)
        except FileNotFoundError:
            if any(part.stat().st_size for part in list_parts(self._path)):
                raise ConfigurationError(
                    f'audit.path: {self._path} has a trail of sink = "file"; set another path'
                ) from None
            self.replica = _make_replica_name()
            self._write_state()
        else:
            self.replica, self.uploaded = _parse_state(content, get_state_path(self._path))
        self._bytes = sum(part.stat().st_size for part in self.list())

    def list(self) -> list[Path]:
        """Return the closed parts, oldest first."""
        return [part for part in list_parts(self._path) if part != self._path]

    def add(self, size: int) -> None:
        """Count a new closed part of `size` bytes."""
        self._bytes += size

    def require_room(self, current_bytes: int) -> None:
        """Check that further entries may be written.

        Args:
            current_bytes: size of the part that is being written.

        Raises:
            StorageError: the parts have reached their maximum size.
        """
        if self._bytes + current_bytes >= self._max_bytes:
            raise StorageError(
                f"{self._bytes + current_bytes} bytes of audit entries wait for the object storage, the maximum is"
                f" {self._max_bytes} (audit.upload.max-waiting)"
            )

    def discard(self, part: Path, end: ChainEnd) -> None:
        """Remove a part that the archive has.

        Args:
            part: the oldest part.
            end: its last entry.

        Raises:
            OSError: the state cannot be written, or the part cannot be removed.
        """
        if end.sequence > self.uploaded.sequence:
            self.uploaded = end
            self._write_state()
        size = part.stat().st_size
        part.unlink()
        self._bytes -= size

    def _write_state(self) -> None:
        document = {"replica": self.replica, "sequence": self.uploaded.sequence, "hash": self.uploaded.hash}
        target = get_state_path(self._path)
        temporary = target.with_name(f"{target.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(document).encode())
            file.flush()
            os.fsync(descriptor)
        temporary.replace(target)
        sync_directory(target.parent)


def get_state_path(path: Path) -> Path:
    """Return the path of the state of a trail whose parts are uploaded."""
    return path.with_name(f"{path.name}.uploaded")


def sync_directory(directory: Path) -> None:
    """Write the entries of a directory to the disk. Blocking.

    Raises:
        OSError: they cannot be written.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_replica_name() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname(), flags=re.ASCII)[:_MAX_HOST_CHARACTERS]
    return f"{host}-{secrets.token_hex(4)}"


def _parse_state(content: bytes, path: Path) -> tuple[str, ChainEnd]:
    try:
        document = json.loads(content)
        replica, sequence, digest = document["replica"], document["sequence"], document["hash"]
    except (ValueError, KeyError, TypeError, RecursionError):
        replica, sequence, digest = None, None, None
    if (
        not isinstance(replica, str)
        or not _REPLICA.fullmatch(replica)
        or type(sequence) is not int
        or sequence < 0
        or not isinstance(digest, str)
        or not _HASH.fullmatch(digest)
    ):
        raise StorageError(f"{path}: not the state of an audit trail")
    return replica, ChainEnd(sequence=sequence, hash=digest)
