"""Protocol of the other replicas, from which a running download can be streamed. Pure."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from assay.ports.index import ExpectedFile, FileBody


class Peers(Protocol):
    """Replicas that share a storage. Their bytes are untrusted: each download hashes them."""

    def contents(self, address: str, file: ExpectedFile, start: int) -> AbstractAsyncContextManager[FileBody]:
        """Open the bytes of a file, from offset `start`, that another replica is downloading or has just stored.

        The last bytes follow only after the other replica has verified the digest.

        Args:
            address: ``IP:port`` of the other replica, as `Flight.holder` names it. It is untrusted.
            file: the file.
            start: offset of the first byte.

        Raises:
            UpstreamUnavailableError: the address is not that of a configured replica; or the replica does not answer in
                time, is busy, has no such file any more, does not approve the file, or sends something else.
        """
