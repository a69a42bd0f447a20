"""Tests of `Refresher` with a simulated clock: pauses take no real time, and only pauses advance the clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from assay.caching.refresher import NOT_MODIFIED, Fetched, FetchRequest, NotModified, Refresher, RefreshSchedule
from assay.caching.single_flight import StillRunningError
from assay.errors import InvalidResponseError, UpstreamUnavailableError
from assay.ports import Validators

START = datetime(2026, 11, 1, tzinfo=UTC)
TAGGED = Validators(etag='"1"', last_modified="Sun, 01 Nov 2026 00:00:00 GMT")
DOWN = UpstreamUnavailableError("the feed is down")
Answer = Fetched[str] | Literal[NotModified.NOT_MODIFIED] | Exception


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


SCHEDULE = RefreshSchedule(every=hours(1), timeout=hours(1), max_bytes=100)
BACKOFF = RefreshSchedule(
    every=hours(10), timeout=hours(1), max_bytes=100, first_retry=hours(1), max_retry=hours(5), max_age=hours(24)
)


@dataclass
class Feed:
    """Resource with prepared answers, and a clock that only pauses advance."""

    answers: list[Answer] = field(default_factory=list)
    """Answers in order; the last one is repeated."""
    now: datetime = START
    requests: list[FetchRequest[str]] = field(default_factory=list)
    pauses: list[timedelta] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    alarms: list[timedelta] = field(default_factory=list)
    changes: list[tuple[str | None, str]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Event that each fetch waits for; it is set initially."""
    turns: int = 0
    """Number of pauses that end; the next pause never ends."""
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def fetch(self, request: FetchRequest[str]) -> Fetched[str] | Literal[NotModified.NOT_MODIFIED]:
        self.requests.append(request)
        await self.gate.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(timedelta(seconds=seconds))
        if len(self.pauses) > self.turns:
            self.done.set()
            await asyncio.Event().wait()
        self.now += timedelta(seconds=seconds)

    async def note(self, before: str | None, after: str) -> None:
        self.changes.append((before, after))

    def refresher(self, schedule: RefreshSchedule = SCHEDULE, **more: Any) -> Refresher[str]:
        return Refresher(
            "feed",
            more.pop("fetch", self.fetch),
            schedule=schedule,
            clock=lambda: self.now,
            on_refreshed=self.note,
            on_failure=self.errors.append,
            on_stale=self.alarms.append,
            sleep=self.sleep,
            pick=more.pop("pick", lambda _low, high: high),
            **more,
        )

    async def run(self, refresher: Refresher[str], turns: int) -> None:
        """Run `turns` turns of the schedule, then close the refresher."""
        self.turns = turns - 1
        refresher.start()
        await self.done.wait()
        await refresher.close()


async def test_it_fetches_at_once_and_then_every_period() -> None:
    feed = Feed([Fetched(value="a"), Fetched(value="b")])
    refresher = feed.refresher()
    assert (refresher.value, refresher.last_success, refresher.age) == (None, None, hours(0))
    await feed.run(refresher, turns=3)
    assert len(feed.requests) == 3
    assert feed.pauses == [hours(1)] * 3
    assert (refresher.value, refresher.last_success, refresher.last_error) == ("b", START + hours(2), None)
    assert feed.changes == [(None, "a"), ("a", "b"), ("b", "b")]


@pytest.mark.parametrize(("age", "fetches"), [(0.9, 1), (1.0, 2)])
async def test_a_value_younger_than_a_period_is_not_fetched_at_start(age: float, fetches: int) -> None:
    feed = Feed([Fetched(value="b")])
    refresher = feed.refresher(initial=Fetched(value="a", obtained=START - hours(age)))
    assert (refresher.value, refresher.age) == ("a", hours(age))
    await feed.run(refresher, turns=2)
    assert len(feed.requests) == fetches


async def test_requests_are_conditional_on_the_last_good_value() -> None:
    feed = Feed([Fetched(value="a", validators=TAGGED), NOT_MODIFIED, DOWN, Fetched(value="b"), Fetched(value="c")])
    refresher = feed.refresher()
    await feed.run(refresher, turns=5)
    none = Validators()
    assert [each.validators for each in feed.requests] == [none, TAGGED, TAGGED, TAGGED, none]
    assert [each.last_good for each in feed.requests] == [None, "a", "a", "a", "b"]
    assert feed.changes == [(None, "a"), ("a", "b"), ("b", "c")], "not after a 304"


async def test_a_304_is_a_success() -> None:
    feed = Feed([Fetched(value="a"), NOT_MODIFIED])
    refresher = feed.refresher(BACKOFF)
    await feed.run(refresher, turns=3)
    assert (refresher.value, refresher.age, refresher.last_error) == ("a", hours(0), None)
    assert feed.pauses == [hours(10)] * 3


async def test_a_304_to_an_unconditional_request_is_a_failure() -> None:
    feed = Feed([NOT_MODIFIED])
    refresher = feed.refresher()
    with pytest.raises(InvalidResponseError):
        await refresher.refresh()
    assert (refresher.value, refresher.last_success) == (None, None)


async def test_failures_back_off_to_a_cap_and_a_success_ends_that() -> None:
    feed = Feed([*[DOWN] * 5, Fetched(value="a"), DOWN, Fetched(value="b")])
    refresher = feed.refresher(BACKOFF)
    await feed.run(refresher, turns=8)
    assert feed.pauses == [hours(count) for count in (1, 2, 4, 5, 5, 10, 1, 10)]
    assert len(feed.errors) == 6


async def test_without_a_retry_time_a_failure_is_repeated_after_a_period() -> None:
    feed = Feed([DOWN])
    await feed.run(feed.refresher(), turns=50)
    assert feed.pauses == [hours(1)] * 50
    assert RefreshSchedule(every=hours(9000), timeout=hours(1), max_bytes=1).compute_pause_seconds(9**9) == 9000 * 3600


async def test_the_last_good_value_outlives_failures_and_its_age_grows() -> None:
    feed = Feed([Fetched(value="a", validators=TAGGED), DOWN])
    refresher = feed.refresher()
    await feed.run(refresher, turns=4)
    assert (refresher.value, refresher.last_success, refresher.last_error) == ("a", START, DOWN)
    assert refresher.age == hours(3)
    assert feed.errors == [DOWN] * 3


async def test_an_age_beyond_the_limit_raises_the_alarm_each_turn_until_a_success() -> None:
    feed = Feed([Fetched(value="a"), *[DOWN] * 7, Fetched(value="b"), DOWN])
    refresher = feed.refresher(BACKOFF)
    await feed.run(refresher, turns=10)
    assert feed.pauses == [hours(count) for count in (10, 1, 2, 4, 5, 5, 5, 5, 10, 1)]
    assert feed.alarms == [hours(27), hours(32)]
    assert not refresher.is_stale


async def test_a_value_that_was_never_had_is_as_old_as_its_refresher() -> None:
    feed = Feed([DOWN])
    refresher = feed.refresher(BACKOFF)
    await feed.run(refresher, turns=8)
    assert feed.alarms == [hours(27)]
    assert refresher.is_stale


async def test_a_resource_that_nothing_fetches_is_only_watched() -> None:
    feed = Feed()
    initial = Fetched(value="a", obtained=START - hours(30))
    refresher = feed.refresher(BACKOFF, fetch=None, initial=initial)
    await feed.run(refresher, turns=2)
    assert feed.alarms == [hours(30), hours(40)]
    assert (feed.requests, feed.errors, feed.pauses) == ([], [], [hours(10)] * 2)
    with pytest.raises(UpstreamUnavailableError, match="no fetch is configured"):
        await feed.refresher(fetch=None).refresh()


async def test_pauses_are_shortened_at_random_by_at_most_the_jitter() -> None:
    feed, ranges = Feed([Fetched(value="a")]), list[tuple[float, float]]()

    def pick(low: float, high: float) -> float:
        ranges.append((low, high))
        return low

    schedule = RefreshSchedule(every=hours(10), timeout=hours(1), max_bytes=100, jitter=0.2)
    await feed.run(feed.refresher(schedule, pick=pick), turns=3)
    assert ranges == [(0.8, 1.0)] * 3
    assert feed.pauses == [hours(8)] * 3
    assert len(feed.requests) == 3, "a shortened pause is a period all the same"


async def test_a_value_says_itself_as_of_when_it_is_current() -> None:
    feed = Feed([Fetched(value="a", obtained=START - hours(5))])
    refresher = feed.refresher()
    await refresher.refresh()
    assert (refresher.last_success, refresher.age) == (START - hours(5), hours(5))


@pytest.mark.parametrize(("size", "is_good"), [(100, True), (101, False)])
async def test_a_body_over_the_limit_is_no_value(size: int, is_good: bool) -> None:
    feed = Feed([Fetched(value="a"), Fetched(value="b", size=size)])
    refresher = feed.refresher()
    await refresher.refresh()
    if is_good:
        assert await refresher.refresh() == "b"
    else:
        with pytest.raises(InvalidResponseError, match="100 bytes"):
            await refresher.refresh()
    assert refresher.value == ("b" if is_good else "a")
    assert {each.max_bytes for each in feed.requests} == {100}, "the fetch knows its limit"


async def test_a_fetch_over_its_time_is_ended() -> None:
    feed = Feed([Fetched(value="a")])
    feed.gate.clear()
    refresher = feed.refresher(RefreshSchedule(every=hours(1), timeout=timedelta(0), max_bytes=100))
    with pytest.raises(UpstreamUnavailableError, match="the fetch took more than"):
        await refresher.refresh(timeout_seconds=30)
    assert isinstance(refresher.last_error, UpstreamUnavailableError)
    await refresher.close()


async def test_a_fault_of_the_fetch_is_a_failure_like_any_other() -> None:
    fault = KeyError("a bug")
    feed = Feed([fault, Fetched(value="a")])
    refresher = feed.refresher()
    await feed.run(refresher, turns=2)
    assert feed.errors == [fault]
    assert refresher.value == "a"


async def test_callers_and_the_schedule_share_one_fetch_and_its_result() -> None:
    feed = Feed([Fetched(value="a")])
    feed.gate.clear()
    refresher = feed.refresher()
    refresher.start()
    refresher.trigger()
    waiting = [asyncio.create_task(refresher.refresh()) for _ in range(3)]
    with pytest.raises(StillRunningError):
        await refresher.refresh(timeout_seconds=0)
    waiting[0].cancel()
    feed.gate.set()
    assert await asyncio.gather(*waiting[1:]) == ["a", "a"]
    assert len(feed.requests) == 1
    await feed.done.wait()
    await refresher.close()


async def test_callers_get_the_error_and_it_is_reported_once() -> None:
    feed = Feed([DOWN])
    refresher = feed.refresher()
    found = await asyncio.gather(refresher.refresh(), refresher.refresh(), return_exceptions=True)
    assert list(found) == [DOWN, DOWN]
    assert feed.errors == [DOWN]
    refresher.trigger()
    await refresher.wait_until_idle()
    assert feed.errors == [DOWN, DOWN], "with no caller, too"


async def test_the_new_value_is_in_force_when_its_change_is_told() -> None:
    feed = Feed([Fetched(value="a")])
    seen: list[str | None] = []
    refresher: Refresher[str]

    async def look(_before: str | None, _after: str) -> None:
        seen.append(refresher.value)

    def fail(error: BaseException) -> None:
        raise AssertionError(error)

    refresher = Refresher(
        "feed", feed.fetch, schedule=SCHEDULE, clock=lambda: feed.now, on_failure=fail, on_refreshed=look
    )
    await refresher.refresh()
    assert seen == ["a"]


async def test_closing_ends_the_schedule_and_a_running_fetch() -> None:
    feed = Feed([Fetched(value="a")])
    feed.gate.clear()
    refresher = feed.refresher()
    refresher.start()
    waiting = asyncio.create_task(refresher.refresh())
    while not feed.requests:  # noqa: ASYNC110 - there is no event to await
        await asyncio.sleep(0)
    await refresher.close()
    await refresher.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (refresher.value, feed.errors, feed.pauses) == (None, [], [])
    with pytest.raises(RuntimeError):
        refresher.start()
