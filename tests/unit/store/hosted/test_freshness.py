"""Freshness of what a process knows: leases, shared checks, and the grace while checks fail."""

from __future__ import annotations

import asyncio

import pytest

from assay.errors import StorageError
from assay.store.hosted.freshness import AWAY_WAIT_SECONDS, LEASE_SECONDS, VISIBLE_SECONDS, Freshness


class Store:
    """Store whose checks are counted, and wait or fail on request. The test sets its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.checks = 0
        self.is_away = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def check(self) -> None:
        self.checks += 1
        await self.answers.wait()
        if self.is_away:
            raise StorageError("away")

    def get_time(self) -> float:
        return self.now


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def freshness(store: Store) -> Freshness:
    return Freshness(store.check, grace_seconds=60, clock=store.get_time)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_change_is_visible_later_than_any_lease_ends() -> None:
    assert VISIBLE_SECONDS > LEASE_SECONDS


async def test_a_check_counts_for_the_lease(freshness: Freshness, store: Store) -> None:
    assert not freshness.is_current()
    await freshness.refresh()
    assert freshness.is_current()
    store.now += LEASE_SECONDS * 0.9
    await freshness.refresh()
    assert store.checks == 1
    store.now += LEASE_SECONDS * 0.2
    assert not freshness.is_current()
    await freshness.refresh()
    assert store.checks == 2


async def test_the_lease_begins_with_the_check_and_not_with_its_answer(freshness: Freshness, store: Store) -> None:
    store.answers.clear()
    waiting = asyncio.create_task(freshness.refresh())
    await settle()
    store.now += LEASE_SECONDS * 2
    store.answers.set()
    await waiting
    assert not freshness.is_current()


async def test_a_caller_does_not_use_a_check_that_began_long_before_it(freshness: Freshness, store: Store) -> None:
    store.answers.clear()
    first = asyncio.create_task(freshness.refresh())
    await settle()
    store.now += LEASE_SECONDS * 2
    later = asyncio.create_task(freshness.refresh())
    await settle()
    assert store.checks == 1
    store.answers.set()
    await asyncio.gather(first, later)
    assert store.checks == 2


async def test_callers_at_the_same_time_share_a_check(freshness: Freshness, store: Store) -> None:
    await asyncio.gather(*(freshness.refresh() for _ in range(10)))
    assert store.checks == 1


async def test_a_forced_check_begins_after_its_call(freshness: Freshness, store: Store) -> None:
    await freshness.refresh()
    store.now += 0.001
    await freshness.check()
    assert store.checks == 2


async def test_while_checks_fail_the_last_one_counts_for_the_grace(freshness: Freshness, store: Store) -> None:
    await freshness.refresh()
    store.is_away = True
    store.now += 59
    await freshness.refresh()
    assert freshness.is_away
    assert freshness.is_current()
    store.now += 1
    assert not freshness.is_current()
    with pytest.raises(StorageError, match="away"):
        await freshness.refresh()
    store.is_away = False
    await freshness.refresh()
    assert not freshness.is_away
    assert freshness.is_current()


async def test_without_any_check_nothing_counts(freshness: Freshness, store: Store) -> None:
    store.is_away = True
    for _ in range(2):
        with pytest.raises(StorageError, match="away"):
            await freshness.refresh()
    assert not freshness.is_current()


async def test_a_failed_check_is_repeated_after_the_lease(freshness: Freshness, store: Store) -> None:
    await freshness.refresh()
    store.is_away = True
    store.now += LEASE_SECONDS
    await freshness.refresh()
    await freshness.refresh()
    assert store.checks == 2
    store.now += LEASE_SECONDS
    store.is_away = False
    await freshness.refresh()
    assert (store.checks, freshness.is_away) == (3, False)


async def test_while_checks_fail_a_caller_does_not_wait_for_a_check_that_hangs(
    freshness: Freshness, store: Store
) -> None:
    await freshness.refresh()
    store.is_away = True
    store.now += LEASE_SECONDS
    await freshness.refresh()
    store.answers.clear()
    store.now += LEASE_SECONDS
    async with asyncio.timeout(AWAY_WAIT_SECONDS + 20):
        await freshness.refresh()
    assert freshness.is_current()
    store.now += 60
    with pytest.raises(StorageError, match="cannot be read now"):
        await freshness.refresh()
    store.answers.set()
    await freshness.close()
