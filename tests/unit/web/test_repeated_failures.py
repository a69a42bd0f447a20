"""Repeated failures: asking again has not helped if an earlier request failed some seconds before."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assay.web.repeated_failures import RepeatedFailures
from tests.world.proxy.running_proxy import ManualClock


@pytest.mark.parametrize(
    ("seconds", "is_repeated"), [(0, False), (3.9, False), (4, True), (59.9, True), (60, False), (-1, False)]
)
def test_a_failure_is_repeated_from_four_seconds_to_a_minute_after_the_first(
    seconds: float, *, is_repeated: bool
) -> None:
    clock = ManualClock()
    failures = RepeatedFailures(clock)
    assert failures.record("/files/h/foo.whl") is False
    clock.now += timedelta(seconds=seconds)
    assert failures.record("/files/h/foo.whl") is is_repeated
    assert failures.record("/files/h/bar.whl") is False


def test_a_minute_counts_from_the_first_failure_of_a_series() -> None:
    clock = ManualClock()
    failures = RepeatedFailures(clock)
    found = []
    for _ in range(8):
        found.append(failures.record("x"))
        clock.now += timedelta(seconds=20)
    assert found == [False, True, True, False, True, True, False, True]
