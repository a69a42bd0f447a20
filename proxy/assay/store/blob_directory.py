"""The blobs' directory and what stands in it: names, sizes, order of use, room. Synchronous; for `blobs` alone.

A finished blob is ``blobs/<first two digits>/<sha256>.<size>``: the size in the name tells a torn or truncated file at
the first look, without reading it; its directory is made when a blob needs it. What is on its way in is in
``blobs/unfinished`` and swept at the next start.

The index of all blobs is in memory (some 200 bytes for each), in order of use; on disk that order is the modification
time, written at most hourly. Unfinished files count towards the limit, so that it holds however many downloads run;
what is open or being published is never evicted. Every method may be called from any thread.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from secrets import token_hex

from assay import telemetry
from assay.errors import StorageError
from assay.ports import BlobUsage, PruneResult
from assay.simple.model import Sha256
from assay.units import format_size

TOUCH_INTERVAL_SECONDS = 3600.0
_BLOB_NAME = re.compile(r"([0-9a-f]{64})\.(0|[1-9][0-9]{0,17})", re.ASCII)
_SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SHARDS = tuple(f"{number:02x}" for number in range(256))


def to_storage_error(action: str, error: OSError) -> StorageError:
    """A disk's refusal as ours, in words."""
    return StorageError(f"cannot {action}: {error.strerror or type(error).__name__}")


class BlobDirectory:
    """What is in the directory.

    Attributes:
        max_bytes: bytes that finished and unfinished blobs may take together.
    """

    def __init__(self, directory: Path, max_bytes: int, clock: Callable[[], float]) -> None:
        self.limit = max_bytes
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: dict[bytes, int] = {}  # by digest, oldest-used first
        self._total = 0
        self._unfinished = 0
        self._open: Counter[bytes] = Counter()

    def scan(self) -> None:
        """Make the directories, sweep what is unfinished, and learn what is there.

        Raises:
            StorageError: the directory cannot be made, read or written.
        """
        try:
            self._make_directories()
            swept = _remove_unfinished(self._directory / "unfinished")
            found = sorted(self._scan_finished())
            # A process that was killed may have made a directory of which the disk knows nothing yet.
            sync_directory(self._directory)
        except OSError as error:
            raise to_storage_error(f"use {self._directory}", error) from error
        with self._lock:
            self._sizes = {digest: size for _, digest, size in found}
            self._total = sum(self._sizes.values())
            pruned = self._evict(self.limit)
        telemetry.event("blobs-found", count=len(found), size=self._total, swept=swept, evicted=pruned.count)

    def _make_directories(self) -> None:
        # Never `parents=True`: when a mount has vanished, nothing may be written where it was.
        for directory in (self._directory, self._directory / "unfinished"):
            directory.mkdir(mode=0o700, exist_ok=True)

    def _make_shard(self, path: Path) -> None:
        """Make the directory of a blob, durably: what stands in a directory that is lost is lost too."""
        self._make_directories()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        sync_directory(self._directory)

    def _scan_finished(self) -> Iterator[tuple[float, bytes, int]]:
        """(time of use, digest, size) of each good blob; a broken one is removed on the way."""
        for shard in _SHARDS:
            if not (self._directory / shard).is_dir():
                continue
            with os.scandir(self._directory / shard) as entries:
                for entry in entries:
                    name = _BLOB_NAME.fullmatch(entry.name)
                    if name is None or not entry.name.startswith(shard) or not entry.is_file(follow_symlinks=False):
                        telemetry.warning("blob-stray", path=entry.path)
                        continue
                    facts = entry.stat(follow_symlinks=False)
                    size = int(name[2])
                    if facts.st_size == size:
                        yield facts.st_mtime, bytes.fromhex(name[1]), size
                    else:
                        _remove_broken(Path(entry.path), f"{size} bytes", f"{facts.st_size} bytes")

    def create_unfinished(self) -> tuple[Path, int]:
        """A new unfinished file: its path, and a descriptor to write to.

        Raises:
            StorageError: none can be made.
        """
        path = self._directory / "unfinished" / token_hex(16)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            try:
                return path, os.open(path, flags, 0o600)
            except FileNotFoundError:
                self._make_directories()  # somebody emptied the directory while we run
                return path, os.open(path, flags, 0o600)
        except OSError as error:
            raise to_storage_error(f"begin a file in {path.parent}", error) from error

    def reserve_bytes(self, size: int) -> None:
        """Count `size` more unfinished bytes, evicting what stands in their way.

        Raises:
            StorageError: the limit does not allow them, whatever is evicted.
        """
        with self._lock:
            if self._total + self._unfinished + size > self.limit:
                self._evict(self.limit - self._unfinished - size)
            if self._total + self._unfinished + size > self.limit:
                raise StorageError(f"no room left in the {format_size(self.limit)} of storage.blobs")
            self._unfinished += size

    def release_bytes(self, size: int) -> None:
        """Uncount unfinished bytes."""
        with self._lock:
            self._unfinished -= size

    def publish(self, unfinished_path: Path, sha256: Sha256, size: int) -> Path:
        """Move a whole, synced file to its digest's place; its reserved bytes become the blob's.

        Raises:
            StorageError: the disk does not take it; the unfinished file is where it was, and counted.
        """
        digest, place = bytes.fromhex(sha256), self._get_path(sha256, size)
        with self._pinned(digest):
            try:
                try:
                    unfinished_path.replace(place)
                except FileNotFoundError:
                    self._make_shard(place)
                    unfinished_path.replace(place)
                with self._lock:
                    self._unfinished -= size
                    self._total += size - self._sizes.pop(digest, 0)
                    self._sizes[digest] = size
            except OSError as error:
                raise to_storage_error(f"publish {place}", error) from error
            sync_directory(place.parent)
        return place

    def open(self, sha256: Sha256) -> tuple[FileIO, int] | None:
        """An unbuffered file and its size, marked as used and safe from eviction until `close`; None: not here."""
        if not _SHA256_HEX.fullmatch(sha256):
            return None
        digest = bytes.fromhex(sha256)
        with self._lock:
            size = self._sizes.pop(digest, None)
            if size is None:
                return None
            self._sizes[digest] = size
            self._open[digest] += 1
        try:
            return self._open_checked(self._get_path(sha256, size), size), size
        except FileNotFoundError:
            self.forget(sha256)
        except OSError as error:
            telemetry.warning("blob-unreadable", sha256=sha256, found=error.strerror)
        self.close(sha256)
        return None

    def _open_checked(self, path: Path, size: int) -> FileIO:
        file = open_unbuffered(path)
        try:
            facts = os.fstat(file.fileno())
            if facts.st_size != size:
                _remove_broken(path, f"{size} bytes", f"{facts.st_size} bytes")
                raise FileNotFoundError
            if self._clock() - facts.st_mtime > TOUCH_INTERVAL_SECONDS:
                _touch(file.fileno(), self._clock())
        except OSError:
            file.close()
            raise
        return file

    def close(self, sha256: Sha256) -> None:
        """Undo one `open`'s protection."""
        digest = bytes.fromhex(sha256)
        with self._lock:
            self._open[digest] -= 1
            if self._open[digest] <= 0:
                del self._open[digest]

    def remove(self, sha256: Sha256) -> None:
        """Delete a blob, if it is here; whoever reads it may finish.

        Raises:
            StorageError: the disk does not let it go.
        """
        size = self.forget(sha256)
        if size is not None:
            try:
                self._get_path(sha256, size).unlink(missing_ok=True)
            except OSError as error:
                raise to_storage_error(f"remove {sha256}", error) from error

    def forget(self, sha256: Sha256) -> int | None:
        """Drop a blob from the index alone: its size, or None."""
        if not _SHA256_HEX.fullmatch(sha256):
            return None
        with self._lock:
            size = self._sizes.pop(bytes.fromhex(sha256), None)
            self._total -= size or 0
        return size

    def prune(self, max_bytes: int) -> PruneResult:
        """Evict, oldest-used first, until at most `max_bytes` bytes of finished blobs are left."""
        with self._lock:
            return self._evict(max_bytes)

    def digests(self) -> list[Sha256]:
        """All finished blobs, oldest-used first."""
        with self._lock:
            return [Sha256(digest.hex()) for digest in self._sizes]

    def usage(self) -> BlobUsage:
        """How full it is."""
        with self._lock:
            return BlobUsage(
                count=len(self._sizes),
                size=self._total,
                unfinished=self._unfinished,
                limit=self.limit,
                opened=len(self._open),
            )

    @contextmanager
    def _pinned(self, digest: bytes) -> Iterator[None]:
        with self._lock:
            self._open[digest] += 1
        try:
            yield
        finally:
            self.close(Sha256(digest.hex()))

    def _evict(self, max_bytes: int) -> PruneResult:
        """Remove oldest-used blobs until `max_bytes` bytes are left. The lock is held."""
        chosen, left = [], self._total
        for digest, size in self._sizes.items():
            if left <= max_bytes:
                break
            if digest not in self._open:
                chosen.append((digest, size))
                left -= size
        count = freed = 0
        for digest, size in chosen:
            try:
                self._get_path(digest.hex(), size).unlink(missing_ok=True)
            except OSError as error:
                telemetry.warning("blob-not-evicted", sha256=digest.hex(), found=error.strerror)
                break
            del self._sizes[digest]
            self._total -= size
            count, freed = count + 1, freed + size
        if count:
            telemetry.event("blobs-evicted", count=count, size=freed)
        return PruneResult(count=count, size=freed)

    def _get_path(self, sha256: str, size: int) -> Path:
        return self._directory / sha256[:2] / f"{sha256}.{size}"


def open_unbuffered(path: Path) -> FileIO:
    """A file for reading; a symbolic link in its place is refused."""
    return FileIO(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW))


def _touch(descriptor: int, now: float) -> None:
    try:
        os.utime(descriptor, (now, now))
    except OSError as error:  # a read-only disk: the order of use is then lost at the next start, nothing else
        telemetry.warning("blob-not-touched", found=error.strerror)


def _remove_unfinished(unfinished_path: Path) -> int:
    swept = 0
    with os.scandir(unfinished_path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                telemetry.warning("blob-stray", path=entry.path)
                continue
            Path(entry.path).unlink()
            swept += 1
    return swept


def _remove_broken(path: Path, expected: str, found: str) -> None:
    telemetry.warning("blob-broken", path=path, expected=expected, found=found)
    path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, as far as the disk lets us."""
    # fsync(2): "Calling fsync() does not necessarily ensure that the entry in the directory containing the file has
    # also reached disk. For that an explicit fsync() on a file descriptor for the directory is also needed."
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:  # the blob stands in its place; only a power failure could lose its name again
        telemetry.warning("directory-not-synced", path=directory, found=error.strerror)
