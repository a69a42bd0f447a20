"""What is kept, as the packages above `store` see it. Pure: protocols and values.

`store` implements them on a directory, diskcache and SQLite; other engines implement the same ones. Everything that is
read back is hostile until checked: blobs are named by their digest, records are parsed by their owner, and a broken one
is removed and fetched again. The ledger is state, not cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO, Protocol

from assay.ports.history import HistoryChanges, ProjectHistory
from assay.simple.model import NormalizedName, Sha256


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
