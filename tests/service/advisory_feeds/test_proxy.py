"""A proxy with a feed of advisories: what clients and operators see of a refresh."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.world.advisories.feed_server import FeedServer
from tests.world.advisories.records import make_affected, make_record
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import ManualClock, RunningProxy, make_configuration, run_test_proxy

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
NEWEST = make_record("GHSA-9", make_affected("zlib-ng", versions=["1"]), modified="2026-11-28T00:00:00Z")


@pytest.fixture
async def server() -> AsyncIterator[FeedServer]:
    async with FeedServer() as running:
        yield running


@asynccontextmanager
async def run(
    index: Index, server: FeedServer, tmp_path: Path, keys: Mapping[str, Any] | None = None, *, ecosystem: str = "PyPI"
) -> AsyncIterator[RunningProxy]:
    source = {"name": "test", "url": index.url, "file-hosts": [index.files_host], "ecosystem": ecosystem}
    feed = {"name": "osv", "url": server.url, "refresh-every": "1 day", **(keys or {})}
    configuration = make_configuration(index, tmp_path / "assay", indexes=[source], advisories=[feed])
    async with run_test_proxy(index, tmp_path, configuration=configuration, clock=ManualClock(NOW)) as proxy:
        yield proxy


async def metrics(proxy: RunningProxy) -> Mapping[str, float]:
    text = (await proxy.get("/metrics")).body.decode()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("assay_advisor"))
    return {name: float(value) for name, value in pairs}


async def test_a_refresh_withholds_the_named_version_and_nothing_else(tmp_path: Path, server: FeedServer) -> None:
    server.offer(NEWEST)
    async with Index() as index, run(index, server, tmp_path) as proxy:
        bad, good = index.add(wheel("foo", "1.0")), index.add(wheel("foo", "1.1"))
        await proxy.assembly.feeds.refresh()
        for listed in (bad, good):
            assert (await proxy.get(proxy.files_path(listed))).status == 200
        server.offer(NEWEST, make_record("MAL-2026-1", make_affected("Foo", versions=["1.0.0"])))
        assert await proxy.assembly.feeds.refresh() == {}
        answer = await proxy.get(proxy.files_path(bad))
        assert (answer.status, "MAL-2026-1" in answer.reason) == (403, True)
        assert (await proxy.get(proxy.files_path(good))).status == 200
        assert await proxy.fetch_listed("foo") == {good.built.filename}
        assert (await proxy.get("/osv/v1/vulns/MAL-2026-1")).json()["id"] == "MAL-2026-1"


async def test_other_indexes_are_left_alone(tmp_path: Path, server: FeedServer) -> None:
    server.offer(NEWEST, make_record("MAL-2026-1", make_affected("foo")))
    async with Index() as index, run(index, server, tmp_path, ecosystem="none") as proxy:
        own = index.add(wheel("foo", "1.0"))
        await proxy.assembly.feeds.refresh()
        assert (await proxy.get(proxy.files_path(own))).status == 200


async def test_hits_on_hold_withhold_nothing_before_they_are_accepted(tmp_path: Path, server: FeedServer) -> None:
    server.offer(NEWEST)
    async with Index() as index, run(index, server, tmp_path, {"max-new-hits": 1}) as proxy:
        used = [index.add(wheel(name, "1.0")) for name in ("foo", "bar")]
        unused = index.add(wheel("baz", "1.0"))
        await proxy.assembly.feeds.refresh()
        for listed in used:
            assert (await proxy.get(proxy.files_path(listed))).status == 200
        names = ("foo", "bar", "baz")
        records = [make_record(f"MAL-2026-{number}", make_affected(name)) for number, name in enumerate(names)]
        server.offer(NEWEST, *records)
        assert await proxy.assembly.feeds.refresh() == {}
        assert [(await proxy.get(proxy.files_path(listed))).status for listed in (*used, unused)] == [200, 200, 403]
        ready = (await proxy.get("/readyz")).json()
        assert ready["ready"] is True
        assert ready["problems"]["advisories osv"].startswith("2 malware hits are on hold, because one refresh named")
        assert (await metrics(proxy))['assay_advisories_problems{feed="osv",problem="on-hold"}'] == 2

        held = proxy.assembly.feeds.feeds[0].state.on_hold
        await proxy.assembly.feeds.accept("osv", None, held, "checked")
        assert [(await proxy.get(proxy.files_path(listed))).status for listed in used] == [403, 403]
        assert (await proxy.get("/readyz")).json() == {"ready": True, "problems": {}, "degraded": []}


async def test_nothing_is_served_before_a_required_feed_has_a_snapshot(tmp_path: Path, server: FeedServer) -> None:
    async def fail(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    server.answer = fail
    async with Index() as index, run(index, server, tmp_path, {"required": True}) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        for path in ("/simple/foo/", proxy.files_path(listed)):
            answer = await proxy.get(path)
            assert answer.status == 503, path
            assert "the required feed of advisories osv has no snapshot yet" in answer.body.decode()
        ready = await proxy.get("/readyz")
        assert (ready.status, ready.json()["ready"], "advisories" in ready.json()["problems"]) == (503, False, True)
        server.answer = None
        server.offer(NEWEST)
        await proxy.assembly.feeds.refresh()
        assert (await proxy.get(proxy.files_path(listed))).status == 200
        assert (await proxy.get("/readyz")).status == 200


async def test_an_old_snapshot_is_a_problem_and_the_proxy_stays_ready(tmp_path: Path, server: FeedServer) -> None:
    server.offer(NEWEST, make_record("MAL-2026-1", make_affected("foo")))
    async with Index() as index, run(index, server, tmp_path) as proxy:
        await proxy.assembly.feeds.refresh()
        found = await metrics(proxy)
        assert found['assay_advisories{feed="osv",kind="malware"}'] == 1
        assert found['assay_advisories{feed="osv",kind="other"}'] == 1
        assert found['assay_advisories_problems{feed="osv",problem="outdated"}'] == 0
        proxy.clock.now += timedelta(days=2)
        found = await metrics(proxy)
        assert found['assay_advisories_age_seconds{feed="osv"}'] == 2 * 86_400
        assert found['assay_advisories_problems{feed="osv",problem="outdated"}'] == 1
        ready = await proxy.get("/readyz")
        assert (ready.status, ready.json()["problems"]) == (200, {"advisories osv": "the snapshot is 2 days old"})
