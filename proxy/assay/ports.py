"""The outside world as the upper layers see it: short protocols for what is kept. Pure: no implementation here.

`store` implements them on a directory, diskcache and SQLite; other engines implement the same ones. Everything that is
read back is hostile until checked: blobs are named by their digest, records are parsed by their owner, and a broken one
is removed and fetched again. The ledger is state, not cache.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Protocol

from assay.evidence import PublisherIdentity
from assay.indexes import IndexSettings
from assay.simple.model import NormalizedName, Project, Sha256

ProjectKey = tuple[str, NormalizedName]
"""(index, project)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """What makes a request conditional (RFC 9110, 13.1)."""

    etag: str | None = None
    last_modified: str | None = None

    def to_headers(self) -> dict[str, str]:
        """As request headers."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPage:
    """A project as its index lists it, and how far that can be relied on."""

    index: IndexSettings
    project: Project
    content_digest: str
    """Digest of the index's bytes and of the address they came from: a page of the same version is the same page."""
    confirmed_at: datetime
    """When the index last confirmed it."""
    validators: Validators
    is_stale: bool = False
    """The index is down and this is older than it should be."""
    is_absent: bool = False
    """The index owns the name and has no such project: empty, and nobody else is asked."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFile:
    """What the ledger remembers of one filename of a project."""

    sha256: Sha256
    """The digest first seen for this filename; another one later is ``digest-changed``."""
    first_seen: datetime
    late: bool
    """An earlier page of ours lacked it, so `first_seen` says something about its age."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstablishedIdentity:
    """A file of the project whose attestation was approved: what the ratchet is built on."""

    identity: PublisherIdentity
    filename: str
    sha256: Sha256
    logged: datetime
    """Integrated time of the attestation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectHistory:
    """Everything the ledger knows of one project on one index."""

    serial: int | None = None
    """The highest serial seen."""
    files: Mapping[str, SeenFile] = field(default_factory=dict)
    established: tuple[EstablishedIdentity, ...] = ()
    evidence: Mapping[Sha256, str] = field(default_factory=dict)
    """File digest to the digest of the provenance document last judged for it."""
    known: bool = False
    """False when no page of this project was ever judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryChanges:
    """What one judged page adds to a project's history."""

    serial: int | None = None
    files: Mapping[str, SeenFile] = field(default_factory=dict)
    established: tuple[EstablishedIdentity, ...] = ()
    evidence: Mapping[Sha256, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.files or self.established or self.evidence or self.serial is not None)


class Ledger(Protocol):
    """What must never be forgotten. Never evicted; written before the page it belongs to is answered."""

    async def get_history(self, index: str, project: NormalizedName) -> ProjectHistory:
        """All that is known.

        Raises:
            LedgerError: it cannot be read.
        """

    async def record(self, index: str, project: NormalizedName, changes: HistoryChanges) -> None:
        """Add, durably. A filename or fact already there is kept as it is; a serial only grows.

        Raises:
            LedgerError: it cannot be written.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """One caller's part in work that several callers need at the same time."""

    first: bool
    """This caller does the work. Otherwise another has done it, or this caller has waited long enough: then it looks
    for the result and does the work itself if there is none."""
    holder: str | None = None
    """The address of another process that is doing the work; None where no other is."""


class Flights(Protocol):
    """Mutual exclusion by key, so that work is done once: in one process, or among all that share a storage."""

    def flight(self, key: str, done: Callable[[], Awaitable[bool]]) -> AbstractAsyncContextManager[Flight]:
        """Enter the flight of `key`; one caller at a time is first, until it leaves.

        Args:
            key: names the work.
            done: whether the work has been done meanwhile; asked by callers that had to wait.
        """


class Storage(Protocol):
    """A directory, or another engine, that holds all three."""

    @property
    def blobs(self) -> BlobStore:
        """Distributions."""

    @property
    def records(self) -> RecordStore:
        """Remembered facts."""

    @property
    def ledger(self) -> Ledger:
        """What must never be forgotten."""

    @property
    def directory(self) -> str:
        """Where, for messages."""
