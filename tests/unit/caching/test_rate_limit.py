"""Tests of the limit on how often a client may cause something."""

from __future__ import annotations

from assay.caching.rate_limit import RateLimit


def test_a_burst_then_so_many_a_second_for_each_client() -> None:
    now = [100.0]
    limit = RateLimit(3, 2, lambda: now[0])
    for _ in range(3):
        assert not limit.is_exceeded("a")
        limit.count("a")
    assert limit.is_exceeded("a")
    assert not limit.is_exceeded("b")
    now[0] += 0.5
    assert not limit.is_exceeded("a")
    limit.count("a")
    assert limit.is_exceeded("a")
    now[0] += 1000
    for _ in range(3):
        assert not limit.is_exceeded("a")
        limit.count("a")
    assert limit.is_exceeded("a"), "a pause gives one burst and no more"
