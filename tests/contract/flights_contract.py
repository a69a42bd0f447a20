"""Contract of every implementation of flights. A test class inherits `FlightsContract` and gives `flights`, `sibling`.

Both take part in the same flights: within one process they are the same object, and otherwise two replicas.
"""

from __future__ import annotations

import asyncio

import pytest

from assay.ports import Flights

_SECONDS = 30


class Caller:
    """Caller of a flight, which leaves when `leave` is set."""

    def __init__(self, flights: Flights, key: str, *, finds_done: bool = False, follow: bool = False) -> None:
        self.entered, self.leave = asyncio.Event(), asyncio.Event()
        self.first: bool | None = None
        self.holder: str | None = None
        self.looked = 0
        self._finds_done = finds_done
        self.task = asyncio.create_task(self._run(flights, key, follow=follow))

    async def _done(self) -> bool:
        self.looked += 1
        return self._finds_done

    async def _run(self, flights: Flights, key: str, *, follow: bool) -> None:
        async with flights.flight(key, self._done, follow=follow) as flight:
            self.first, self.holder = flight.first, flight.holder
            self.entered.set()
            await self.leave.wait()

    async def enter(self) -> Caller:
        async with asyncio.timeout(_SECONDS):
            await self.entered.wait()
        return self

    async def end(self) -> None:
        self.leave.set()
        async with asyncio.timeout(_SECONDS):
            await self.task


async def pass_by(flights: Flights) -> None:
    """Take part in another flight from its beginning to its end, so that others have had time to get on."""
    caller = Caller(flights, "pass by")
    await caller.enter()
    await caller.end()


class FlightsContract:
    @pytest.fixture
    def flights(self) -> Flights:
        raise NotImplementedError

    @pytest.fixture
    def sibling(self) -> Flights:
        raise NotImplementedError

    async def test_one_goes_after_another_and_looks_after_waiting(self, flights: Flights, sibling: Flights) -> None:
        one = await Caller(flights, "page:pypi:a").enter()
        other = Caller(sibling, "page:pypi:a")
        await pass_by(sibling)
        assert not other.entered.is_set()
        assert one.first
        await one.end()
        await other.enter()
        assert (other.first, other.looked) == (True, 1)
        await other.end()

    @pytest.mark.parametrize("key", ["page:pypi:b", "page:pypi:A", "", "\ud800\x00", "x" * 5000])
    async def test_another_key_does_not_wait(self, flights: Flights, sibling: Flights, key: str) -> None:
        one = await Caller(flights, "page:pypi:a").enter()
        other = await Caller(sibling, key).enter()
        assert (one.first, other.first) == (True, True)
        for caller in (one, other):
            await caller.end()

    async def test_who_finds_the_work_done_is_not_first(self, flights: Flights, sibling: Flights) -> None:
        one = await Caller(flights, "a").enter()
        others = [Caller(each, "a", finds_done=True) for each in (sibling, flights, sibling)]
        await one.end()
        for caller in others:
            await caller.enter()
            assert (caller.first, caller.holder, caller.looked) == (False, None, 1)
            await caller.end()
        again = await Caller(sibling, "a").enter()
        assert again.first, "those who found it done hold nothing"
        await again.end()

    async def test_a_caller_that_fails_leaves_the_work_to_the_next(self, flights: Flights, sibling: Flights) -> None:
        entered, fail = asyncio.Event(), asyncio.Event()

        async def never_done() -> bool:
            return False

        async def work() -> None:
            async with flights.flight("a", never_done):
                entered.set()
                await fail.wait()
                raise ValueError("the work failed")

        failing = asyncio.create_task(work())
        await entered.wait()
        other = Caller(sibling, "a")
        fail.set()
        with pytest.raises(ValueError, match="the work failed"):
            await failing
        assert (await other.enter()).first
        await other.end()

    async def test_who_gives_up_waiting_leaves_nothing_behind(self, flights: Flights, sibling: Flights) -> None:
        one = await Caller(flights, "a").enter()
        given_up = [Caller(each, "a") for each in (flights, sibling)]
        await pass_by(sibling)
        for each in given_up:
            each.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await each.task
        await one.end()
        for there in (flights, sibling):
            again = await Caller(there, "a").enter()
            assert again.first
            await again.end()

    async def test_an_error_while_looking_leaves_the_work_to_the_next(self, flights: Flights, sibling: Flights) -> None:
        async def cannot_look() -> bool:
            raise ValueError("no answer")

        async def look() -> None:
            async with sibling.flight("a", cannot_look):
                raise AssertionError

        one = await Caller(flights, "a").enter()
        looking = asyncio.create_task(look())
        await pass_by(sibling)
        await one.end()
        with pytest.raises(ValueError, match="no answer"):
            await looking
        again = await Caller(flights, "a").enter()
        assert again.first
        await again.end()

    async def test_each_of_many_works_is_done_once(self, flights: Flights, sibling: Flights) -> None:
        finished, firsts = set[str](), list[str]()

        async def work(there: Flights, key: str) -> None:
            async def is_done() -> bool:
                return key in finished

            async with there.flight(key, is_done) as flight:
                if flight.first and key not in finished:
                    firsts.append(key)
                    await asyncio.sleep(0)
                    finished.add(key)
                assert flight.first or key in finished

        keys = [f"file:{number}" for number in range(16)]
        async with asyncio.timeout(_SECONDS):
            await asyncio.gather(*(work(there, key) for key in keys for there in (flights, sibling) * 3))
        assert sorted(firsts) == sorted(keys)
