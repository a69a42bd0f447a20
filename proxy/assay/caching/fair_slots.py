"""Slots for work of many clients, given so that no client keeps another from working.

A client may use all slots while no other one waits. While several wait, a free slot goes to the client that uses the
fewest, and of equal ones to the one that has waited longest. A client cannot be interrupted, so some slots beyond the
limit are reserved for clients that use none or few while others use all.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Hashable
from types import TracebackType


class TooManyWaitingError(Exception):
    """Error for a caller that may not wait, because too much work waits already."""


class FairSlots:
    """Limit on concurrent work, shared by clients.

    Args:
        limit: number of slots that any client may use.
        reserved: number of further slots, for clients that use fewer than `reserved_each` slots.
        reserved_each: number of slots up to which a client may use reserved ones.
        max_waiting: maximum number of waiting callers of one client; None: no limit.
        max_waiting_in_total: maximum number of waiting callers of all clients; None: no limit.
    """

    def __init__(
        self,
        limit: int,
        *,
        reserved: int = 0,
        reserved_each: int = 1,
        max_waiting: int | None = None,
        max_waiting_in_total: int | None = None,
    ) -> None:
        self._limit = limit
        self._reserved = reserved
        self._reserved_each = reserved_each
        self._max_waiting = math.inf if max_waiting is None else max_waiting
        self._max_waiting_in_total = math.inf if max_waiting_in_total is None else max_waiting_in_total
        self._waiting_count = 0
        self._used = Counter[Hashable]()
        self._waiting = dict[Hashable, deque[asyncio.Future[None]]]()

    @property
    def used(self) -> int:
        """Number of slots in use."""
        return self._used.total()

    @property
    def is_idle(self) -> bool:
        """True if no slot is in use and no caller waits."""
        return not self._used and not self._waiting

    def acquire(self, client: Hashable) -> SlotContext:
        """Return a context manager that waits for a slot, and uses it until the context ends."""
        return SlotContext(self, client)

    async def take(self, client: Hashable) -> None:
        """Wait for a slot. The caller must call `release` when it no longer uses the slot.

        Raises:
            TooManyWaitingError: too many callers, of the client or in total, wait already.
        """
        if not self._waiting and self._has_slot_for(client):
            self._used[client] += 1
            return
        waiting = len(self._waiting.get(client, ()))
        if waiting >= self._max_waiting or self._waiting_count >= self._max_waiting_in_total:
            raise TooManyWaitingError
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        self._waiting_count += 1
        self._give_slots()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(client, turn)
            else:
                self.release(client)  # the slot was given in the same moment
            raise

    def _leave(self, client: Hashable, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(client, deque())
        if turn in queue:
            queue.remove(turn)
            self._waiting_count -= 1
            if not queue:
                del self._waiting[client]

    def release(self, client: Hashable) -> None:
        """End the use of a slot, which may go to a caller that waits."""
        self._used[client] -= 1
        if not self._used[client]:
            del self._used[client]
        self._give_slots()

    def _give_slots(self) -> None:
        while self._waiting:
            # The order of the dictionary is that of waiting, and `min` returns the first of equal clients.
            client = min(self._waiting, key=self._used.__getitem__)
            if not self._has_slot_for(client):
                return
            queue = self._waiting.pop(client)
            turn = queue.popleft()
            self._waiting_count -= 1
            if queue:
                self._waiting[client] = queue  # at the end
            if not turn.cancelled():
                self._used[client] += 1
                turn.set_result(None)

    def _has_slot_for(self, client: Hashable) -> bool:
        used = sum(self._used.values())
        return used < self._limit or (used < self._limit + self._reserved and self._used[client] < self._reserved_each)


class SlotContext:
    """Context manager that waits for a slot and uses it until the context ends.

    A generator would cost more than the slot: an index is asked for hundreds of documents in a second.
    """

    __slots__ = ("_client", "_slots")

    def __init__(self, slots: FairSlots, client: Hashable) -> None:
        self._slots = slots
        self._client = client

    async def __aenter__(self) -> None:
        """Wait for a slot.

        Raises:
            TooManyWaitingError: too many callers, of the client or in total, wait already.
        """
        await self._slots.take(self._client)

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._slots.release(self._client)
