"""Tests of single flights: concurrent callers share one execution, which continues if a caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.caching.single_flight import SingleFlight, StillRunningError


class Work:
    """Work that runs until it is released, and counts its executions."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.begun = 0
        self.cancelled = 0
        self.release = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_at_the_same_time_share_one_flight_and_later_ones_begin_another() -> None:
    flights, work = SingleFlight[str, int]("work"), Work()
    callers = [asyncio.create_task(flights.join("a", work)) for _ in range(3)]
    await settle()
    assert (work.begun, len(flights)) == (1, 1)
    work.release.set()
    assert (await asyncio.gather(*callers), len(flights), flights.get("a")) == ([1, 1, 1], 0, None)
    assert await flights.join("a", work) == 2


async def test_another_key_is_another_flight() -> None:
    flights, first, second = SingleFlight[str, int]("work"), Work(), Work()
    callers = [asyncio.create_task(flights.join(key, work)) for key, work in (("a", first), ("b", second))]
    await settle()
    assert (first.begun, second.begun) == (1, 1)
    second.release.set()
    assert (await callers[1], callers[0].done(), flights.get("b")) == (1, False, None)
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]


async def test_a_cancelled_caller_leaves_the_work_to_the_others() -> None:
    flights, work = SingleFlight[str, int]("work"), Work()
    leaving, staying = (asyncio.create_task(flights.join("a", work)) for _ in range(2))
    await settle()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    work.release.set()
    assert (await staying, work.begun, work.cancelled) == (1, 1, 0)


async def test_the_work_goes_on_without_any_caller() -> None:
    flights, work = SingleFlight[str, int]("work"), Work()
    only = asyncio.create_task(flights.join("a", work))
    await settle()
    only.cancel()
    await settle()
    assert (len(flights), work.cancelled) == (1, 0)
    work.release.set()
    assert await flights.join("a", work) == 1, "a later caller gets what the first one began"


async def test_a_caller_that_has_waited_long_enough_is_told_so_and_the_work_goes_on() -> None:
    flights, work = SingleFlight[str, int]("work"), Work()
    with pytest.raises(StillRunningError, match="work a"):
        await flights.join("a", work, timeout_seconds=0)
    work.release.set()
    assert (await flights.join("a", work, timeout_seconds=10), work.begun) == (1, 1)


async def test_a_timeout_of_the_work_is_the_works_own_error() -> None:
    flights, work = SingleFlight[str, int]("work"), Work(TimeoutError("of the work"))
    work.release.set()
    with pytest.raises(TimeoutError, match="of the work"):
        await flights.join("a", work, timeout_seconds=10)


async def test_an_error_reaches_all_callers_and_is_reported_once() -> None:
    reported = list[tuple[str, BaseException]]()
    flights = SingleFlight[str, int]("work", report=lambda key, failed: reported.append((key, failed)))
    error = ValueError("broken")
    work = Work(error)
    callers = [asyncio.create_task(flights.join("a", work)) for _ in range(3)]
    await settle()
    work.release.set()
    assert await asyncio.gather(*callers, return_exceptions=True) == [error, error, error]
    assert reported == [("a", error)]
    with pytest.raises(ValueError, match="broken"):
        await flights.join("a", work)
    assert (work.begun, len(reported)) == (2, 2), "an error is not remembered"


async def test_an_error_without_any_caller_is_reported_too() -> None:
    reported = list[tuple[str, BaseException]]()
    flights = SingleFlight[str, int]("work", report=lambda key, failed: reported.append((key, failed)))
    work = Work(ValueError("broken"))
    work.release.set()
    flights.start("a", work)
    await flights.wait_until_idle()
    assert [(key, str(error)) for key, error in reported] == [("a", "broken")]


async def test_start_begins_a_flight_unless_one_runs_and_names_its_task() -> None:
    flights, work, other = SingleFlight[str, int]("work"), Work(), Work()
    flights.start("a", work)
    flight = flights.get("a")
    flights.start("a", other)
    await settle()
    assert flight is not None
    assert (flights.get("a"), flight.get_name(), work.begun, other.begun) == (flight, "work a", 1, 0)
    await flights.close()


async def test_close_cancels_the_work_waits_until_it_has_ended_and_begins_nothing_more() -> None:
    reported = list[str]()
    flights, work = SingleFlight[str, int]("work", report=lambda key, _: reported.append(key)), Work()
    caller = asyncio.create_task(flights.join("a", work))
    await settle()
    await flights.close()
    assert (work.cancelled, len(flights), reported) == (1, 0, [])
    with pytest.raises(asyncio.CancelledError):
        await caller
    with pytest.raises(RuntimeError, match="the flight work a is closed"):
        flights.start("a", work)
    assert flights.get("a") is None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("join"), st.integers(0, 2)),
            st.tuples(st.just("cancel"), st.integers(0, 9)),
            st.tuples(st.just("land"), st.integers(0, 2)),
            st.tuples(st.just("fail"), st.integers(0, 2)),
        ),
        max_size=25,
    )
)
def test_whatever_callers_do_each_gets_the_outcome_of_its_own_key_and_at_most_one_flight_runs(
    steps: list[tuple[str, int]],
) -> None:
    asyncio.run(_take(steps))


async def _take(steps: list[tuple[str, int]]) -> None:
    flights = SingleFlight[int, str]("work")
    running = dict[int, asyncio.Future[str]]()
    begun = list[int]()
    callers = list[tuple[asyncio.Task[str], int, int]]()  # task, key and number of the joined flight of each caller
    outcomes = dict[int, str]()

    def begin(key: int) -> Callable[[], Awaitable[str]]:
        async def work() -> str:
            assert key not in running, "two flights of one key at a time"
            begun.append(key)
            running[key] = asyncio.get_running_loop().create_future()
            try:
                return await running[key]
            finally:
                del running[key]

        return work

    for step, number in steps:
        if step == "join":
            joining = asyncio.create_task(flights.join(number, begin(number)))  # type: ignore[arg-type]  # a coroutine
            await settle()
            last = max(place for place, key in enumerate(begun) if key == number)
            callers.append((joining, number, last))
        elif step == "cancel" and number < len(callers):
            callers[number][0].cancel()
        elif step in {"land", "fail"} and number in running:
            flight = max(place for place, key in enumerate(begun) if key == number)
            outcomes[flight] = f"{step} {flight}"
            if step == "land":
                running[number].set_result(outcomes[flight])
            else:
                running[number].set_exception(ValueError(outcomes[flight]))
        await settle()
        assert set(running) == {key for key in range(3) if flights.get(key) is not None}
    await flights.close()
    for caller, _, flight in callers:
        (found,) = await asyncio.gather(caller, return_exceptions=True)
        if isinstance(found, asyncio.CancelledError):
            assert caller.cancelled()
        else:
            assert str(found) == outcomes[flight]
