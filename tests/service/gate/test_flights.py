"""Tests of flights: concurrent requests for a project share one refresh, and other requests do not wait for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import cast

from assay.caching.flights import ProcessFlights
from assay.ports import Notice
from assay.simple.model import NormalizedName
from tests.world.index.distributions import wheel
from tests.world.proxy.running_proxy import NOW
from tests.world.proxy.views_world import CLOSED_POLICY, SIGNED_POLICY, run_views_world

LONG_AGO = NOW - timedelta(days=30)


async def test_projects_that_are_requested_at_once_each_get_their_own_page(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=SIGNED_POLICY) as there:
        names = ("widget", "widgets", "wicket")
        listed = {name: there.publish(wheel(name, "1.0"), LONG_AGO) for name in names}
        stalls = [there.index.stall(there.index.page_path(name)) for name in names]
        asking = {name: asyncio.create_task(there.strict.fetch_listed(name)) for name in names for _ in range(2)}
        async with asyncio.timeout(10):
            for stall in stalls:
                await stall.reached.wait()
                stall.release.set()
        assert {name: await page for name, page in asking.items()} == {
            name: {each.built.filename} for name, each in listed.items()
        }
        assert [there.index.count(there.index.page_path(name)) for name in names] == [1, 1, 1]


async def test_a_project_does_not_wait_for_the_page_or_the_evidence_of_another(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=SIGNED_POLICY) as there:
        slow_page, slow_evidence, quick = (
            there.publish(wheel(name, "1.0"), LONG_AGO) for name in ("slow-page", "slow-evidence", "quick")
        )
        stalls = [
            there.index.stall(there.index.page_path("slow-page")),
            there.index.stall(slow_evidence.provenance_path),
        ]
        asking = [asyncio.create_task(there.strict.fetch_listed(name)) for name in ("slow-page", "slow-evidence")]
        for stall in stalls:
            await stall.reached.wait()
        assert await there.strict.fetch_listed("quick") == {quick.built.filename}
        assert not any(page.done() for page in asking)
        for stall in stalls:
            stall.release.set()
        assert [await page for page in asking] == [{slow_page.built.filename}, {slow_evidence.built.filename}]


async def test_a_view_that_waited_for_the_page_does_not_wait_for_anothers_evidence(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=SIGNED_POLICY, dev=CLOSED_POLICY) as there:
        listed = there.publish(wheel("widget", "1.0"), LONG_AGO)
        page, evidence = there.index.stall(there.index.page_path("widget")), there.index.stall(listed.provenance_path)
        strict = asyncio.create_task(there.strict.fetch_listed("widget"))
        await page.reached.wait()
        dev = asyncio.create_task(there.dev.fetch_listed("widget"))
        flights = cast("ProcessFlights", there.proxy.get_gate("dev")._flights)
        async with asyncio.timeout(10):
            while sum(entry.users for entry in flights._locks.values()) < 2:  # noqa: ASYNC110 - no event to await
                await asyncio.sleep(0.01)
        page.release.set()
        await evidence.reached.wait()
        assert await dev == set()
        assert not strict.done()
        evidence.release.set()
        assert await strict == {listed.built.filename}
        assert there.index.count(there.index.page_path("widget")) == 1


async def test_a_document_that_is_replaced_while_its_page_is_judged_has_the_page_judged_again(tmp_path: Path) -> None:
    async with run_views_world(tmp_path, strict=SIGNED_POLICY) as there:
        listed = there.publish(wheel("widget", "1.0"), LONG_AGO)
        gate, name = there.proxy.get_gate("strict"), NormalizedName("widget")
        stall = there.index.stall(listed.provenance_path)
        asking = asyncio.create_task(gate.get_page(name))
        await stall.reached.wait()
        there.proxy.assembly.store.notices.publish(Notice(index="test", project=name))
        stall.release.set()
        judged = await asking
        assert gate.peek_page(name) is None, "the facts that it was judged by are outdated"
        assert await gate.get_page(name) is not judged
        assert gate.peek_page(name) is not None
