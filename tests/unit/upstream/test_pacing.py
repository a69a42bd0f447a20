"""Delays between attempts, and waits for ``Retry-After``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from assay.errors import InvalidResponseError, UpstreamTimeoutError, UpstreamUnavailableError
from assay.upstream.pacing import MAX_RETRY_WAIT_SECONDS, MAX_TRIES, HostBackoff, RetryPacing


@dataclass
class Time:
    """Clock that advances only by calls of `pause`."""

    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@dataclass
class Asked:
    """Request that raises the given errors, one in each call, and then succeeds."""

    failures: list[Exception]
    times: int = 0

    async def __call__(self) -> str:
        self.times += 1
        if self.failures:
            raise self.failures.pop(0)
        return "good"


def busy(seconds: float | None) -> UpstreamUnavailableError:
    return UpstreamUnavailableError("busy", retry_after=seconds)


async def test_what_may_pass_is_tried_again_with_growing_pauses() -> None:
    time, request = Time(), Asked([busy(None), busy(None)])
    assert await HostBackoff(time.pause, time).run_with_retries("a", request, MAX_RETRY_WAIT_SECONDS) == "good"
    assert request.times == MAX_TRIES
    assert 0 < time.pauses[0] < time.pauses[1] <= 1


async def test_what_fails_without_a_date_is_given_up_after_three_tries() -> None:
    time, request = Time(), Asked([busy(None)] * 10)
    with pytest.raises(UpstreamUnavailableError):
        await HostBackoff(time.pause, time).run_with_retries("a", request, MAX_RETRY_WAIT_SECONDS)
    assert request.times == MAX_TRIES


async def test_silence_is_not_asked_again_because_clients_wait() -> None:
    time, request = Time(), Asked([busy(None), UpstreamTimeoutError("a/x: timed out")])
    with pytest.raises(UpstreamTimeoutError):
        await HostBackoff(time.pause, time).run_with_retries("a", request, MAX_RETRY_WAIT_SECONDS)
    assert request.times == 2
    assert await HostBackoff(time.pause, time).run_with_retries("a", request, MAX_RETRY_WAIT_SECONDS) == "good"


async def test_nonsense_is_not_asked_for_twice() -> None:
    time, request = Time(), Asked([InvalidResponseError("what?")])
    with pytest.raises(InvalidResponseError):
        await HostBackoff(time.pause, time).run_with_retries("a", request, MAX_RETRY_WAIT_SECONDS)
    assert (request.times, time.pauses) == (1, [])


async def test_retry_after_is_obeyed_and_costs_no_try() -> None:
    time, request = Time(), Asked([busy(1)] * 4)
    assert await HostBackoff(time.pause, time).run_with_retries("a", request, MAX_RETRY_WAIT_SECONDS) == "good"
    assert request.times == 5
    assert time.now >= 1004


async def test_a_long_retry_after_is_an_error_at_once_and_holds_for_every_request_to_that_host() -> None:
    time, pacing = Time(), None
    pacing = HostBackoff(time.pause, time)
    with pytest.raises(UpstreamUnavailableError) as first:
        await pacing.run_with_retries("a", Asked([busy(30)]), MAX_RETRY_WAIT_SECONDS)
    assert first.value.retry_after == 30
    held = Asked([])
    with pytest.raises(UpstreamUnavailableError, match="permits no request for another 30 s") as second:
        await pacing.run_with_retries("a", held, MAX_RETRY_WAIT_SECONDS)
    assert held.times == 0, "not even asked"
    assert second.value.retry_after == 30
    # Accepted: another host, a request that may wait longer, and the same request after the time has passed.
    assert await pacing.run_with_retries("b", Asked([]), MAX_RETRY_WAIT_SECONDS) == "good"
    assert await pacing.run_with_retries("a", Asked([]), 60) == "good"
    assert time.now >= 1030
    assert await pacing.run_with_retries("a", Asked([]), MAX_RETRY_WAIT_SECONDS) == "good"


async def test_no_index_can_silence_us_for_ever() -> None:
    time = Time()
    pacing = HostBackoff(time.pause, time)
    with pytest.raises(UpstreamUnavailableError):
        await pacing.run_with_retries("a", Asked([busy(math.inf)]), MAX_RETRY_WAIT_SECONDS)
    time.now += 301
    assert await pacing.run_with_retries("a", Asked([]), MAX_RETRY_WAIT_SECONDS) == "good"


async def test_an_index_that_says_now_and_never_means_it_is_given_up() -> None:
    time, request = Time(), Asked([busy(0)] * 1000)
    with pytest.raises(UpstreamUnavailableError):
        await HostBackoff(time.pause, time).run_with_retries("a", request, MAX_RETRY_WAIT_SECONDS)
    assert request.times < 40


async def test_the_hosts_that_are_remembered_are_bounded() -> None:
    time = Time()
    pacing = HostBackoff(time.pause, time)
    for number in range(3000):
        with pytest.raises(UpstreamUnavailableError):
            await pacing.run_with_retries(f"host-{number}", Asked([busy(30)]), MAX_RETRY_WAIT_SECONDS)
    assert len(pacing._held_until) <= 1000


@pytest.mark.parametrize(("asked", "pause"), [(0.0, 0.2), (3.0, 3.0), (5.0, 5.0), (6.0, None), (math.inf, None)])
def test_a_download_waits_for_a_short_retry_after_only(asked: float, pause: float | None) -> None:
    assert RetryPacing().compute_delay(1, asked) == pause
