"""How many bytes of provenance all pages together may hold until it is verified and recorded.

Owns the count. Real documents have 10 kB and never come near it; an index whose documents are as large as its limit
allows is asked for fewer at a time, and what is here goes on before more is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """`most` bytes. It may be exceeded by what is being fetched when it is spent."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._spent = 0
        self._left = asyncio.Event()
        self._left.set()

    @property
    def is_spent(self) -> bool:
        """Whether nothing more is to be fetched now."""
        return self._spent >= self._most

    @asynccontextmanager
    async def share(self) -> AsyncIterator[Share]:
        """Wait until there is something left; what is spent meanwhile is given back at the end.

        Whoever has a share never waits for more: he goes on with what he has.
        """
        await self._left.wait()
        share = Share(self)
        try:
            yield share
        finally:
            self.spend(-share.size)

    def spend(self, size: int) -> None:
        """So many bytes more are here, or fewer."""
        self._spent += size
        if self.is_spent:
            self._left.clear()
        else:
            self._left.set()


class Share:
    """What one batch has of it; `size` is in bytes."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.size = 0

    @property
    def is_full(self) -> bool:
        """Whether the budget of all is spent."""
        return self._budget.is_spent

    def add(self, size: int) -> None:
        """So many bytes more are here."""
        self.size += size
        self._budget.spend(size)
