"""Tests of the shared budget of bytes: waiting, returning, and no two leases that wait for each other."""

from __future__ import annotations

import asyncio

import pytest

from assay.caching.byte_budget import ByteBudget


async def is_waiting(task: asyncio.Task[None]) -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


async def test_a_lease_waits_until_another_one_has_ended() -> None:
    budget = ByteBudget(100, 0)
    with budget.open_lease() as second:
        with budget.open_lease() as first:
            await first.grow_to(80)
            growing = asyncio.create_task(second.grow_to(21))
            assert await is_waiting(growing)
        await growing
        assert budget.used_bytes == 21
    assert budget.used_bytes == 0


async def test_what_fits_does_not_wait_and_what_is_free_does_not_count() -> None:
    budget = ByteBudget(100, 10)
    with budget.open_lease() as first, budget.open_lease() as second, budget.open_lease() as small:
        await first.grow_to(60)
        await second.grow_to(40)
        await small.grow_to(10)
        await first.grow_to(50)
        assert (budget.used_bytes, first.size, small.size) == (100, 60, 0)


async def test_the_oldest_may_always_grow_so_that_no_two_wait_for_each_other() -> None:
    budget = ByteBudget(100, 0)
    with budget.open_lease() as second:
        with budget.open_lease() as first:
            await first.grow_to(50)
            await second.grow_to(50)
            growing = asyncio.create_task(second.grow_to(200))
            assert await is_waiting(growing)
            await first.grow_to(300)
        await growing
        assert budget.used_bytes == 200


async def test_a_lease_that_is_cancelled_while_it_waits_returns_what_it_had() -> None:
    budget = ByteBudget(100, 0)

    async def work() -> None:
        with budget.open_lease() as lease:
            await lease.grow_to(30)
            await lease.grow_to(90)

    with budget.open_lease() as first:
        await first.grow_to(60)
        task = asyncio.create_task(work())
        assert await is_waiting(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert budget.used_bytes == 60
    assert (budget.used_bytes, len(budget.large_leases)) == (0, 0)
