"""Object storage and other replicas as sources of downloads (`assay.ports.Source`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

from assay.ports import ExpectedFile, FileBody, Objects, Peers


class ObjectSource:
    """Source that reads a file from the object storage."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def contents(self, file: ExpectedFile, start: int) -> AbstractAsyncContextManager[FileBody]:
        """Open an object from offset `start`.

        Raises:
            UpstreamGoneError: no such object.
            UpstreamError: the object is too short, or the object storage does not answer in time.
        """
        return self._objects.contents(file.sha256, start)

    def get_retry_delay(self, attempt: int, retry_after: float | None) -> None:
        """Return None: another source is asked at once."""


class PeerSource:
    """Source that follows the download of another replica.

    Args:
        peers: connections to the replicas.
        address: address of the replica that is downloading the file.

    Attributes:
        has_delivered: True once the replica has sent a byte.
    """

    def __init__(self, peers: Peers, address: str) -> None:
        self._peers = peers
        self._address = address
        self.has_delivered = False

    @asynccontextmanager
    async def contents(self, file: ExpectedFile, start: int) -> AsyncIterator[FileBody]:
        """Open the running download from offset `start`.

        Raises:
            UpstreamUnavailableError: the replica does not answer, or no longer downloads the file.
        """
        async with self._peers.contents(self._address, file, start) as body:
            yield replace(body, chunks=self._watch(body.chunks))

    async def _watch(self, chunks: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        async for chunk in chunks:
            self.has_delivered = True
            yield chunk

    def get_retry_delay(self, attempt: int, retry_after: float | None) -> None:
        """Return None: the lease is taken again first, because the replica may have ended."""
