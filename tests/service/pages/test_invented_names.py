"""Tests of requests for projects that do not exist: bounded for each client, and without a trace in the storage."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from assay.assembly import Tuning
from assay.pages.cache import PageCacheSettings
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import run_test_proxy

LIMITED = Tuning(pages=PageCacheSettings(absences_at_once=5, absences_per_second=0.001))


async def test_a_client_may_request_so_many_unknown_names_and_others_are_not_affected(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, tuning=LIMITED) as proxy:
        for project in ("known", "cold"):
            index.add(wheel(project))
        assert await proxy.fetch_listed("known")
        statuses = [(await proxy.get(f"/simple/invented-{number}/")).status for number in range(8)]
        assert statuses == [404] * 5 + [429] * 3
        refused = await proxy.get("/simple/invented-9/")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
        assert b"too many projects that do not exist" in refused.body
        assert index.count(index.page_path("invented-7")) == 0
        assert (await proxy.get(f"/attestations/{'0' * 64}?project=invented-10")).status == 429
        assert (await proxy.get("/simple/invented-0/")).status == 404, "it is known to be absent"
        assert await proxy.fetch_listed("known")
        assert (await proxy.get("/simple/cold/")).status == 429, "it may be an invented name"
        elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        async with (
            aiohttp.ClientSession(connector=elsewhere) as other,
            other.get(f"{proxy.origin}/simple/cold/") as cold,
        ):
            assert cold.status == 200
        assert await proxy.fetch_listed("cold"), "another client has had it fetched"


async def test_a_project_that_the_ledger_knows_is_not_taken_for_an_invented_one(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, tuning=LIMITED) as proxy:
        listed = index.add(wheel("known"))
        assert await proxy.fetch_listed("known")
        index.remove(listed)
        index.remove_project("known")
        for _ in range(10):
            proxy.clock.now += timedelta(minutes=11)
            assert (await proxy.get("/simple/known/")).status == 404
        index.add(wheel("known", "2.0"))
        proxy.clock.now += timedelta(minutes=11)
        assert await proxy.fetch_listed("known")


@pytest.mark.parametrize("count", [300])
async def test_invented_names_take_no_space_and_evict_no_page(tmp_path: Path, count: int) -> None:
    settings = PageCacheSettings(max_files=50, max_absences=10)
    async with Index() as index, run_test_proxy(index, tmp_path, tuning=Tuning(pages=settings)) as proxy:
        index.add(wheel("known"))
        assert await proxy.fetch_listed("known")
        records = (await proxy.assembly.store.records.stats()).count
        for number in range(count):
            assert (await proxy.get(f"/simple/invented-{number}/")).status == 404
        assert (await proxy.assembly.store.records.stats()).count == records
        pages = proxy.assembly.gate.resources.pages.cache
        assert [key[1] for key in pages._memory.snapshot()] == ["known"]
        assert len(pages._absences.snapshot()) == settings.max_absences
