"""Bytes in memory by their digest, up to a limit: what was not asked for longest goes first.

Owns the bounds of size and time. Whoever puts something here has seen that it has its digest, and has it from a store
where what is used least goes first: so it is let go of now and then, and asking that store again marks it as used.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from assay.simple.model import Sha256

_MAX_AGE_SECONDS = 3600.0
"""Seconds: stores mark what is used at most hourly."""


class ByteCache:
    """Small documents and files.

    Args:
        max_total_bytes: bytes of all together.
        max_item_bytes: bytes of one; larger ones are not held.
        clock: seconds, monotonic.
    """

    def __init__(self, max_total_bytes: int, max_item_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_total_bytes = max_total_bytes
        self._max_item_bytes = max_item_bytes
        self._clock = clock
        self._items: OrderedDict[Sha256, tuple[float, bytes]] = OrderedDict()
        self._total_bytes = 0

    def get(self, digest: Sha256) -> bytes | None:
        """What is held; it counts as asked for."""
        held = self._items.get(digest)
        if held is None:
            return None
        since, body = held
        if self._clock() - since > _MAX_AGE_SECONDS:
            del self._items[digest]
            self._total_bytes -= len(body)
            return None
        self._items.move_to_end(digest)
        return body

    def __contains__(self, digest: Sha256) -> bool:
        """Whether it is held; that asks for nothing."""
        return digest in self._items

    def fits(self, size: int) -> bool:
        """Whether something of that many bytes may be held."""
        return size <= self._max_item_bytes

    def put(self, digest: Sha256, body: bytes) -> None:
        """Hold it, if it is small enough."""
        if digest in self._items or not self.fits(len(body)):
            return
        self._items[digest] = (self._clock(), body)
        self._total_bytes += len(body)
        while self._total_bytes > self._max_total_bytes:
            self._total_bytes -= len(self._items.popitem(last=False)[1][1])

    def snapshot(self) -> dict[Sha256, bytes]:
        """A copy of all of it."""
        return {digest: body for digest, (_, body) in self._items.items()}
