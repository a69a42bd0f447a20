"""Tests of slots that clients share: all for one alone, the fewest first, reserves, bounded queues, cancellation."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from assay.caching.fair_slots import FairSlots, TooManyWaitingError


class Worker:
    """Callers that take slots and keep each of them until `end` is called for it."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.order: list[str] = []
        self.ends: dict[str, list[asyncio.Event]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self, client: str, count: int = 1) -> None:
        for _ in range(count):
            end = asyncio.Event()
            self.tasks.append(asyncio.create_task(self._work(client, end)))

    async def _work(self, client: str, end: asyncio.Event) -> None:
        async with self.slots.acquire(client):
            self.order.append(client)
            self.ends.setdefault(client, []).append(end)
            await end.wait()

    async def end(self, client: str) -> None:
        self.ends[client].pop(0).set()
        await settle()


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def test_one_client_alone_uses_all_slots() -> None:
    worker = Worker(FairSlots(3))
    worker.begin("a", 5)
    await settle()
    assert worker.order == ["a"] * 3
    for _ in range(5):
        await worker.end("a")
    await asyncio.gather(*worker.tasks)
    assert worker.slots.is_idle


async def test_a_free_slot_goes_to_the_client_with_the_fewest() -> None:
    worker = Worker(FairSlots(4))
    worker.begin("greedy", 100)
    await settle()
    worker.begin("b", 3)
    worker.begin("c", 1)
    await settle()
    assert worker.order == ["greedy"] * 4
    for _ in range(3):
        await worker.end("greedy")
    assert worker.order[4:] == ["b", "c", "greedy"] or worker.order[4:] == ["b", "c", "b"]
    for task in worker.tasks:
        task.cancel()
    await asyncio.gather(*worker.tasks, return_exceptions=True)
    assert worker.slots.is_idle


async def test_clients_that_wait_take_turns() -> None:
    worker = Worker(FairSlots(1))
    worker.begin("a", 3)
    worker.begin("b", 3)
    await settle()
    for client in "aababb":
        await worker.end(client)
    assert worker.order == list("aababb")


async def test_reserved_slots_are_for_clients_that_use_few() -> None:
    worker = Worker(FairSlots(4, reserved=2, reserved_each=1))
    worker.begin("greedy", 100)
    await settle()
    worker.begin("b", 3)
    worker.begin("c", 1)
    worker.begin("d", 1)
    await settle()
    assert worker.order == ["greedy"] * 4 + ["b", "c"]
    await worker.end("c")
    assert worker.order[6:] == ["d"]
    for task in worker.tasks:
        task.cancel()
    await asyncio.gather(*worker.tasks, return_exceptions=True)
    assert worker.slots.is_idle


async def test_a_client_may_have_so_many_waiting_and_no_more() -> None:
    slots = FairSlots(1, max_waiting=2)
    worker = Worker(slots)
    worker.begin("a", 3)
    await settle()
    with pytest.raises(TooManyWaitingError):
        async with slots.acquire("a"):
            pass
    worker.begin("b", 1)
    for _ in range(2):
        await worker.end("a")
    assert worker.order == ["a", "a", "b"]
    for task in worker.tasks:
        task.cancel()
    await asyncio.gather(*worker.tasks, return_exceptions=True)
    assert slots.is_idle


async def test_a_caller_that_is_cancelled_as_it_gets_its_slot_gives_it_on() -> None:
    slots = FairSlots(1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(slots.acquire("a"))
        second, third = (asyncio.create_task(slots.acquire(name).__aenter__()) for name in "bc")
        await settle()
        await stack.aclose()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await third
        assert slots.used == 1
