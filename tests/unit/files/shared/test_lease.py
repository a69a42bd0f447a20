"""The lease of a file: who takes it, waits for it, and gives it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from assay.caching.background import BackgroundTasks
from assay.caching.flights import ProcessFlights
from assay.files.shared.lease import Lease
from assay.ports import Flight


@pytest.fixture
async def tasks() -> AsyncIterator[BackgroundTasks]:
    async with BackgroundTasks() as group:
        yield group


async def is_undone() -> bool:
    return False


def make_lease(flights: ProcessFlights, tasks: BackgroundTasks) -> Lease:
    return Lease(flights, tasks, key="file:1", done=is_undone, follow=False)


async def test_a_lease_is_held_until_it_is_released(tasks: BackgroundTasks) -> None:
    flights = ProcessFlights()
    first, second = make_lease(flights, tasks), make_lease(flights, tasks)
    assert await first.take() == Flight(first=True)
    waiting = asyncio.create_task(second.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    first.release()
    first.release()
    assert await waiting == Flight(first=True)
    second.release()
    await tasks.wait_until_idle()
    assert len(flights) == 0


async def test_a_caller_that_leaves_while_it_waits_holds_nothing(tasks: BackgroundTasks) -> None:
    flights = ProcessFlights()
    first, second = make_lease(flights, tasks), make_lease(flights, tasks)
    await first.take()
    waiting = asyncio.create_task(second.take())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.release()
    await tasks.wait_until_idle()
    assert len(flights) == 0


async def test_the_end_of_the_group_gives_up_its_leases() -> None:
    flights = ProcessFlights()
    async with BackgroundTasks() as group:
        await make_lease(flights, group).take()
        assert len(flights) == 1
    assert len(flights) == 0
