"""Tests of the byte budget: new batches wait while it is spent, and every reservation returns its bytes."""

from __future__ import annotations

import asyncio

import pytest

from assay.provenance.fetcher import ByteBudget


async def test_what_is_spent_is_given_back_however_it_ends() -> None:
    budget = ByteBudget(10)
    async with budget.reserve() as share:
        share.add(9)
        assert not share.is_budget_exhausted
        share.add(1)
        assert share.is_budget_exhausted
        assert (share.size, budget.is_exhausted) == (10, True)
    assert not budget.is_exhausted

    async def fail() -> None:
        async with budget.reserve() as share:
            share.add(100)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await fail()
    assert not budget.is_exhausted


async def test_who_comes_when_it_is_spent_waits_until_there_is_something_left() -> None:
    budget, entered = ByteBudget(10), asyncio.Event()

    async def enter() -> None:
        async with budget.reserve():
            entered.set()

    async with budget.reserve() as first, budget.reserve() as second:
        first.add(6)
        second.add(6)
        late = asyncio.create_task(enter())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not entered.is_set()
        assert second.is_budget_exhausted, "a holder sees that the budget is spent, and does not wait"
    await late
    assert entered.is_set()
    assert not budget.is_exhausted


async def test_who_is_cancelled_while_he_waits_owes_nothing() -> None:
    budget = ByteBudget(1)

    async def enter() -> None:
        async with budget.reserve() as share:
            share.add(5)

    async with budget.reserve() as first:
        first.add(1)
        waiting = asyncio.create_task(enter())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert not budget.is_exhausted
