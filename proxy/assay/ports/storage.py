"""Protocols of storage engines, for the packages above `store`. Pure.

`store` implements them with a directory, diskcache and SQLite. Data that is read back is untrusted until it is checked.
A blob (the bytes of a file) is compared with its digest. A record (a cached value) is parsed strictly by the module
that wrote it. A corrupt blob or record is removed and fetched again. The ledger is state, not cache.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final, Protocol, TypeAlias

from assay.ports.audit import AuditArchive
from assay.ports.flights import Flights
from assay.ports.history import ForgottenFact, ForgottenKind, HistoryChanges, ProjectHistory
from assay.ports.hosted import HostedStorage
from assay.ports.notices import Notices
from assay.ports.objects import Objects
from assay.ports.refusals import Refusals
from assay.ports.reported_hits import ReportedHits
from assay.ports.usage import Usage
from assay.simple.model import NormalizedName, Sha256

ENGINES: Final = ("ledger", "objects")
"""Names of the engines that may be away (`Storage.degraded`)."""
ReportProgress: TypeAlias = Callable[[int, int], None]
"""Callback with the number of finished items and the number of all items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordUsage:
    """Usage of the record store. Sizes are in bytes."""

    count: int
    size: int
    limit: int


class RecordStore(Protocol):
    """Cache of small values by key. A lost record costs a request, and never makes a verdict wrong."""

    @property
    def is_shared(self) -> bool:
        """True if other replicas write records too. A value in memory may then be older than its record."""

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; None if the key has no value. A corrupt value is removed and counts as missing."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values of those `keys` that have one, in one call of the engine."""

    async def put(self, key: str, value: bytes) -> None:
        """Store `value`. An error of the engine is logged and ignored, because a record is only a cache."""

    async def put_many(self, items: Mapping[str, bytes]) -> None:
        """Store several values in one transaction."""

    async def put_soon(self, items: Mapping[str, bytes]) -> None:
        """Store several values, in the background if no other process reads them.

        Later reads of this process return these values even before they are written to disk. A store that several
        replicas share writes them before the call returns, so that a flight never ends before its records exist.
        """

    async def delete(self, key: str) -> None:
        """Delete the value of a key, if it exists."""

    async def stats(self) -> RecordUsage:
        """Return the usage of the store; all numbers are 0 if the engine fails."""

    async def verify(self, progress: ReportProgress | None = None) -> int:
        """Read every record and remove corrupt ones; return the number of removed records."""


class Blob(Protocol):
    """Open blob: the bytes of a stored file. They stay readable until `close`, even if the blob is evicted."""

    @property
    def sha256(self) -> Sha256:
        """SHA-256 of the blob."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    @property
    def file(self) -> BinaryIO:
        """Unbuffered file object, which sendfile can use. Each reader passes offsets and ignores the file position."""

    async def open_reader(self) -> BinaryIO:
        """Open a separate, unbuffered reader of the same bytes, which stays usable after `close`.

        The caller must close it.

        Raises:
            StorageError: the file cannot be opened.
        """

    @property
    def is_verified(self) -> bool:
        """True if this process has hashed the bytes and the file has not been written to since."""

    async def verify(self, on_hashed: Callable[[int], None] | None = None) -> bool:
        """Hash the bytes and return whether they have the blob's digest; if not, remove the blob.

        A corrupt blob is a security event.

        Args:
            on_hashed: called in the event loop with the number of bytes hashed so far, each time that number has grown.

        Raises:
            StorageError: the store is closed.
        """

    async def close(self) -> None:
        """Close the file. Idempotent."""


class PartialBlob(Protocol):
    """Blob in progress: one writer appends to a temporary file, and several readers read it while it grows."""

    @property
    def bytes_written(self) -> int:
        """Number of bytes that have been written and hashed."""

    @property
    def move_count(self) -> int:
        """Number of times that the bytes were moved to another temporary file.

        A reader that was opened before a move reads only the old file.
        """

    async def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Write and hash `pieces` in order, in a thread. The caller must not change them until this method returns.

        Raises:
            StorageError: writing failed.
        """

    async def digest(self) -> Sha256:
        """Return the SHA-256 of all appended bytes."""

    async def open_reader(self) -> BinaryIO:
        """Open an unbuffered reader of the same bytes. The caller must close the reader.

        The reader stays usable after `commit` and `discard`.
        """

    async def commit(self, expected: Sha256) -> None:
        """Make the blob durable under its digest: fsync the file, rename it, fsync the directory.

        Raises:
            DigestMismatchError: the digest is not `expected`; the blob is discarded.
            StorageError: writing failed; the blob is discarded.
        """

    async def discard(self) -> None:
        """Remove the temporary file. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobUsage:
    """Usage of the blob store. Sizes are in bytes."""

    count: int
    size: int
    unfinished: int
    """Bytes of blobs that are being written."""
    limit: int
    opened: int
    """Number of blobs that are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """Number and total bytes of the removed blobs."""

    count: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobVerification:
    """Result of reading and hashing every blob."""

    checked: int
    size: int
    """Number of bytes that were read."""
    broken: tuple[Sha256, ...]
    """Digests of the corrupt blobs, which have been removed."""


class BlobStore(Protocol):
    """Store of files by their SHA-256, with a limit on its size. It evicts the least recently used file first."""

    async def open(self, sha256: Sha256) -> Blob | None:
        """Open a blob and mark it as used; return None if the blob does not exist.

        Its bytes count only if `is_verified` is true or `verify` has returned True.
        """

    async def open_unused(self, sha256: Sha256) -> Blob | None:
        """Open a blob without marking it as used; return None if the blob does not exist."""

    async def create_partial(self) -> PartialBlob:
        """Begin a new blob.

        Raises:
            StorageError: no temporary file can be created.
        """

    async def remove(self, sha256: Sha256) -> None:
        """Remove a blob, if it exists."""

    async def stats(self) -> BlobUsage:
        """Return the usage of the store."""

    def spare_unkept(self) -> None:
        """From now on, evict a blob that is not marked as kept only if all others have been evicted."""

    async def mark_kept(self, sha256: Sha256) -> None:
        """Remember that the blob is in object storage too. A blob that does not exist is ignored."""

    async def list_unkept(self) -> list[Sha256]:
        """Return the digests of the blobs that are not marked as kept, the least recently used blob first.

        After a start, no blob is marked.
        """

    async def prune(self, max_bytes: int) -> PruneResult:
        """Evict the least recently used blobs until at most `max_bytes` bytes are left."""

    async def verify(self, progress: ReportProgress | None = None) -> BlobVerification:
        """Read every blob and remove corrupt ones. Each corrupt blob is a security event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """Result of an import into the ledger."""

    projects: int
    conflicts: int
    """Number of filenames with different digests in the ledger and in the import. The ledger keeps its own digest."""
    replaced: int = 0
    """Number of statements that earlier facts no longer count, which a replacing import has added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """Time and reason of a replacing import, for its statements that earlier facts no longer count."""

    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenNote:
    """Statement that facts about a project no longer count, for the log and the audit trail."""

    index: str
    project: NormalizedName
    fact: ForgottenFact


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenNews:
    """Changes that another process made in the ledger."""

    projects: tuple[tuple[str, NormalizedName], ...] = ()
    """Index and name of each project of which facts no longer count."""
    unannounced: tuple[ForgottenNote, ...] = ()
    """Statements that are neither in the log nor in the audit trail."""


class Ledger(Protocol):
    """Permanent facts about projects: first digests, first sightings, publishers, serials. Nothing is evicted.

    The new facts of a page are written before the page is served.
    """

    async def get_history(self, index: str, project: NormalizedName) -> ProjectHistory:
        """Return all facts about a project; an empty history if the ledger has no facts about it.

        Raises:
            LedgerError: the ledger cannot be read.
        """

    async def record(
        self, index: str, project: NormalizedName, changes: HistoryChanges, *, known: ProjectHistory
    ) -> ProjectHistory | None:
        """Add `changes` durably if the ledger's facts about the project still equal `known`; return the new history.

        An existing file, signer or publisher is never changed, except that a first-seen time is corrected once. The
        serial decreases only if the changes say so. The digest of a provenance document is replaced. Empty `changes`
        write nothing.

        Returns:
            The new history. None if another writer has added facts since `known` was read: nothing is written then, and
            the caller must judge the page again.

        Raises:
            LedgerError: the ledger cannot be written; none of the changes is written.
        """

    async def forget(
        self,
        index: str,
        project: NormalizedName,
        what: ForgottenKind,
        *,
        filenames: Sequence[str] = (),
        at: datetime,
        reason: str,
    ) -> tuple[ForgottenNote, ...]:
        """State that facts of one kind about a project no longer count, and return the new statements.

        No fact is deleted. `filenames` names the files for the kinds `DIGEST`, `EVIDENCE` and `SIGNERS`, and must be
        empty for the other kinds.

        Raises:
            NotFoundError: the ledger has no such fact; nothing is written.
            LedgerError: the ledger cannot be written.
        """

    async def poll_forgotten(self) -> ForgottenNews:
        """Return what other processes have stated since the last call, and what is unannounced.

        Histories in memory are discarded if another process has written. The first call reports no projects.

        Raises:
            LedgerError: the ledger cannot be read.
        """

    async def mark_announced(self, notes: Sequence[ForgottenNote]) -> None:
        """Record that statements are in the log and in the audit trail.

        Raises:
            LedgerError: the ledger cannot be written.
        """

    async def list_projects(self) -> list[tuple[str, NormalizedName]]:
        """Return all projects that have facts, each with the name of its index, in a stable order.

        Raises:
            LedgerError: the ledger cannot be read.
        """

    def export(self) -> AsyncIterator[str]:
        """Yield all facts as text, one line at a time without its line end, in a stable order.

        Raises:
            LedgerError: the ledger cannot be read.
        """

    async def import_(self, lines: Iterable[str], *, replacement: Replacement | None = None) -> ImportResult:
        """Add all facts from lines that `export` wrote, or none of them.

        Without `replacement`, existing facts are kept. With `replacement`, these facts become equal to the lines, for
        each project that the lines contain: its serial, its established publishers, and the digest, first sight,
        signers and provenance document of each file that the lines contain. No fact is deleted: statements make the
        earlier facts invalid.

        Raises:
            LedgerError: a line is malformed, or the ledger cannot be written.
        """


class SpooledFile(Protocol):
    """Complete document on disk, which never changes."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    @property
    def etag(self) -> str:
        """Strong ETag of the bytes."""

    def open_reader(self) -> AbstractAsyncContextManager[BinaryIO]:
        """Open a separate, unbuffered reader of the document.

        Raises:
            StorageError: the document was removed.
        """

    async def remove(self) -> None:
        """Remove the document. Readers that are open can still read it."""


class SpoolWriter(Protocol):
    """Writer of one document of the spool."""

    async def append(self, chunk: bytes) -> None:
        """Write and hash a chunk.

        Raises:
            StorageError: writing failed.
        """

    async def finish(self, name: str) -> SpooledFile:
        """Complete the document and return it. Earlier documents of the same name are kept.

        Raises:
            StorageError: writing failed.
        """


class Spool(Protocol):
    """Temporary store on disk for large documents that Assay generates.

    A document is either complete or absent. No document is kept after the process ends.
    """

    def open_writer(self) -> AbstractAsyncContextManager[SpoolWriter]:
        """Begin a document. If it is not finished before the context ends, it is removed."""


class LocalStorage(Protocol):
    """Parts of a storage that belong to the one process that uses its directory, whatever the engine is."""

    @property
    def blobs(self) -> BlobStore:
        """Store of downloaded files."""

    @property
    def download_blobs(self) -> BlobStore:
        """The store `blobs` with a fallback, for downloads.

        If the disk does not accept a blob, the blob is completed in a temporary file. The blob can then be sent, but it
        is not kept.
        """

    @property
    def usage(self) -> Usage:
        """Record of what clients used."""

    @property
    def reported_hits(self) -> ReportedHits:
        """Record of the advisory hits that were reported."""

    @property
    def refusals(self) -> Refusals:
        """Record of refused requests."""

    @property
    def directory(self) -> str:
        """Location of the storage, as text for messages."""

    async def open_spool(self) -> Spool:
        """Return an empty spool. The method must be called only once.

        Raises:
            StorageError: the spool cannot be created.
        """

    def start_scrub(self) -> None:
        """Start to verify all blobs in the background, unless the settings switch it off. Call this at most once."""

    async def check(self) -> None:
        """Check that the storage is writable, by writing and removing a file.

        Raises:
            StorageError: the storage is not writable.
        """

    async def close(self) -> None:
        """Remove unfinished blobs and release all resources. Idempotent."""


class Storage(LocalStorage, Protocol):
    """Storage engine: the local parts, and records, ledger, notices, flights and objects.

    Several replicas may share the latter.
    """

    @property
    def records(self) -> RecordStore:
        """Cache of records."""

    @property
    def ledger(self) -> Ledger:
        """Ledger of permanent facts."""

    @property
    def notices(self) -> Notices:
        """Channel of notices, by which parts of the proxy learn that facts about a project have changed."""

    @property
    def flights(self) -> Flights:
        """Locks of the work on pages, evidence and files, for all processes that share the storage."""

    @property
    def objects(self) -> Objects | None:
        """Object storage that several replicas share; None if the files are only in the directory."""

    @property
    def degraded(self) -> tuple[str, ...]:
        """Names of `ENGINES` that do not answer now, for ``/readyz``. The proxy works without them within limits."""

    def get_keys(self) -> Sequence[bytes]:
        """Return the secret keys that all replicas have, the one for signatures first; none without replicas."""

    async def open_hosted(self, indexes: Sequence[str], *, read_only: bool = False) -> HostedStorage | None:
        """Open the files of hosted indexes; return None if the storage has no place for them.

        The caller must close them before the storage.

        Args:
            indexes: names of the indexes.
            read_only: True to read the files only. Another process may use them at the same time.

        Raises:
            ConfigurationError: the settings lack what hosted files need.
            StorageInUseError: another process uses the files.
            StorageError: the files are unusable.
        """

    def make_audit_archive(self) -> AuditArchive | None:
        """Return the archive of the audit trails of all replicas; None if the storage is not shared.

        Raises:
            ConfigurationError: there is no object storage, or it does not refuse to create an object twice.
        """
