"""Used projects: every view's pages and files are noted, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assay.ports import UsedProject
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import NOW, ManualClock, RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.views_world import CLOSED_POLICY, OPEN_POLICY

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class World:
    proxy: RunningProxy
    index: Index
    listed: ListedFile

    async def used(self) -> list[UsedProject]:
        return await self.proxy.assembly.store.usage.list_used(LONG_AGO)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Index() as index:
        listed = index.add(wheel("widget", "1.0"))
        index.add(wheel("widget", "2.0"))
        index.add(wheel("gadget", "1.0"))
        tables = [{"name": "default", "path": "/"}, {"name": "strict", "path": "/strict/"}]
        configuration = make_configuration(index, tmp_path / "assay", views=tables)
        policies = {"strict": CLOSED_POLICY}
        async with run_test_proxy(
            index, tmp_path, policy=OPEN_POLICY, policies=policies, configuration=configuration
        ) as proxy:
            yield World(proxy, index, listed)


async def test_nothing_is_used_before_a_request(world: World) -> None:
    assert await world.used() == []


@pytest.mark.parametrize("again", [False, True], ids=["cold", "warm"])
async def test_a_page_is_a_use_of_its_project_in_its_view(world: World, again: bool) -> None:
    if again:
        for _ in range(2):
            await world.proxy.fetch_page("widget")
    await world.proxy.fetch_page("widget")
    (used,) = await world.used()
    assert (used.index, used.project, used.versions) == ("test", "widget", {})
    assert (used.last_used, used.views) == (NOW, {"default": NOW})


async def test_a_served_file_is_a_use_of_its_version(world: World) -> None:
    for _ in range(2):  # the second from memory
        answer = await world.proxy.get(world.proxy.files_path(world.listed))
        assert answer.status == 200
        assert {version for each in await world.used() for version in each.versions} == {"1.0"}
        await world.proxy.wait_until_stored(world.listed)


async def test_a_refused_file_is_no_use_of_its_version_but_its_page_is_one(world: World) -> None:
    strict = world.proxy.at_path("/strict/")
    assert (await strict.get(world.proxy.files_path(world.listed))).status == 403
    assert await world.used() == []
    await strict.fetch_page("widget")
    (used,) = await world.used()
    assert (used.versions, set(used.views)) == ({}, {"strict"})


async def test_other_requests_are_no_use(world: World) -> None:
    for path in ("/simple/missing/", "/project/widget", "/simple/", "/", "/files/h/x-1.0.tar.gz", "/search"):
        await world.proxy.get(path)
        assert await world.used() == [], path


async def test_uses_survive_a_restart_and_grow_old(tmp_path: Path) -> None:
    async with Index() as index:
        index.add(wheel("widget", "1.0"))
        async with run_test_proxy(index, tmp_path) as proxy:
            await proxy.fetch_page("widget")
        later = ManualClock(NOW + timedelta(days=40))
        async with run_test_proxy(index, tmp_path, clock=later) as proxy:
            usage = proxy.assembly.store.usage
            assert [each.last_used for each in await usage.list_used(LONG_AGO)] == [NOW]
            assert await usage.list_used(later.now - timedelta(days=30)) == []
