"""Bytes in memory by their digest, up to a limit: what was not asked for longest goes first.

Owns the bound. Whoever puts something here has seen that it has its digest.
"""

from __future__ import annotations

from collections import OrderedDict

from proxy.simple.model import Sha256


class Held:
    """Small documents and files.

    Args:
        most: bytes of all together.
        largest: bytes of one; larger ones are not held.
    """

    def __init__(self, most: int, largest: int) -> None:
        self._most = most
        self._largest = largest
        self._held: OrderedDict[Sha256, bytes] = OrderedDict()
        self._size = 0

    def get(self, digest: Sha256) -> bytes | None:
        """What is held; it counts as asked for."""
        body = self._held.get(digest)
        if body is not None:
            self._held.move_to_end(digest)
        return body

    def __contains__(self, digest: Sha256) -> bool:
        """Whether it is held; that asks for nothing."""
        return digest in self._held

    def fits(self, size: int) -> bool:
        """Whether something of that many bytes may be held."""
        return size <= self._largest

    def put(self, digest: Sha256, body: bytes) -> None:
        """Hold it, if it is small enough."""
        if digest in self._held or not self.fits(len(body)):
            return
        self._held[digest] = body
        self._size += len(body)
        while self._size > self._most:
            self._size -= len(self._held.popitem(last=False)[1])

    def whole(self) -> dict[Sha256, bytes]:
        """A copy of all of it."""
        return dict(self._held)
