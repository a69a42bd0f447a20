"""Protocol of object storage: finished files that several replicas share. Pure."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from datetime import date
from typing import BinaryIO, Protocol

from assay.ports.index import FileBody
from assay.simple.model import Sha256


class Objects(Protocol):
    """Objects by the SHA-256 of their bytes. The bytes are untrusted: each reader hashes them."""

    def contents(self, sha256: Sha256, start: int) -> AbstractAsyncContextManager[FileBody]:
        """Open the bytes of an object from offset `start`.

        Raises:
            UpstreamGoneError: no such object.
            InvalidResponseError: the object ends before `start`.
            UpstreamUnavailableError: the object storage does not answer in time.
        """

    async def has(self, sha256: Sha256) -> bool:
        """Return whether the object exists.

        Raises:
            UpstreamUnavailableError: the object storage does not answer in time.
        """

    async def keep(self, sha256: Sha256, reader: BinaryIO) -> None:
        """Store a finished file as an object, unless there is an object of its size.

        Cancelling the caller does not cancel the transfer. The reader is closed at the end of the transfer.

        Raises:
            StorageError: the file cannot be read or does not have the digest, or the object cannot be written.
        """

    async def remove(self, sha256: Sha256) -> None:
        """Remove an object, if it exists.

        Raises:
            StorageError: the object cannot be removed.
        """

    async def record_uses(self, used: Collection[Sha256], day: date) -> None:
        """Record that files were used on a day, for `remove_unused`.

        Raises:
            StorageError: the uses cannot be recorded.
        """

    async def remove_unused(self, today: date) -> int:
        """Remove the objects that are older than the maximum age and were not used within it; return their number.

        Raises:
            StorageError: the uses cannot be read, or an object cannot be removed.
            UpstreamUnavailableError: the object storage does not answer in time.
        """
