"""What is kept, as the packages above `store` see it. Pure: protocols and values.

`store` implements them on a directory, diskcache and SQLite; other engines implement the same ones. Everything that is
read back is hostile until checked: blobs are named by their digest, records are parsed by their owner, and a broken one
is removed and fetched again. The ledger is state, not cache.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeAlias

from assay.ports.history import HistoryChanges, ProjectHistory
from assay.ports.notices import Notices
from assay.simple.model import NormalizedName, Sha256

ReportProgress: TypeAlias = Callable[[int, int], None]
"""Called with (done, of how many) now and then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordUsage:
    """How full the records are; sizes in bytes."""

    count: int
    size: int
    limit: int


class RecordStore(Protocol):
    """Small remembered facts by key. Losing one costs a request, never correctness."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None where there is none or it is broken (then it has been removed)."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of `keys` that are there, in one hop."""

    async def put(self, key: str, value: bytes) -> None:
        """Keep `value`; a full or failing store is logged and otherwise ignored: a record is only a cache."""

    async def put_many(self, items: Mapping[str, bytes]) -> None:
        """Keep several in one transaction."""

    async def put_soon(self, items: Mapping[str, bytes]) -> None:
        """As `put_many`, without being waited for unless several others are: whoever reads later finds them."""

    async def delete(self, key: str) -> None:
        """Forget the key, if it is there."""

    async def stats(self) -> RecordUsage:
        """Return how full the store is; zeros if it fails."""

    async def verify(self, progress: ReportProgress | None = None) -> int:
        """Read every record and remove the broken; return how many there were."""


class Blob(Protocol):
    """A finished file's bytes. Holding it keeps them readable, whatever eviction does."""

    @property
    def sha256(self) -> Sha256:
        """The digest that names it."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def file(self) -> BinaryIO:
        """Unbuffered, for sendfile; positions are given explicitly by whoever reads."""

    async def close(self) -> None:
        """Let go of it. Idempotent."""


class PartialBlob(Protocol):
    """A file on its way in: a temporary file that followers read while it grows. One writer."""

    @property
    def bytes_written(self) -> int:
        """Bytes that are in the file and in the hash."""

    @property
    def move_count(self) -> int:
        """How often it has moved to another file: a reader from before ends where the old file does."""

    async def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Write and hash, in order, off the loop. No piece may change until this returns.

        Raises:
            StorageError: the disk does not take it.
        """

    async def digest(self) -> Sha256:
        """SHA-256 of all that was appended."""

    async def open_reader(self) -> BinaryIO:
        """A file object of the caller's own over the same bytes, unbuffered; still good after commit or discard."""

    async def commit(self, expected: Sha256) -> None:
        """fsync, rename to the digest's place, fsync the directory.

        Raises:
            DigestMismatchError: what was appended is not `expected`; it has been discarded.
            StorageError: the disk does not take it; it has been discarded.
        """

    async def discard(self) -> None:
        """Remove the temporary file. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobUsage:
    """How full the blobs are; sizes in bytes."""

    count: int
    size: int
    unfinished: int
    """Bytes on their way in."""
    limit: int
    opened: int
    """Blobs that are being read now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What eviction removed."""

    count: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobVerification:
    """What reading every blob showed."""

    checked: int
    size: int
    """Bytes read."""
    broken: tuple[Sha256, ...]
    """Those whose bytes were others; they have been removed."""


class BlobStore(Protocol):
    """Distributions by SHA-256, bounded by size, oldest-used first out."""

    async def open(self, sha256: Sha256) -> Blob | None:
        """The finished blob, marked as used; None where there is none."""

    async def create_partial(self) -> PartialBlob:
        """Start a new one.

        Raises:
            StorageError: no temporary file can be made.
        """

    async def remove(self, sha256: Sha256) -> None:
        """Forget a blob, if it is there."""

    async def stats(self) -> BlobUsage:
        """Return how full the store is."""

    async def prune(self, max_bytes: int) -> PruneResult:
        """Evict, oldest-used first, down to `max_bytes` bytes."""

    async def verify(self, progress: ReportProgress | None = None) -> BlobVerification:
        """Read every blob, and remove those whose bytes are not their digest's: a security event each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What an import into the ledger found."""

    projects: int
    conflicts: int
    """Filenames that the ledger already knew with another digest; it keeps its own."""


class Ledger(Protocol):
    """What must never be forgotten. Never evicted; written before the page it belongs to is answered."""

    async def get_history(self, index: str, project: NormalizedName) -> ProjectHistory:
        """All that is known.

        Raises:
            LedgerError: it cannot be read.
        """

    async def record(
        self, index: str, project: NormalizedName, changes: HistoryChanges, *, known: ProjectHistory
    ) -> ProjectHistory | None:
        """Add `changes`, durably, if the ledger still knows what `known` says; return what it knows now.

        A filename or fact that is already there is kept as it is; a serial only grows. Without changes, a project that
        was known stays as it is and only `known` is compared.

        Returns:
            None if another writer wrote since `known` was read: nothing was written; judge again.

        Raises:
            LedgerError: it cannot be written; nothing of `changes` is then in it.
        """

    async def list_projects(self) -> list[tuple[str, NormalizedName]]:
        """Return every project ever judged, with its index's name, in a stable order.

        Raises:
            LedgerError: it cannot be read.
        """

    def export(self) -> AsyncIterator[str]:
        """Yield everything as lines of text without their line ends, in a stable order.

        Raises:
            LedgerError: it cannot be read.
        """

    async def import_(self, lines: Iterable[str]) -> ImportResult:
        """Add what `export` wrote, all of it or nothing. What is there already is kept.

        Raises:
            LedgerError: a line is not of that form, or it cannot be written.
        """


class SpooledFile(Protocol):
    """A finished document of the spool. It never changes."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def etag(self) -> str:
        """A strong ETag of the bytes."""

    def open_reader(self) -> AbstractAsyncContextManager[BinaryIO]:
        """Open the document's file, unbuffered, for the caller alone.

        Raises:
            StorageError: it was removed.
        """

    async def remove(self) -> None:
        """Remove the document; who has it open keeps it."""


class SpoolWriter(Protocol):
    """A document being written."""

    async def append(self, chunk: bytes) -> None:
        """Write and hash.

        Raises:
            StorageError: the disk does not take it.
        """

    async def finish(self, name: str) -> SpooledFile:
        """Return the whole document, beside earlier ones of that name.

        Raises:
            StorageError: the disk does not take it.
        """


class Spool(Protocol):
    """Large documents of our own making, whole or not there at all. Nothing outlives the process."""

    def open_writer(self) -> AbstractAsyncContextManager[SpoolWriter]:
        """Begin a document; it is removed unless it is finished within the context."""


class Storage(Protocol):
    """All that is kept: a directory, or another engine."""

    @property
    def blobs(self) -> BlobStore:
        """Finished distributions."""

    @property
    def download_blobs(self) -> BlobStore:
        """The same for downloads: what the disk refuses to take is finished elsewhere, and not kept."""

    @property
    def records(self) -> RecordStore:
        """Remembered facts."""

    @property
    def ledger(self) -> Ledger:
        """What must never be forgotten."""

    @property
    def notices(self) -> Notices:
        """News of what changed."""

    @property
    def directory(self) -> str:
        """Where, for messages."""

    async def open_spool(self) -> Spool:
        """Return the spool, emptied; to be called once.

        Raises:
            StorageError: it cannot be made.
        """

    async def check(self) -> None:
        """Write something and remove it.

        Raises:
            StorageError: the disk does not take it.
        """

    async def close(self) -> None:
        """Remove what is unfinished and let go of everything. Idempotent."""
