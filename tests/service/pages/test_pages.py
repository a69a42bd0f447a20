"""Pages over time: renewed, stale, withdrawn, rolled back, worked out once for everybody."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path

import pytest

from assay.assembly import Tuning
from assay.pages.cache import PageCacheSettings
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import ChangeHeaders, Fault, Redirect, Refuse, Reply
from tests.world.proxy.running_proxy import (
    SIMPLE_JSON,
    ManualClock,
    RunningProxy,
    fetch_body_or_none,
    make_configuration,
    run_test_proxy,
    wait_for_refreshes,
)

FRESH = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
PATH = "/simple/foo/"


NO_HESITATION = Tuning(pages=PageCacheSettings(stale_fallback_delay=timedelta(milliseconds=50)))
"""A silent index is waited for a moment only."""


async def test_a_fresh_page_costs_nothing_and_an_old_one_a_conditional_request(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo"))
        for _ in range(3):
            assert await proxy.fetch_listed("foo") == {listed.built.filename}
        assert index.count(PATH) == 1
        proxy.clock.now += FRESH + 2 * MINUTE
        assert await proxy.fetch_listed("foo") == {listed.built.filename}
        assert "if-none-match" in index.requests[-1].headers
        assert await proxy.fetch_listed("foo") == {listed.built.filename}
        assert index.count(PATH) == 2, "a 304 makes it fresh again"


async def test_a_page_without_validators_is_renewed_by_its_bytes(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo"))
        index.inject_fault(PATH, ChangeHeaders({"ETag": None}))
        first = await proxy.get(PATH, {"Accept": SIMPLE_JSON})
        proxy.clock.now += FRESH + 2 * MINUTE
        second = await proxy.get(PATH, {"Accept": SIMPLE_JSON})
        assert (first.headers["ETag"], index.count(PATH)) == (second.headers["ETag"], 2)


async def test_a_hot_page_never_waits_for_its_index(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo", "1.0"))
        await proxy.fetch_page("foo")
        index.add(wheel("foo", "2.0"))
        stall = index.stall(PATH)
        proxy.clock.now += FRESH + MINUTE / 2
        for _ in range(3):
            assert len(await proxy.fetch_listed("foo")) == 1, "answered while the index is still thinking"
        await stall.reached.wait()
        assert index.count(PATH) == 2, "one renewal for all"
        stall.release.set()
        await wait_for_refreshes(proxy)
        assert len(await proxy.fetch_listed("foo")) == 2
        # A minute past its freshness it is hot no more: the answer is the index's of now.
        index.add(wheel("foo", "3.0"))
        proxy.clock.now += FRESH + MINUTE
        assert len(await proxy.fetch_listed("foo")) == 3


async def test_that_there_is_no_such_project_is_remembered_for_a_minute(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        for _ in range(3):
            assert (await proxy.get(PATH)).status == 404
        assert index.count(PATH) == 1
        index.add(wheel("foo"))
        assert (await proxy.get(PATH)).status == 404
        proxy.clock.now += MINUTE
        assert (await proxy.get(PATH)).status == 200


@pytest.mark.parametrize(
    "fault",
    [
        Refuse(),
        Reply(500),
        Reply(429),
        Reply(200, b"<html>we are sorry</html>", {"Content-Type": "text/plain"}),
        Reply(200, b"{", {"Content-Type": SIMPLE_JSON}),
        Redirect("http://elsewhere.example/"),
    ],
    ids=repr,
)
async def test_while_the_index_fails_a_remembered_page_is_used_and_says_so(tmp_path: Path, fault: Fault) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo"))
        await proxy.fetch_page("foo")
        index.inject_fault(PATH, fault)
        proxy.clock.now += timedelta(hours=2)
        stale = await proxy.get(PATH, {"Accept": SIMPLE_JSON})
        assert stale.status == 200
        assert {entry["filename"] for entry in stale.json()["files"]} == {listed.built.filename}
        assert stale.headers["Age"] == str(2 * 3600)
        assert stale.headers["Cache-Status"].startswith("assay; hit")
        assert (await proxy.get(proxy.files_path(listed))).body == listed.built.content
        proxy.clock.now += timedelta(days=1)
        gone = await proxy.get(PATH)
        assert gone.status in {502, 503}, "no longer than max-stale"
        assert gone.headers["Cache-Control"] == "no-store"
        index.clear_faults()
        proxy.clock.now += timedelta(minutes=6)
        again = await proxy.get(PATH, {"Accept": SIMPLE_JSON})
        assert again.status == 200
        assert "Age" not in again.headers


@pytest.mark.parametrize("status", [401, 403, 451])
async def test_an_index_that_refuses_is_obeyed(tmp_path: Path, status: int) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo"))
        await proxy.fetch_page("foo")
        index.inject_fault(PATH, Reply(status))
        proxy.clock.now += FRESH + 2 * MINUTE
        assert (await proxy.get(PATH)).status == 502


async def test_a_silent_index_is_not_waited_for_where_there_is_a_page(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, tuning=NO_HESITATION) as proxy:
        for name in ("foo", "bar"):
            index.add(wheel(name, "1.0"))
            await proxy.fetch_page(name)
        index.add(wheel("foo", "2.0"))
        proxy.clock.now += FRESH + 2 * MINUTE
        stall = index.stall(PATH)
        first = await proxy.get(PATH, {"Accept": SIMPLE_JSON})
        assert (first.status, len(first.json()["files"])) == (200, 1)
        assert "Age" in first.headers
        # Nobody else waits either, whatever page it is, until the index may be asked again.
        assert "Age" in (await proxy.get("/simple/bar/", {"Accept": SIMPLE_JSON})).headers
        assert index.count("/simple/bar/") == 1
        stall.release.set()
        await wait_for_refreshes(proxy)
        assert len(await proxy.fetch_listed("foo")) == 2, "its answer was late and is used"


async def test_after_a_restart_with_a_dead_index_all_that_was_here_is_served(tmp_path: Path) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"))
        # As an index that says its serial on the page only.
        index.inject_fault(PATH, ChangeHeaders({"X-PyPI-Last-Serial": None}))
        clock = ManualClock()
        async with run_test_proxy(index, tmp_path, clock=clock) as proxy:
            page = await proxy.get(PATH, {"Accept": SIMPLE_JSON})
            await proxy.get(proxy.files_path(listed))
            metadata = await proxy.get(f"{proxy.files_path(listed)}.metadata")
            await proxy.wait_until_stored(listed)
        await index.down()
        clock.now += timedelta(hours=20)
        async with run_test_proxy(index, tmp_path, clock=clock) as proxy:
            again = await proxy.get(PATH, {"Accept": SIMPLE_JSON})
            assert (again.status, again.body) == (200, page.body)
            assert again.headers["Age"] == str(20 * 3600)
            assert (await proxy.get(proxy.files_path(listed))).body == listed.built.content
            assert (await proxy.get(f"{proxy.files_path(listed)}.metadata")).body == metadata.body


async def test_a_client_that_gives_up_on_a_cold_page_finds_it_done(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, patience=timedelta(0)) as proxy:
        listed = index.add(wheel("foo"))
        stall = index.stall(PATH)
        answers = await asyncio.gather(*(proxy.get(PATH, {"Accept": SIMPLE_JSON}) for _ in range(5)))
        assert {answer.status for answer in answers} == {503}
        assert {answer.headers["Retry-After"] for answer in answers} == {"5"}
        await stall.reached.wait()
        stall.release.set()
        await wait_for_refreshes(proxy)
        assert await proxy.fetch_listed("foo") == {listed.built.filename}
        assert index.count(PATH) == 1


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "assay")
    return caplog


def _told(log: pytest.LogCaptureFixture) -> set[str]:
    return {record.getMessage() for record in log.records}


async def _cached(proxy: RunningProxy, listed: ListedFile) -> None:
    assert (await proxy.get(proxy.files_path(listed))).status == 200
    await proxy.wait_until_stored(listed)


async def test_a_file_that_is_withdrawn_is_gone_from_every_route_at_once(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        bad, good = index.add(wheel("foo", "1.0")), index.add(wheel("foo", "2.0"))
        for listed in (bad, good):
            await _cached(proxy, listed)
        index.remove(bad)
        proxy.clock.now += FRESH + 2 * MINUTE
        path = proxy.files_path(bad)
        assert (await proxy.get(path)).status == 404, "although its blob is here"
        assert (await proxy.head(path)).status == 404
        assert (await proxy.get(path, {"If-None-Match": f'"{bad.built.sha256}"'})).status == 404
        assert (await proxy.get(f"{path}.metadata")).status == 404
        assert (await proxy.get(bad.provenance_path)).status == 404
        assert await proxy.fetch_listed("foo") == {good.built.filename}
        assert (await proxy.get(proxy.files_path(good))).status == 200
        assert "files-withdrawn" in _told(warnings)


async def test_a_project_that_is_withdrawn_takes_its_files_along(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo"))
        await _cached(proxy, listed)
        index.remove_project("foo")
        proxy.clock.now += FRESH + 2 * MINUTE
        assert (await proxy.get(proxy.files_path(listed))).status == 404
        assert (await proxy.get(PATH)).status == 404
        assert "project-withdrawn" in _told(warnings)
        # And while the index is down, it stays gone.
        await index.down()
        proxy.clock.now += FRESH + 2 * MINUTE
        assert (await proxy.get(proxy.files_path(listed))).status == 503


async def test_a_quarantined_project_lists_nothing_and_a_yank_is_passed_on(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed, other = index.add(wheel("foo")), index.add(wheel("bar"))
        await _cached(proxy, listed)
        await proxy.fetch_page("bar")
        index.remove(listed)
        index.set_status("foo", "quarantined", "malware")
        index.yank(other, "broken")
        proxy.clock.now += FRESH + 2 * MINUTE
        page = await proxy.fetch_page("foo")
        assert (page["files"], page["project-status"]["status"]) == ([], "quarantined")
        assert (await proxy.get(proxy.files_path(listed))).status == 404
        (entry,) = (await proxy.fetch_page("bar"))["files"]
        assert entry["yanked"] == "broken"


async def test_a_file_withdrawn_during_its_download_does_not_get_its_tail(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", padding=300_000))
        stall = index.stall(listed.path, after=200_000)
        asked = asyncio.create_task(fetch_body_or_none(proxy, proxy.files_path(listed)))
        await stall.reached.wait()
        index.remove(listed)
        proxy.clock.now += FRESH + 2 * MINUTE
        stall.release.set()
        assert await asked is None


async def test_an_index_that_hangs_at_the_end_of_a_download_does_not_cost_the_download(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, patience=timedelta(milliseconds=10)) as proxy:
        listed = index.add(wheel("foo", padding=300_000))
        await proxy.get(PATH)
        await wait_for_refreshes(proxy)
        stall = index.stall(listed.path, after=200_000)
        asked = asyncio.create_task(proxy.get(proxy.files_path(listed)))
        await stall.reached.wait()
        page = index.stall(PATH)
        proxy.clock.now += FRESH + 2 * MINUTE
        stall.release.set()
        await page.reached.wait()
        page.release.set()
        assert (await asked).body == listed.built.content


async def test_a_page_with_a_lower_serial_is_a_rollback(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    async with Index() as index:
        clock = ManualClock()
        async with run_test_proxy(index, tmp_path, clock=clock) as proxy:
            old, new = index.add(wheel("foo", "1.0")), index.add(wheel("foo", "2.0"))
            await proxy.fetch_page("foo")
            index.remove(new)
            index.set_serial("foo", 1)
            clock.now += FRESH + 2 * MINUTE
            assert await proxy.fetch_listed("foo") == {old.built.filename, new.built.filename}
            assert "serial-rollback" in _told(warnings)
        # What the cache forgets, the ledger does not.
        again = make_configuration(index, tmp_path / "assay", storage={"directory": str(tmp_path / "assay")})
        (tmp_path / "assay" / "records" / "cache.db").unlink()
        async with run_test_proxy(index, tmp_path, clock=clock, configuration=again) as proxy:
            assert (await proxy.get(PATH)).status == 502
            index.set_serial("foo", 10**6)
            assert (await proxy.get(PATH)).status == 200


async def test_thousands_of_invented_names_stay_bounded(tmp_path: Path) -> None:
    tuning = Tuning(pages=PageCacheSettings(max_files=1000))
    async with Index() as index, run_test_proxy(index, tmp_path, tuning=tuning) as proxy:
        names = [f"invented-{number}" for number in range(400)]
        for start in range(0, len(names), 20):
            found = await asyncio.gather(*(proxy.get(f"/simple/{name}/") for name in names[start : start + 20]))
            assert {answer.status for answer in found} == {404}
        assert len(proxy.assembly.gate.resources.pages.cache._memory) <= 101
        assert not proxy.assembly.gate.list_cached_pages()
        assert not proxy.assembly.gate._refreshes
