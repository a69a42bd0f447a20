"""Feeds of advisories: what each answer of their server leads to, and what survives a restart."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from packaging.utils import NormalizedName
from packaging.version import Version

from assay import telemetry
from assay.advisories.in_force import AdvisoriesInForce
from assay.advisory_feeds.reader import ReaderLimits
from assay.advisory_feeds.service import AdvisoryFeeds, FeedStatus
from assay.advisory_feeds.settings import AdvisoryFeedSettings
from assay.errors import StorageError
from assay.indexes import LimitsSettings
from assay.ports import UsedProject
from assay.telemetry.subscribers import Event
from assay.upstream.client import UpstreamClient
from assay.upstream.credentials import IndexAuthorizations
from tests.world.advisories.feed_server import FeedServer
from tests.world.advisories.feeds import make_zip
from tests.world.advisories.records import RecordDict, encode_record, make_affected, make_record
from tests.world.proxy.running_proxy import ManualClock

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
NEWEST = make_record("GHSA-9", make_affected("zlib-ng", versions=["1"]), modified="2026-11-28T00:00:00Z")


def malware(number: int, **more: Any) -> RecordDict:
    return make_record(f"MAL-2026-{number}", make_affected(f"p{number}"), **more)


def many(count: int) -> list[RecordDict]:
    return [NEWEST, *(malware(number) for number in range(count - 1))]


@dataclass
class World:
    """Feeds of a proxy without the proxy."""

    directory: Path
    tables: list[dict[str, Any]]
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    used: list[UsedProject] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    reader_limits: ReaderLimits | None = None

    def serve(self, *numbers: int, version: str = "1.0") -> None:
        self.used += [
            UsedProject(index="pypi", project=NormalizedName(f"p{each}"), last_used=NOW, versions={version: NOW})
            for each in numbers
        ]

    def named(self, event: str) -> list[dict[str, Any]]:
        return [dict(each.fields) for each in self.events if each.name == event]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Feeds]:
        """Load and start the feeds, as a start of the proxy does."""
        settings = [AdvisoryFeedSettings.model_validate(each) for each in self.tables]
        limits = LimitsSettings()
        hosts = [index for each in settings if (index := each.make_index(limits)) is not None]
        client = UpstreamClient(limits=limits, authorizations=IndexAuthorizations(hosts, {}), proxies={}, indexes=hosts)

        async def list_served(_since: datetime) -> Sequence[UsedProject]:
            return list(self.used)

        in_force = AdvisoriesInForce()
        feeds = AdvisoryFeeds(
            settings,
            storage_directory=self.directory,
            upstream=client,
            limits=limits,
            in_force=in_force,
            list_served=list_served,
            clock=self.clock,
            reader_limits=self.reader_limits,
        )
        unsubscribe = telemetry.subscribe(self.events.append)
        await client.start()
        try:
            await feeds.load()
            yield Feeds(feeds, in_force)
        finally:
            await feeds.close()
            await client.close()
            unsubscribe()


@dataclass
class Feeds:
    """Feeds with what tests ask of them."""

    service: AdvisoryFeeds
    in_force: AdvisoriesInForce

    def ids(self) -> set[str]:
        return {each for feed in self.service.feeds if feed.snapshot is not None for each in feed.snapshot.ids}

    def withheld(self, *numbers: int, version: str = "1.0") -> list[int]:
        """Return the numbers of the projects of which the version is withheld where malware is denied."""
        found = []
        for number in numbers:
            name = NormalizedName(f"p{number}")
            advisories = self.in_force.current().find(name)
            if any(each.withholds and each.covers(name, Version(version)) for each in advisories):
                found.append(number)
        return found

    def status(self) -> FeedStatus:
        return self.service.list_statuses()[0]


@pytest.fixture
async def server() -> AsyncIterator[FeedServer]:
    async with FeedServer() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, server: FeedServer) -> World:
    return World(tmp_path, [{"name": "osv", "url": server.url}])


async def test_a_feed_is_fetched_once_and_then_asked_conditionally(world: World, server: FeedServer) -> None:
    server.offer(malware(1), NEWEST)
    async with world.open() as feeds:
        assert feeds.status().problem == "no snapshot has been loaded yet"
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(1, 2) == [1]
        assert await feeds.service.refresh() == {}
        server.offer(malware(1), malware(2), NEWEST)
        assert await feeds.service.refresh() == {}
        assert (feeds.withheld(1, 2), server.statuses) == ([1, 2], [200, 304, 200])
        assert (feeds.status().records, feeds.status().malware, feeds.status().problem) == (3, 2, None)
    (first, second) = world.named("advisories-refreshed")
    assert (first["records"], second["records"], second["changed"]) == (2, 3, True)


async def test_the_last_good_snapshot_is_in_force_after_a_restart_without_the_server(
    world: World, server: FeedServer
) -> None:
    server.offer(malware(1), NEWEST)
    async with world.open() as feeds:
        await feeds.service.refresh()
    async with world.open() as feeds:
        assert feeds.withheld(1) == [1]
        assert feeds.status().age == timedelta()
        await feeds.service.refresh()
        assert server.statuses == [200, 304]


async def _hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _fail(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=503)


async def _redirect(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://169.254.169.254/all.zip")


async def _log_in(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>log in</html>", content_type="text/html")


async def _forbid(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=403)


async def _miss(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


async def _not_modified(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=304)


@pytest.mark.parametrize("answer", [_hang_up, _fail, _redirect, _log_in, _forbid, _miss])
async def test_a_failing_server_leaves_the_snapshot_in_force(world: World, server: FeedServer, answer: Any) -> None:
    server.offer(malware(1), NEWEST)
    async with world.open() as feeds:
        await feeds.service.refresh()
        server.answer = answer
        failures = await feeds.service.refresh()
        assert list(failures) == ["osv"]
        assert feeds.withheld(1) == [1]
        assert feeds.status().problem is None
        (event,) = world.named("advisory-refresh-failed")
        assert event["error"] == failures["osv"]

        world.clock.now += timedelta(days=1, minutes=1)
        assert (feeds.status().problem or "").startswith("the snapshot is 1441 minutes old; the last refresh failed: ")
        server.answer = None
        await feeds.service.refresh()
        assert feeds.status().problem is None


async def test_a_304_without_a_snapshot_is_no_snapshot(world: World, server: FeedServer) -> None:
    server.answer = _not_modified
    async with world.open() as feeds:
        assert list(await feeds.service.refresh()) == ["osv"]
        assert feeds.ids() == set()


def _truncate(content: bytes) -> bytes:
    return content[:-30]


def _make_bomb(_content: bytes) -> bytes:
    return make_zip(NEWEST, more={f"{number}.json": b" " * 1_900_000 for number in range(30)})


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (_truncate, "expected a complete zip of OSV records"),
        (_make_bomb, "expected at most 20000000 bytes after decompression"),
    ],
)
async def test_a_truncated_zip_or_a_zip_bomb_leaves_the_snapshot_in_force(
    world: World, server: FeedServer, spoil: Any, problem: str
) -> None:
    world.reader_limits = ReaderLimits(total_bytes=20_000_000)
    server.offer(malware(1), NEWEST)
    async with world.open() as feeds:
        await feeds.service.refresh()
        server.content = spoil(make_zip(malware(1), malware(2), NEWEST))
        failures = await feeds.service.refresh()
        assert failures["osv"].startswith(problem)
        assert feeds.withheld(1, 2) == [1]
        assert {path.name for path in (world.directory / "advisories" / "osv").iterdir()} == {"snapshot", "state.json"}


async def test_a_zip_larger_than_max_size_is_not_stored(world: World, server: FeedServer) -> None:
    world.tables[0]["max-size"] = 1000
    server.content = make_zip(NEWEST) + b"x" * 2000
    async with world.open() as feeds:
        assert "1000" in (await feeds.service.refresh())["osv"]
        assert not (world.directory / "advisories" / "osv" / "download").exists()


async def test_deep_json_is_skipped_and_counted(world: World, server: FeedServer) -> None:
    deep = b'{"id": "MAL-2026-2", "affected": ' + b"[" * 300_000 + b"]" * 300_000 + b"}"
    server.content = make_zip(malware(1), NEWEST, more={"MAL-2026-2.json": deep})
    async with world.open() as feeds:
        assert await feeds.service.refresh() == {}
        assert (feeds.withheld(1, 2), feeds.status().skipped) == ([1], 1)
    (event,) = world.named("advisory-records-skipped")
    assert event["count"] == 1
    assert event["first"][0].startswith("'MAL-2026-2.json': ")


async def test_a_shrunk_snapshot_is_refused_until_a_person_accepts_it(world: World, server: FeedServer) -> None:
    server.offer(*many(20))
    async with world.open() as feeds:
        await feeds.service.refresh()
        server.offer(*many(18))
        for _ in range(2):  # also after a 304
            failures = await feeds.service.refresh()
            assert failures["osv"].startswith("the snapshot has 18 records and the previous one had 20")
        assert server.statuses == [200, 200, 304]
        assert feeds.withheld(*range(20)) == list(range(19))
        assert "run: assay advisories accept osv" in (feeds.status().problem or "")
        assert [each.level for each in world.events if each.name == "advisory-snapshot-refused"] == ["security"] * 2

    async with world.open() as feeds:
        refused = feeds.service.feeds[0].state.refused
        assert refused is not None
        await feeds.service.accept("osv", "0" * 64, (), "wrong digest")
        assert feeds.status().is_refused
        await feeds.service.accept("osv", refused.digest, (), "checked by hand")
        assert (feeds.status().is_refused, feeds.status().records, feeds.status().missing) == (False, 20, 2)
        assert feeds.withheld(*range(20)) == list(range(19))  # missing malware stays
        assert await feeds.service.refresh() == {}
        assert server.statuses[-1] == 304
    assert world.named("advisories-accepted")[-1]["reason"] == "checked by hand"


async def test_a_snapshot_with_older_changes_is_refused_until_a_newer_one_comes(
    world: World, server: FeedServer
) -> None:
    server.offer(malware(1), NEWEST)
    async with world.open() as feeds:
        await feeds.service.refresh()
        server.offer(malware(1), malware(2))
        assert (await feeds.service.refresh())["osv"].startswith("the newest change in the snapshot is of 2026-11-20")
        assert feeds.withheld(1, 2) == [1]
        server.offer(malware(1), malware(2), NEWEST)
        assert await feeds.service.refresh() == {}
        assert (feeds.withheld(1, 2), feeds.status().is_refused) == ([1, 2], False)
        assert not (world.directory / "advisories" / "osv" / "refused").exists()


async def test_a_change_in_the_future_counts_as_now(world: World, server: FeedServer) -> None:
    server.offer(malware(1, modified="2099-01-01T00:00:00Z"))
    async with world.open() as feeds:
        await feeds.service.refresh()
        world.clock.now += timedelta(minutes=15)
        server.offer(malware(1, modified="2026-11-29T12:05:00Z"))
        assert await feeds.service.refresh() == {}


async def test_malware_stays_in_force_while_it_is_missing_and_until_it_is_withdrawn(
    world: World, server: FeedServer
) -> None:
    server.offer(*many(20))
    async with world.open() as feeds:
        await feeds.service.refresh()
        server.offer(*(each for each in many(20) if each["id"] != "MAL-2026-3"))
        assert await feeds.service.refresh() == {}
        assert (feeds.withheld(3), feeds.status().missing) == ([3], 1)
    async with world.open() as feeds:
        assert feeds.withheld(3) == [3]
        withdrawn = malware(3, withdrawn="2026-11-29T00:00:00Z", modified="2026-11-29T00:00:00Z")
        server.offer(*(each if each["id"] != "MAL-2026-3" else withdrawn for each in many(20)))
        assert await feeds.service.refresh() == {}
        assert (feeds.withheld(3, 4), feeds.status().missing) == ([4], 0)


async def test_more_hits_on_served_projects_than_the_limit_are_held_for_these_projects_only(
    world: World, server: FeedServer
) -> None:
    world.tables[0]["max-new-hits"] = 2
    world.serve(1, 2, 3)
    server.offer(NEWEST)
    async with world.open() as feeds:
        await feeds.service.refresh()
        server.offer(NEWEST, *(malware(number) for number in range(1, 6)))
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(1, 2, 3, 4, 5) == [4, 5]
        assert "3 malware hits are on hold" in (feeds.status().problem or "")
        (event,) = world.named("advisory-hits-on-hold")
        assert (event["projects"], event["first"][0]) == (3, "MAL-2026-1 p1")

    async with world.open() as feeds:  # on hold after a restart, and after a further refresh
        assert feeds.withheld(1, 2, 3, 4, 5) == [4, 5]
        world.serve(7)
        server.offer(NEWEST, *(malware(number) for number in range(1, 8)))
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(*range(1, 8)) == [4, 5, 6, 7]  # a single further hit on a used project acts at once
        held = feeds.service.feeds[0].state.on_hold
        await feeds.service.accept("osv", None, [("MAL-2026-1", NormalizedName("p1"))], "checked")
        assert feeds.withheld(*range(1, 8)) == [1, 4, 5, 6, 7]
        await feeds.service.accept("osv", None, held, "checked")
        assert (feeds.withheld(*range(1, 8)), feeds.status().problem) == (list(range(1, 8)), None)


async def test_as_many_hits_as_the_limit_act_at_once(world: World, server: FeedServer) -> None:
    world.tables[0]["max-new-hits"] = 3
    world.serve(1, 2, 3)
    server.offer(NEWEST, *(malware(number) for number in range(1, 6)))
    async with world.open() as feeds:
        await feeds.service.refresh()
        assert feeds.withheld(1, 2, 3, 4, 5) == [1, 2, 3, 4, 5]


async def test_the_schedule_refreshes_by_itself(world: World, server: FeedServer) -> None:
    world.tables[0]["refresh-every"] = "1 second"
    server.offer(malware(1), NEWEST)
    async with world.open() as feeds:
        feeds.service.start()
        async with asyncio.timeout(20):
            while feeds.withheld(1) != [1]:  # noqa: ASYNC110 - there is no event to await
                await asyncio.sleep(0.01)
            server.offer(malware(1), malware(2), NEWEST)
            while feeds.withheld(2) != [2]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)


async def test_nothing_may_be_served_before_a_required_feed_has_a_snapshot(world: World, server: FeedServer) -> None:
    world.tables[0]["required"] = True
    server.answer = _fail
    async with world.open() as feeds:
        assert feeds.in_force.explain_not_ready() == "the required feed of advisories osv has no snapshot yet"
        await feeds.service.refresh()
        assert "the last refresh failed: " in (feeds.in_force.explain_not_ready() or "")
        server.answer = None
        server.offer(malware(1), NEWEST)
        await feeds.service.refresh()
        assert feeds.in_force.explain_not_ready() is None
        server.answer = _fail
        await feeds.service.refresh()
        assert feeds.in_force.explain_not_ready() is None
    async with world.open() as feeds:
        assert feeds.in_force.explain_not_ready() is None


async def test_a_damaged_snapshot_on_disk_is_fetched_again(world: World, server: FeedServer) -> None:
    server.offer(malware(1), NEWEST)
    async with world.open() as feeds:
        await feeds.service.refresh()
    folder = world.directory / "advisories" / "osv"
    (folder / "snapshot").write_bytes((folder / "snapshot").read_bytes()[:-1])
    (folder / "state.json").write_bytes(b"{")
    async with world.open() as feeds:
        assert feeds.ids() == set()
        await feeds.service.refresh()
        assert (feeds.withheld(1), server.statuses) == ([1], [200, 200])
    assert len(world.named("advisory-snapshot-damaged")) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"obtained": "2026-11-29T12:00:00"},
        {"obtained": 7},
        {"etag": 7},
        {"error": []},
        {"refused": {"digest": "0", "reason": "few", "at": "2026-11-29T12:00:00", "count": 1}},
        {"refused": {"digest": "0", "reason": 7, "at": "2026-11-29T12:00:00Z", "count": 1}},
        {"on-hold": [["MAL-2026-1"]]},
        {"in-force": [["MAL-2026-1"]]},
    ],
    ids=str,
)
async def test_a_malformed_state_on_disk_is_no_state(world: World, server: FeedServer, changes: dict[str, Any]) -> None:
    server.offer(malware(1), NEWEST)
    async with world.open() as feeds:
        await feeds.service.refresh()
    path = world.directory / "advisories" / "osv" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    async with world.open() as feeds:
        assert feeds.withheld(1) == [1], "the snapshot has its own checksum"
        assert await feeds.service.refresh() == {}
        assert (feeds.status().age, feeds.status().is_refused, server.statuses) == (timedelta(), False, [200, 200])


async def test_a_refused_snapshot_that_was_lost_is_fetched_again(world: World, server: FeedServer) -> None:
    server.offer(*many(20))
    async with world.open() as feeds:
        await feeds.service.refresh()
        server.offer(*many(18))
        await feeds.service.refresh()
        refused = feeds.service.feeds[0].state.refused
        assert refused is not None
        (world.directory / "advisories" / "osv" / "refused").unlink()
        with pytest.raises(StorageError, match="missing; refresh again"):
            await feeds.service.accept("osv", refused.digest, (), "checked by hand")
        assert feeds.status().is_refused
        await feeds.service.refresh()
        await feeds.service.accept("osv", refused.digest, (), "checked by hand")
        assert not feeds.status().is_refused


async def test_a_record_in_a_directory_that_cannot_be_read_is_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    world = World(tmp_path, [{"name": "own", "url": str(folder)}])
    (folder / "MAL-2026-1.json").write_bytes(encode_record(malware(1)))
    (folder / "MAL-2026-2.json").symlink_to("missing")
    async with world.open() as feeds:
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(1, 2) == [1]
        os.utime(folder / "MAL-2026-1.json", (NOW.timestamp(), 400_000 * 365 * 86_400))
        (folder / "missing").write_bytes(encode_record(malware(2)))
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(1, 2) == [1, 2]


async def test_a_directory_is_read_when_it_changes_and_its_age_is_that_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    world = World(tmp_path, [{"name": "own", "url": str(folder)}])
    path = folder / "MAL-2026-1.json"
    path.write_bytes(encode_record(malware(1)))
    async with world.open() as feeds:
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(1) == [1]
        (folder / "MAL-2026-2.json").write_bytes(encode_record(malware(2)))
        assert await feeds.service.refresh() == {}
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(1, 2) == [1, 2]
        assert len(world.named("advisories-refreshed")) == 2
        for each in (folder, *folder.iterdir()):
            os.utime(each, (NOW.timestamp() - 7 * 86_400,) * 2)
        assert await feeds.service.refresh() == {}
        assert feeds.status().age == timedelta(days=7)
        assert feeds.status().problem == "the snapshot is 7 days old"


async def test_a_broken_link_in_a_directory_is_a_broken_record(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "MAL-2026-1.json").write_bytes(encode_record(malware(1)))
    (folder / "MAL-2026-2.json").symlink_to(folder / "absent.json")
    async with World(tmp_path, [{"name": "own", "url": str(folder)}]).open() as feeds:
        assert await feeds.service.refresh() == {}
        assert (feeds.withheld(1), feeds.status().skipped) == ([1], 1)


async def test_a_refused_snapshot_that_is_missing_from_the_disk_is_fetched_again(
    world: World, server: FeedServer
) -> None:
    server.offer(*many(20))
    async with world.open() as feeds:
        await feeds.service.refresh()
        server.offer(*many(10))
        await feeds.service.refresh()
    (world.directory / "advisories" / "osv" / "refused").unlink()
    async with world.open() as feeds:
        assert not feeds.status().is_refused
        assert list(await feeds.service.refresh()) == ["osv"]
        assert (feeds.status().is_refused, server.statuses) == (True, [200, 200, 200])


async def test_an_absent_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    world = World(tmp_path, [{"name": "own", "url": str(tmp_path / "all.zip")}])
    async with world.open() as feeds:
        assert await feeds.service.refresh() == {"own": f"{tmp_path}/all.zip: No such file or directory"}


async def test_two_feeds_are_one_snapshot(tmp_path: Path, server: FeedServer) -> None:
    (tmp_path / "own.zip").write_bytes(make_zip(malware(7)))
    server.offer(malware(1), NEWEST)
    tables = [{"name": "osv", "url": server.url}, {"name": "own", "url": str(tmp_path / "own.zip")}]
    async with World(tmp_path, tables).open() as feeds:
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(1, 7) == [1, 7]
        assert json.loads(feeds.in_force.current().get_raw("MAL-2026-7") or b"")["id"] == "MAL-2026-7"


def _tables(server: FeedServer, path: Path) -> list[dict[str, Any]]:
    return [{"name": "osv", "url": server.url}, {"name": "own", "url": str(path), "max-new-hits": 1}]


@pytest.mark.parametrize("is_in_force_first", [True, False])
async def test_hits_on_hold_of_one_feed_act_for_another_feed_that_has_them(
    tmp_path: Path, server: FeedServer, is_in_force_first: bool
) -> None:
    own, world = tmp_path / "own.zip", World(tmp_path, _tables(server, tmp_path / "own.zip"))
    world.serve(1, 2, 3)
    own.write_bytes(make_zip(NEWEST))
    server.offer(NEWEST, malware(1)) if is_in_force_first else server.offer(NEWEST)
    async with world.open() as feeds:
        await feeds.service.refresh()
        newer = "2026-11-29T00:00:00Z"
        own.write_bytes(make_zip(NEWEST, *(malware(number, modified=newer) for number in (1, 2, 3))))
        await feeds.service.refresh()
        assert feeds.withheld(1, 2, 3) == ([1] if is_in_force_first else [])
        server.offer(NEWEST, malware(1), malware(2))
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(1, 2, 3) == [1, 2]
    async with world.open() as feeds:
        assert feeds.withheld(1, 2, 3) == [1, 2]
        await feeds.service.accept("own", None, feeds.service.get_feed("own").state.on_hold, "checked")
        assert feeds.withheld(1, 2, 3) == [1, 2, 3]


async def test_a_record_is_withdrawn_only_for_the_feed_that_withdrew_it(tmp_path: Path, server: FeedServer) -> None:
    own, world = tmp_path / "own.zip", World(tmp_path, _tables(server, tmp_path / "own.zip"))
    server.offer(NEWEST, malware(1))
    own.write_bytes(make_zip(malware(1), malware(2)))
    async with world.open() as feeds:
        assert await feeds.service.refresh() == {}
        gone = {"withdrawn": "2026-11-29T00:00:00Z", "modified": "2026-11-29T00:00:00Z"}
        own.write_bytes(make_zip(malware(1, **gone), malware(2, **gone)))
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(1, 2) == [1]
        server.offer(NEWEST, malware(1, **gone))
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(1, 2) == []


@pytest.mark.parametrize("is_state_lost", [False, True])
async def test_hits_in_force_act_again_with_the_refresh_after_the_stored_snapshot_was_damaged(
    world: World, server: FeedServer, is_state_lost: bool
) -> None:
    world.tables[0]["max-new-hits"] = 2
    world.serve(*range(1, 8))
    async with world.open() as feeds:
        for last in (2, 3, 7):  # each refresh but the last one names at most two more projects
            server.offer(NEWEST, *(malware(number) for number in range(1, last + 1)))
            await feeds.service.refresh()
        accepted = [(f"MAL-2026-{number}", NormalizedName(f"p{number}")) for number in (4, 5, 6)]
        await feeds.service.accept("osv", None, accepted, "checked")
        assert feeds.withheld(*range(1, 8)) == list(range(1, 7))
    folder = world.directory / "advisories" / "osv"
    (folder / "snapshot").write_bytes(b"damaged")
    if is_state_lost:
        (folder / "state.json").unlink()
    async with world.open() as feeds:
        assert await feeds.service.refresh() == {}
        assert feeds.withheld(*range(1, 8)) == ([] if is_state_lost else list(range(1, 7)))
