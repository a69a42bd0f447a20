"""Directory of blobs, with an index in memory. Synchronous.

Only `blobs` uses this module. A finished blob is the file ``blobs/<first two digits>/<sha256>.<size>``. A truncated
file is detected without reading it, because its name contains the right size. Subdirectories are created when a blob
needs them. Unfinished blobs are in ``blobs/unfinished``, which is emptied at the next start.

The index contains all blobs in order of use (about 200 bytes for each). On disk, the modification time of a blob
records the order. It is written at most once an hour for each blob.

If replicas share an object storage, the index knows which blobs are kept there. Other blobs are evicted last
(`spare_unkept`).

Unfinished blobs count towards the limit, so that the limit holds during any number of downloads. Open blobs, and blobs
that are being published, are not evicted. All methods are thread-safe.

The index also has the identity of each file whose bytes this process has hashed: device, inode, size, and times of
modification and change. If the index has the identity of a blob's file, the blob is verified. Otherwise the file must
be hashed first. The kernel sets the time of change (ctime) at each write, and no program can set it back. A write by
another program therefore changes the identity. A change by the disk itself does not; `blob_scrub` finds such changes.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from assay import telemetry
from assay.errors import StorageError
from assay.ports import BlobUsage, PruneResult
from assay.simple.model import Sha256
from assay.units import format_size

TOUCH_INTERVAL_SECONDS = 3600.0
_BLOB_NAME = re.compile(r"([0-9a-f]{64})\.(0|[1-9][0-9]{0,17})", re.ASCII)
_SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FD_DIRECTORY = Path("/proc/self/fd")
_MAX_BUFFERS_PER_CALL = 512
"""Maximum number of pieces in one call of writev(2). IOV_MAX is 1024 on Linux; POSIX guarantees 16."""
_SHARDS = tuple(f"{number:02x}" for number in range(256))


def to_storage_error(action: str, error: OSError) -> StorageError:
    """Return a `StorageError` for an error of the operating system that occurred during `action`."""
    return StorageError(f"cannot {action}: {error.strerror or type(error).__name__}")


class FileIdentity(NamedTuple):
    """Identity of a file. It changes if bytes are written to the file, or if another file replaces the file."""

    device: int
    inode: int
    size: int
    """Size in bytes."""
    modified_ns: int
    """Time of the last write in nanoseconds since 1970 (mtime)."""
    changed_ns: int
    """Time of the last change of bytes or attributes in nanoseconds since 1970 (ctime)."""

    @classmethod
    def read(cls, descriptor: int) -> FileIdentity:
        """Return the identity of an open file.

        Raises:
            OSError: the file system fails.
        """
        return cls.from_stat(os.fstat(descriptor))

    @classmethod
    def from_stat(cls, facts: os.stat_result) -> FileIdentity:
        """Return the identity in the result of a `stat` call."""
        return cls(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


class OpenedFile(NamedTuple):
    """File of a blob, opened for reading."""

    file: FileIO
    identity: FileIdentity
    is_verified: bool
    """True if this process has hashed the bytes of a file with this identity, and they had the blob's digest."""


class BlobDirectory:
    """Directory of blobs.

    Attributes:
        limit: limit in bytes on the size of finished and unfinished blobs together.
    """

    def __init__(self, directory: Path, max_bytes: int, clock: Callable[[], float]) -> None:
        self.limit = max_bytes
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: dict[bytes, int] = {}  # by digest, least recently used first
        self._verified: dict[bytes, FileIdentity] = {}
        self._kept: set[bytes] = set()
        """Digests of the blobs that are in object storage too."""
        self._spares_unkept = False
        self._total = 0
        self._unfinished = 0
        self._open: Counter[bytes] = Counter()

    def scan(self) -> None:
        """Create the directories, remove unfinished blobs, and build the index of finished ones.

        Raises:
            StorageError: the directory cannot be created, read or written.
        """
        try:
            self._make_directories()
            swept = _remove_unfinished(self._directory / "unfinished")
            found = sorted(self._scan_finished())
            # A process that was killed may have created a directory that is not durable yet.
            sync_directory(self._directory)
        except OSError as error:
            raise to_storage_error(f"use {self._directory}", error) from error
        with self._lock:
            self._sizes = {digest: size for _, digest, size in found}
            self._verified.clear()
            self._kept.clear()
            self._total = sum(self._sizes.values())
            pruned = self._evict(self.limit)
        telemetry.event("blobs-scanned", count=len(found), size=self._total, swept=swept, evicted=pruned.count)

    def _make_directories(self) -> None:
        # Not `parents=True`: if a mount is missing, nothing may be written at its place.
        for directory in (self._directory, self._directory / "unfinished"):
            directory.mkdir(mode=0o700, exist_ok=True)

    def _make_shard(self, path: Path) -> None:
        """Create the subdirectory of a blob durably. Otherwise a power failure could lose it with its blobs."""
        self._make_directories()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        sync_directory(self._directory)

    def _scan_finished(self) -> Iterator[tuple[float, bytes, int]]:
        """Yield the time of use, the digest and the size of each intact blob; remove corrupt blobs."""
        for shard in _SHARDS:
            if not (self._directory / shard).is_dir():
                continue
            with os.scandir(self._directory / shard) as entries:
                for entry in entries:
                    name = _BLOB_NAME.fullmatch(entry.name)
                    if name is None or not entry.name.startswith(shard) or not entry.is_file(follow_symlinks=False):
                        telemetry.warning("unexpected-file", path=entry.path)
                        continue
                    facts = entry.stat(follow_symlinks=False)
                    size = int(name[2])
                    if facts.st_size == size:
                        yield facts.st_mtime, bytes.fromhex(name[1]), size
                    else:
                        _remove_broken(Path(entry.path), Sha256(name[1]), size, facts.st_size)

    def create_unfinished(self) -> tuple[Path, int]:
        """Create the file of an unfinished blob; return its path, and a descriptor for writing.

        Raises:
            StorageError: the file cannot be created.
        """
        path = self._directory / "unfinished" / token_hex(16)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            try:
                return path, os.open(path, flags, 0o600)
            except FileNotFoundError:
                self._make_directories()  # the directory was emptied while this process runs
                return path, os.open(path, flags, 0o600)
        except OSError as error:
            raise to_storage_error(f"begin a file in {path.parent}", error) from error

    def reserve_bytes(self, size: int) -> None:
        """Reserve `size` bytes for an unfinished blob. If the limit requires it, evict finished blobs.

        Raises:
            StorageError: the bytes exceed the limit even after eviction.
        """
        with self._lock:
            if self._total + self._unfinished + size > self.limit:
                self._evict(self.limit - self._unfinished - size)
            if self._total + self._unfinished + size > self.limit:
                raise StorageError(f"the limit storage.blobs ({format_size(self.limit)}) is reached")
            self._unfinished += size

    def release_bytes(self, size: int) -> None:
        """Release `size` bytes that were reserved for an unfinished blob."""
        with self._lock:
            self._unfinished -= size

    def publish(self, unfinished_path: Path, sha256: Sha256, size: int) -> Path:
        """Move a complete, synced file to the path of its digest.

        From then on, the bytes count as a finished blob and not as reserved. The blob is verified, because the caller
        has hashed the bytes.

        Raises:
            StorageError: moving failed; the unfinished file and its reservation are unchanged.
        """
        digest, place = bytes.fromhex(sha256), self._get_path(sha256, size)
        with self._pinned(digest):
            try:
                try:
                    unfinished_path.replace(place)
                except FileNotFoundError:
                    self._make_shard(place)
                    unfinished_path.replace(place)
                identity = FileIdentity.from_stat(place.lstat())
                with self._lock:
                    self._unfinished -= size
                    self._total += size - self._sizes.pop(digest, 0)
                    self._sizes[digest] = size
                    self._verified[digest] = identity
            except OSError as error:
                raise to_storage_error(f"publish {place}", error) from error
            sync_directory(place.parent)
        return place

    def open(self, sha256: Sha256, *, is_use: bool = True) -> OpenedFile | None:
        """Open a blob unbuffered; return None if the blob does not exist.

        The blob is not evicted until `close` is called.

        Args:
            sha256: digest of the blob.
            is_use: True to mark the blob as used, which delays its eviction.
        """
        if not _SHA256_HEX.fullmatch(sha256):
            return None
        digest = bytes.fromhex(sha256)
        with self._lock:
            size = self._sizes.get(digest)
            if size is None:
                return None
            if is_use:
                self._sizes[digest] = self._sizes.pop(digest)
            self._open[digest] += 1
        try:
            return self._open_checked(sha256, size, is_use=is_use)
        except FileNotFoundError:
            self.forget(sha256)
        except OSError as error:
            telemetry.warning("blob-unreadable", sha256=sha256, found=error.strerror)
        self.close(sha256)
        return None

    def _open_checked(self, sha256: Sha256, size: int, *, is_use: bool) -> OpenedFile:
        path, digest = self._get_path(sha256, size), bytes.fromhex(sha256)
        file = open_unbuffered(path)
        try:
            facts = os.fstat(file.fileno())
            if facts.st_size != size:
                _remove_broken(path, sha256, size, facts.st_size)
                raise FileNotFoundError
            identity = FileIdentity.from_stat(facts)
            is_verified = self._verified.get(digest) == identity
            if is_use and self._clock() - facts.st_mtime > TOUCH_INTERVAL_SECONDS:
                _touch(file.fileno(), self._clock())
                identity = FileIdentity.read(file.fileno())
                if is_verified:
                    self.mark_verified(sha256, identity)
        except OSError:
            file.close()
            raise
        return OpenedFile(file, identity, is_verified)

    def is_surely_absent(self, sha256: Sha256) -> bool:
        """Return True if the index does not have the blob; False if it has it, or if another thread uses the index.

        This method never waits, so the event loop may call it.
        """
        if not _SHA256_HEX.fullmatch(sha256):
            return True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return bytes.fromhex(sha256) not in self._sizes
        finally:
            self._lock.release()

    def mark_verified(self, sha256: Sha256, identity: FileIdentity) -> None:
        """Remember that the file with this identity has the bytes of the blob; a blob that is gone is ignored."""
        digest = bytes.fromhex(sha256)
        with self._lock:
            if digest in self._sizes:
                self._verified[digest] = identity

    def spare_unkept(self) -> None:
        """From now on, evict a blob that is not marked as kept only if all others have been evicted."""
        self._spares_unkept = True

    def mark_kept(self, sha256: Sha256) -> None:
        """Remember that the blob is in object storage too; a blob that is gone is ignored."""
        digest = bytes.fromhex(sha256)
        with self._lock:
            if digest in self._sizes:
                self._kept.add(digest)

    def list_unkept(self) -> list[Sha256]:
        """Return the digests of the blobs that are not marked as kept, the least recently used blob first."""
        with self._lock:
            unkept = [digest for digest in self._sizes if digest not in self._kept]
        return [Sha256(digest.hex()) for digest in unkept]

    def close(self, sha256: Sha256) -> None:
        """Undo one `open` of a blob. When all are undone, the blob may be evicted again."""
        digest = bytes.fromhex(sha256)
        with self._lock:
            self._open[digest] -= 1
            if self._open[digest] <= 0:
                del self._open[digest]

    def remove(self, sha256: Sha256) -> None:
        """Delete a blob, if it exists. Readers that are open can still read it.

        Raises:
            StorageError: deleting failed.
        """
        size = self.forget(sha256)
        if size is not None:
            try:
                self._get_path(sha256, size).unlink(missing_ok=True)
            except OSError as error:
                raise to_storage_error(f"remove {sha256}", error) from error

    def remove_corrupt(self, sha256: Sha256, identity: FileIdentity) -> None:
        """Delete a blob whose file has wrong bytes.

        `identity` is the identity of the file that was hashed. If another file has replaced that file, nothing is
        deleted. If deleting fails, only the index forgets the blob. After the next start, the blob is in the index
        again and is hashed at its first use.
        """
        path = self._get_path(sha256, identity.size)
        try:
            current = path.lstat()
            if (current.st_dev, current.st_ino) == (identity.device, identity.inode):
                self.forget(sha256)
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            telemetry.warning("blob-removal-failed", sha256=sha256, found=error.strerror)

    def forget(self, sha256: Sha256) -> int | None:
        """Remove a blob from the index and keep its file; return its size, or None if the blob does not exist."""
        if not _SHA256_HEX.fullmatch(sha256):
            return None
        with self._lock:
            size = self._sizes.pop(bytes.fromhex(sha256), None)
            self._verified.pop(bytes.fromhex(sha256), None)
            self._kept.discard(bytes.fromhex(sha256))
            self._total -= size or 0
        return size

    def prune(self, max_bytes: int) -> PruneResult:
        """Evict the least recently used blobs until at most `max_bytes` bytes of finished blobs are left."""
        with self._lock:
            return self._evict(max_bytes)

    def digests(self) -> list[Sha256]:
        """Return the digests of all finished blobs, the least recently used blob first."""
        with self._lock:
            known = tuple(self._sizes)
        return [Sha256(digest.hex()) for digest in known]

    def usage(self) -> BlobUsage:
        """Return the usage of the directory."""
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
        """Remove the least recently used blobs until at most `max_bytes` bytes are left.

        The caller must hold the lock.
        """
        chosen = self._choose_victims(max_bytes)
        count = freed = unkept = 0
        for digest, size in chosen:
            try:
                self._get_path(digest.hex(), size).unlink(missing_ok=True)
            except OSError as error:
                telemetry.warning("blob-eviction-failed", sha256=digest.hex(), found=error.strerror)
                break
            del self._sizes[digest]
            self._verified.pop(digest, None)
            unkept += self._spares_unkept and digest not in self._kept
            self._kept.discard(digest)
            self._total -= size
            count, freed = count + 1, freed + size
        if count:
            telemetry.event("blobs-evicted", count=count, size=freed)
        if unkept:
            telemetry.warning("unkept-blobs-evicted", count=unkept)
        return PruneResult(count=count, size=freed)

    def _choose_victims(self, max_bytes: int) -> list[tuple[bytes, int]]:
        """Return digest and size of the blobs to evict. Blobs that are spared come after all others."""
        chosen, spared, left = list[tuple[bytes, int]](), list[tuple[bytes, int]](), self._total
        for digest, size in self._sizes.items():
            if left <= max_bytes:
                return chosen
            if digest in self._open:
                continue
            if self._spares_unkept and digest not in self._kept:
                spared.append((digest, size))
                continue
            chosen.append((digest, size))
            left -= size
        for digest, size in spared:
            if left <= max_bytes:
                break
            chosen.append((digest, size))
            left -= size
        return chosen

    def _get_path(self, sha256: str, size: int) -> Path:
        return self._directory / sha256[:2] / f"{sha256}.{size}"


def open_unbuffered(path: Path) -> FileIO:
    """Open a file for reading without a buffer.

    Raises:
        OSError: the file cannot be opened, or is a symbolic link.
    """
    return FileIO(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW))


def reopen(descriptor: int) -> FileIO:
    """Open the file of `descriptor` again for reading. The file needs no name.

    The new descriptor has its own position in the file. A duplicate of `descriptor` would share one position.

    Raises:
        OSError: the file cannot be opened.
    """
    return FileIO(_FD_DIRECTORY / str(descriptor), "rb")


def write_all(descriptor: int, pieces: Sequence[memoryview]) -> None:
    """Write all of `pieces` in order, with few system calls.

    The pieces of a download have the sizes in which the network delivered them. They are not joined, since copying them
    would take 40 ms for 200 MB.

    Raises:
        OSError: writing failed; some pieces may be written.
    """
    left = list(pieces)
    while left:
        written = os.writev(descriptor, list(islice(left, _MAX_BUFFERS_PER_CALL)))
        done = 0
        while done < len(left) and written >= len(left[done]):
            written -= len(left[done])
            done += 1
        left = left[done:]
        if left and written:
            left[0] = left[0][written:]


def _touch(descriptor: int, now: float) -> None:
    try:
        os.utime(descriptor, (now, now))
    except OSError as error:  # on a read-only disk, only the order of use is lost at the next start
        telemetry.warning("blob-touch-failed", found=error.strerror)


def _remove_unfinished(unfinished_path: Path) -> int:
    swept = 0
    with os.scandir(unfinished_path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                telemetry.warning("unexpected-file", path=entry.path)
                continue
            Path(entry.path).unlink()
            swept += 1
    return swept


def report_corrupt(sha256: Sha256, *, found: str) -> None:
    """Log the security event of a blob whose bytes do not have its digest.

    Args:
        sha256: digest of the blob.
        found: digest or size of the stored bytes; if they cannot be read, a description of the error.
    """
    telemetry.security("blob-corrupt", sha256=sha256, found=found)


def _remove_broken(path: Path, sha256: Sha256, expected: int, found: int) -> None:
    report_corrupt(sha256, found=f"{found} bytes, expected {expected}")
    path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the entries of a directory durable. If fsync fails, log a warning."""
    # fsync(2): "Calling fsync() does not necessarily ensure that the entry in the directory containing the file has
    # also reached disk. For that an explicit fsync() on a file descriptor for the directory is also needed."
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:  # the blob is in its place; only a power failure could lose its name
        telemetry.warning("directory-sync-failed", path=directory, found=error.strerror)
