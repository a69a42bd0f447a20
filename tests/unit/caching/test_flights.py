"""Tests of flights: one caller at a time in the order of the calls, and finished work is not repeated."""

from __future__ import annotations

import asyncio

import pytest

from assay.caching.flights import ProcessFlights
from tests.contract.flights_contract import FlightsContract


class TestContract(FlightsContract):
    @pytest.fixture
    def flights(self) -> ProcessFlights:
        return ProcessFlights()

    @pytest.fixture
    def sibling(self, flights: ProcessFlights) -> ProcessFlights:
        return flights


class Caller:
    """Caller of a flight that records whether it was first."""

    def __init__(self, flights: ProcessFlights, key: str, *, finds_done: bool = False) -> None:
        self.entered, self.leave = asyncio.Event(), asyncio.Event()
        self.first: bool | None = None
        self.looked = 0
        self._finds_done = finds_done
        self.task = asyncio.create_task(self._run(flights, key))

    async def _done(self) -> bool:
        self.looked += 1
        return self._finds_done

    async def _run(self, flights: ProcessFlights, key: str) -> None:
        async with flights.flight(key, self._done) as flight:
            self.first = flight.first
            assert flight.holder is None
            self.entered.set()
            await self.leave.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_of_one_key_go_one_after_another_and_look_only_after_waiting() -> None:
    flights = ProcessFlights()
    callers = [Caller(flights, "a") for _ in range(3)]
    for number, caller in enumerate(callers):
        await settle()
        assert [each.entered.is_set() for each in callers] == [True] * (number + 1) + [False] * (2 - number)
        assert (caller.first, caller.looked) == (True, int(number > 0))
        caller.leave.set()
    await asyncio.gather(*(caller.task for caller in callers))
    assert len(flights) == 0


async def test_another_key_does_not_wait() -> None:
    flights = ProcessFlights()
    one, other = Caller(flights, "page:pypi:a"), Caller(flights, "page:pypi:b")
    await settle()
    assert (one.first, other.first, other.looked) == (True, True, 0)
    for caller in (one, other):
        caller.leave.set()
        await caller.task


async def test_those_who_find_the_work_done_are_not_first_and_wait_for_nobody() -> None:
    flights = ProcessFlights()
    first, *others = callers = [Caller(flights, "a", finds_done=True) for _ in range(3)]
    await settle()
    first.leave.set()
    await settle()
    assert [(each.first, each.looked) for each in others] == [(False, 1), (False, 1)]
    for caller in callers:
        caller.leave.set()
    await asyncio.gather(*(caller.task for caller in callers))


async def test_a_caller_that_fails_leaves_the_work_to_the_next() -> None:
    flights, release = ProcessFlights(), asyncio.Event()

    async def never_done() -> bool:
        return False

    async def fail() -> None:
        async with flights.flight("a", never_done):
            await release.wait()
            raise ValueError("broken")

    failing = asyncio.create_task(fail())
    await settle()
    following = Caller(flights, "a")
    await settle()
    release.set()
    with pytest.raises(ValueError, match="broken"):
        await failing
    await following.entered.wait()
    assert following.first is True
    following.leave.set()
    await following.task
    assert len(flights) == 0


async def test_a_caller_that_is_cancelled_while_it_waits_is_out_of_the_way() -> None:
    flights = ProcessFlights()
    holding, leaving, waiting = (Caller(flights, "a") for _ in range(3))
    await settle()
    leaving.task.cancel()
    await settle()
    holding.leave.set()
    await waiting.entered.wait()
    assert (leaving.entered.is_set(), waiting.first) == (False, True)
    waiting.leave.set()
    await waiting.task
    assert len(flights) == 0
