"""Budget of bytes that many pieces of work share, such as the bodies of pages that are being read and parsed.

A lease grows while its work needs more bytes, and returns all of them at the end. Leases of up to `free_bytes` need no
budget, so that ordinary work never waits. If the budget is spent, a lease waits until another one ends. The lease that
has waited or grown for the longest time may always grow, so that two leases never wait for each other. The bytes in use
are therefore at most the budget, the largest single lease, and `free_bytes` for each other lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class ByteBudget:
    """Budget of bytes.

    Args:
        max_bytes: limit on the bytes of all leases together.
        free_bytes: maximum size in bytes of a lease that does not count.
    """

    def __init__(self, max_bytes: int, free_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.free_bytes = free_bytes
        self.used_bytes = 0
        """Bytes that count, of all leases together."""
        self.large_leases = dict[Lease, None]()
        """Leases that have grown beyond `free_bytes`, the oldest first."""
        self.changed = asyncio.Event()

    @contextmanager
    def open_lease(self) -> Iterator[Lease]:
        """Yield a lease of no bytes, whose bytes return to the budget at the end."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            lease.end()


class Lease:
    """Part of a budget that one piece of work uses."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0
        """Size of the lease in bytes."""

    async def grow_to(self, size: int) -> None:
        """Wait until the lease may have `size` bytes; a smaller size than before changes nothing."""
        budget = self._budget
        if size <= budget.free_bytes or size <= self.size:
            return
        budget.large_leases.setdefault(self)
        while budget.used_bytes - self.size + size > budget.max_bytes and next(iter(budget.large_leases)) is not self:
            await budget.changed.wait()
        budget.used_bytes += size - self.size
        self.size = size

    def end(self) -> None:
        """Return all bytes. Idempotent."""
        budget = self._budget
        if self in budget.large_leases:
            del budget.large_leases[self]
            budget.used_bytes -= self.size
            self.size = 0
            budget.changed.set()
            budget.changed = asyncio.Event()
