"""The circuit breaker."""

from __future__ import annotations

from assay.store.objects.breaker import BREAK_SECONDS, Breaker
from tests.unit.store.objects.conftest import FakeClock


def test_a_service_that_answers_is_always_asked(clock: FakeClock) -> None:
    breaker = Breaker(clock, trial_seconds=2)
    assert breaker.is_closed
    assert all(breaker.may_call() for _ in range(3))
    assert not breaker.succeed(), "it was closed before"


def test_after_a_failure_no_caller_asks_until_one_may_try(clock: FakeClock) -> None:
    breaker = Breaker(clock, trial_seconds=2)
    assert breaker.fail()
    assert not breaker.fail(), "it was open before"
    assert not breaker.is_closed
    clock.now += BREAK_SECONDS - 0.1
    assert not breaker.may_call()
    clock.now += 0.2
    assert [breaker.may_call() for _ in range(3)] == [True, False, False]
    clock.now += 2.1  # the one that tried was cancelled
    assert [breaker.may_call() for _ in range(2)] == [True, False]
    assert breaker.succeed()
    assert [breaker.may_call() for _ in range(2)] == [True, True]


def test_a_try_that_fails_opens_it_again(clock: FakeClock) -> None:
    breaker = Breaker(clock, trial_seconds=2)
    breaker.fail()
    clock.now += BREAK_SECONDS
    assert breaker.may_call()
    breaker.fail()
    clock.now += BREAK_SECONDS - 0.1
    assert not breaker.may_call()
