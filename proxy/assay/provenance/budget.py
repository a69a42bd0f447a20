"""How many bytes of provenance all pages together may hold until it is verified and recorded.

Owns the count. Real documents have 10 kB and never come near it; an index whose documents are as large as its limit
allows is asked for fewer at a time, and what is here goes on before more is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """`max_bytes` bytes. It may be exceeded by what is being fetched when it is spent."""

    def __init__(self, max_bytes: int) -> None:
        self._limit = max_bytes
        self._used = 0
        self._available = asyncio.Event()
        self._available.set()

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing more is to be fetched now."""
        return self._used >= self._limit

    @asynccontextmanager
    async def reserve(self) -> AsyncIterator[Reservation]:
        """Wait until there is something left; what is spent meanwhile is given back at the end.

        Whoever has a share never waits for more: he goes on with what he has.
        """
        await self._available.wait()
        share = Reservation(self)
        try:
            yield share
        finally:
            self.adjust(-share.size)

    def adjust(self, size: int) -> None:
        """So many bytes more are here, or fewer."""
        self._used += size
        if self.is_exhausted:
            self._available.clear()
        else:
            self._available.set()


class Reservation:
    """What one batch has of it; `size` is in bytes."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    @property
    def is_budget_exhausted(self) -> bool:
        """Whether the budget of all is spent."""
        return self._budget.is_exhausted

    def add(self, size: int) -> None:
        """So many bytes more are here."""
        self.size += size
        self._budget.adjust(size)
