"""A refresh of a feed, from the export to the clients: withheld at once, reported once, and kept across a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from assay import telemetry
from assay.telemetry import Event
from tests.service.gate.test_malware import AUDIT, OPEN
from tests.world.advisories.feed_server import FeedServer
from tests.world.advisories.feeds import iter_export
from tests.world.advisories.records import RecordDict, make_affected, make_record
from tests.world.advisories.snapshots import malware
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy

NEWEST = make_record("GHSA-9", make_affected("zlib-ng", versions=["1"]), modified="2026-06-28T00:00:00Z")
"""Record that keeps the newest time of a change the same in each export."""

OTHER = make_record("GHSA-1", make_affected("foo", versions=["1.0"]))


@pytest.fixture
def hits() -> Iterator[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []

    def note(event: Event) -> None:
        if event.name == "advisory-hit":
            found.append({**event.fields, "level": event.level})

    stop = telemetry.subscribe(note)
    yield found
    stop()


@pytest.fixture
async def feed() -> AsyncIterator[FeedServer]:
    async with FeedServer() as server:
        server.offer(NEWEST)
        yield server


@asynccontextmanager
async def running(index: Index, directory: Path, feed: FeedServer, **own: object) -> AsyncIterator[RunningProxy]:
    table = {"name": "test", "url": index.url, "file-hosts": [index.files_host], "ecosystem": "PyPI"} | own
    configuration = make_configuration(
        index,
        directory / "assay",
        indexes=[table],
        views=[{"name": "audit", "path": "/audit/"}],
        advisories=[{"name": "osv", "url": feed.url, "refresh-every": "1 day"}],
    )
    policies = {"audit": AUDIT}
    async with run_test_proxy(index, directory, policy=OPEN, policies=policies, configuration=configuration) as proxy:
        await proxy.assembly.feeds.refresh()
        yield proxy


async def refresh(proxy: RunningProxy, feed: FeedServer, *records: RecordDict) -> None:
    feed.offer(NEWEST, *records)
    assert await proxy.assembly.feeds.refresh() == {}
    await proxy.assembly.advisory_hits.wait_until_idle()


async def get_statuses(proxy: RunningProxy, *files: ListedFile) -> list[int]:
    """Return the status of each file in the view at / and in the view in audit mode."""
    views = (proxy, proxy.at_path("/audit/"))
    return [(await view.get(view.files_path(each))).status for each in files for view in views]


@pytest.mark.parametrize("count", [20, pytest.param(20_000, marks=pytest.mark.long)])
async def test_a_named_release_disappears_with_the_refresh_and_its_neighbours_stay(
    tmp_path: Path, feed: FeedServer, count: int
) -> None:
    """Refresh an export with `count` other records while one download is under way and another one is complete."""
    others = list(iter_export(count))
    async with Index() as index, running(index, tmp_path, feed) as proxy:
        files = [index.add(wheel("foo", version, padding=300_000)) for version in ("1.0", "1.1", "1.2")]
        cached, cut, neighbour = files
        assert await get_statuses(proxy, cached, neighbour) == [200] * 4
        stall = index.stall(cut.path, after=200_000)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{proxy.origin}{proxy.files_path(cut)}") as response,
        ):
            assert await response.content.readany()
            await refresh(proxy, feed, *others, malware("foo", "1.0", "1.1", record="MAL-2027-1"))
            assert await get_statuses(proxy, cached, neighbour) == [403, 403, 200, 200]
            stall.release.set()
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await response.read()
        assert await get_statuses(proxy, *files) == [403] * 4 + [200] * 2
        for view in (proxy, proxy.at_path("/audit/")):
            assert set(map(tuple, (await view.fetch_withheld("foo")).values())) == {("malicious",)}
        answer = await proxy.post("/osv/v1/query", {"package": {"name": "foo", "ecosystem": "PyPI"}})
        assert [each["id"] for each in answer.json()["vulns"]] == ["MAL-2027-1"]
    async with Index() as empty, running(empty, tmp_path, feed) as proxy:
        assert len(proxy.assembly.advisories.current()) == count + 2, "a restart begins with the stored snapshot"


async def test_a_served_version_that_is_named_is_reported_once_also_across_a_restart(
    tmp_path: Path, feed: FeedServer, hits: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    async with Index() as index:
        async with running(index, tmp_path, feed) as proxy:
            served, other, _unused = (index.add(wheel("foo", version)) for version in ("1.0", "1.1", "1.2"))
            assert await get_statuses(proxy, served, other) == [200] * 4
            await refresh(
                proxy, feed, malware("foo", "1.2"), make_record("GHSA-1", make_affected("foo", versions=["1.0"]))
            )
            assert hits == [], "neither an unused version nor another kind of record is a hit"
            await refresh(proxy, feed, malware("foo", "1.0", "1.1", "1.2"), OTHER)
            (hit,) = hits
            assert (hit["level"], hit["advisory"], hit["project"]) == ("security", "MAL-2026-1", "foo")
            assert sorted(hit["versions"]) == ["1.0", "1.1"]
            await refresh(proxy, feed, malware("foo", "1.0"), OTHER)
            assert len(hits) == 1
        async with running(index, tmp_path, feed) as proxy:
            assert await get_statuses(proxy, served) == [403, 403]
            await refresh(proxy, feed, malware("foo", "1.0"), OTHER)
            assert len(hits) == 1, "the restart changes nothing"
            await refresh(proxy, feed, malware("foo", "1.0"), OTHER, malware("foo", "1.1", record="MAL-2026-2"))
            assert [each["advisory"] for each in hits] == ["MAL-2026-1", "MAL-2026-2"]
    assert [each.getMessage() for each in caplog.records].count("advisory-hit") == 2


async def test_what_was_served_long_ago_is_reported_too(
    tmp_path: Path, feed: FeedServer, hits: list[dict[str, Any]]
) -> None:
    async with Index() as index, running(index, tmp_path, feed) as proxy:
        assert await get_statuses(proxy, index.add(wheel("foo", "1.0"))) == [200, 200]
        await proxy.assembly.store.usage.flush()
        proxy.clock.now = proxy.clock.now.replace(year=proxy.clock.now.year + 1)
        await refresh(proxy, feed, malware("foo"))
        assert [each["advisory"] for each in hits] == ["MAL-2026-1"]


async def test_what_an_index_of_another_ecosystem_served_is_no_hit(
    tmp_path: Path, feed: FeedServer, hits: list[dict[str, Any]]
) -> None:
    async with Index() as index, running(index, tmp_path, feed, ecosystem="none") as proxy:
        listed = index.add(wheel("foo", "1.0"))
        assert await get_statuses(proxy, listed) == [200, 200]
        await refresh(proxy, feed, malware("foo"))
        assert (hits, await get_statuses(proxy, listed)) == ([], [200, 200])
