"""Tests of pages over time: renewal, outages, withdrawals, rollbacks, and one fetch for all requests."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from assay.assembly import Tuning
from assay.pages.cache import PageCacheSettings
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import ChangeHeaders, Chunked, Fault, Hang, Redirect, Refuse, Reply, UntilClose
from tests.world.proxy.running_proxy import (
    ATTESTED_ONLY_POLICY,
    SIMPLE_JSON,
    ManualClock,
    RunningProxy,
    fetch_body_or_none,
    make_configuration,
    run_test_proxy,
    wait_for_refreshes,
)
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore

FRESH = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
PATH = "/simple/foo/"


NO_HESITATION = Tuning(pages=PageCacheSettings(stale_fallback_delay=timedelta(milliseconds=50)))
"""Settings with a short wait for an index that does not respond."""


HTML_TYPE = {"Content-Type": "text/html"}
ANCHORS = b'<a href="foo-1.0-py3-none-any.whl#sha256=%s">x</a>\n' % (b"0" * 64)


INCOMPLETE: list[Fault] = [
    Reply(200, b"", HTML_TYPE),
    Reply(200, b"", {"Content-Type": SIMPLE_JSON}),
    Reply(200, b"<h1>Links for foo</h1>", HTML_TYPE),
    Reply(200, b"<h1>Maintenance</h1><a href='mailto:x@y.example'>us</a><a href='index.html'>home</a>", HTML_TYPE),
    UntilClose(ANCHORS * 3, HTML_TYPE),
    UntilClose(b"", HTML_TYPE),
    UntilClose(b'{"meta": {}, "files": [', {"Content-Type": SIMPLE_JSON}),
    UntilClose(gzip.compress(ANCHORS * 3, mtime=0)[:-9], HTML_TYPE | {"Content-Encoding": "gzip"}),
]
"""Responses that may lack a part of the page."""


@pytest.mark.parametrize("fault", [*INCOMPLETE, Chunked(cut=60)], ids=repr)
async def test_a_page_that_may_be_incomplete_is_no_page(tmp_path: Path, fault: Fault) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo"))
        index.add(wheel("known"))
        await proxy.fetch_page("known")
        index.inject_fault(PATH, fault)
        answer = await proxy.get(PATH)
        if fault == Reply(200, b"<h1>Links for foo</h1>", HTML_TYPE):
            assert (answer.status, await proxy.fetch_listed("foo")) == (200, set()), "nothing is known that it lacks"
            proxy.clock.now += FRESH + 2 * MINUTE
        else:
            assert answer.status == (503 if isinstance(fault, Chunked) else 502)
        index.clear_faults()
        assert await proxy.fetch_listed("foo") == {listed.built.filename}


@pytest.mark.parametrize(
    "fault",
    [
        Chunked(),
        UntilClose(b'{"meta": {"api-version": "1.0"}, "files": []}', {"Content-Type": SIMPLE_JSON}),
        UntilClose(gzip.compress(ANCHORS, mtime=0), HTML_TYPE | {"Content-Encoding": "gzip"}),
        Reply(200, b'<meta name="pypi:repository-version" content="1.0">', HTML_TYPE),
        Reply(200, ANCHORS, HTML_TYPE),
    ],
    ids=repr,
)
async def test_a_page_with_a_marked_end_is_complete(tmp_path: Path, fault: Fault) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo"))
        index.inject_fault(PATH, fault)
        assert (await proxy.get(PATH)).status == 200


@pytest.mark.parametrize("seen", ["in memory", "in the ledger"])
async def test_a_project_does_not_become_empty_by_a_page_without_a_mark(tmp_path: Path, seen: str) -> None:
    clock = ManualClock()
    async with Index(content="html") as index:
        listed = index.add(wheel("foo"))
        async with run_test_proxy(index, tmp_path, clock=clock) as proxy:
            assert await proxy.fetch_listed("foo") == {listed.built.filename}
            if seen == "in the ledger":
                await proxy.assembly.store.records.delete("page:test:foo")
                proxy.assembly.gate.resources.pages.cache._memory.clear()
            clock.now += FRESH + 2 * MINUTE
            index.inject_fault(PATH, Reply(200, b"<h1>Links for foo</h1>", HTML_TYPE))
            answer = await proxy.get(PATH, {"Accept": SIMPLE_JSON})
            assert (answer.status, "Age" in answer.headers) == ((200, True) if seen == "in memory" else (502, False))
            index.clear_faults()
            index.remove(listed)
            clock.now += MINUTE
            assert await proxy.fetch_listed("foo") == set(), "PyPI's page has its mark"


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
        assert index.count(PATH) == 2, "a 304 renews the page"


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
            assert len(await proxy.fetch_listed("foo")) == 1, "answered while the index has not responded yet"
        await stall.reached.wait()
        assert index.count(PATH) == 2, "one renewal for all"
        stall.release.set()
        await wait_for_refreshes(proxy)
        assert len(await proxy.fetch_listed("foo")) == 2
        # A minute past its freshness, the stale page is no longer served: the response waits for the index.
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
        *INCOMPLETE,
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


@asynccontextmanager
async def refusing(
    directory: Path, index: Index, *, statuses: list[int], projects: str = "*"
) -> AsyncIterator[RunningProxy]:
    """Run a proxy before an index whose configuration has `absent-status`."""
    table = {
        "name": "test",
        "url": index.url,
        "projects": [projects],
        "file-hosts": [index.files_host],
        "absent-status": statuses,
    }
    configuration = make_configuration(index, directory / "assay", indexes=[table])
    async with run_test_proxy(index, directory, configuration=configuration) as proxy:
        yield proxy


@pytest.mark.parametrize("status", [401, 403, 451])
async def test_a_refusal_may_mean_that_there_is_no_such_project(tmp_path: Path, status: int) -> None:
    async with Index() as index, refusing(tmp_path, index, statuses=[status]) as proxy:
        index.inject_fault(PATH, Reply(status))
        answer = await proxy.get(PATH)
        assert (answer.status, answer.reason) == (404, "test has no project foo")
        index.inject_fault("/simple/bar/", Reply(401 if status == 403 else 403))
        assert (await proxy.get("/simple/bar/")).status == 502, "another refusal stays a refusal"
        index.clear_faults()
        listed = index.add(wheel("foo"))
        proxy.clock.now += 2 * MINUTE
        assert await proxy.fetch_listed("foo") == {listed.built.filename}


async def test_a_refusal_for_a_reserved_name_is_an_empty_page(tmp_path: Path) -> None:
    async with Index() as index, refusing(tmp_path, index, statuses=[403], projects="foo") as proxy:
        index.inject_fault(PATH, Reply(403))
        assert await proxy.fetch_listed("foo") == set()


@pytest.mark.parametrize("seen", ["in memory", "in the ledger"])
async def test_a_project_that_had_files_is_not_absent_by_a_refusal(tmp_path: Path, seen: str) -> None:
    async with Index() as index, refusing(tmp_path, index, statuses=[403]) as proxy:
        listed = index.add(wheel("foo"))
        await proxy.fetch_page("foo")
        if seen == "in the ledger":
            await proxy.assembly.store.records.delete("page:test:foo")
            proxy.assembly.gate.resources.pages.cache._memory.clear()
        index.inject_fault(PATH, Reply(403))
        proxy.clock.now += FRESH + 2 * MINUTE
        for path in (PATH, proxy.files_path(listed)):
            answer = await proxy.get(path)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert answer.reason.startswith("test answered 403 for foo, which had files: the project may be gone")
        index.clear_faults()
        assert await proxy.fetch_listed("foo") == {listed.built.filename}


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
        # Requests for other stale pages do not wait for the index either, until the back-off has passed.
        assert "Age" in (await proxy.get("/simple/bar/", {"Accept": SIMPLE_JSON})).headers
        assert index.count("/simple/bar/") == 1
        stall.release.set()
        await wait_for_refreshes(proxy)
        assert len(await proxy.fetch_listed("foo")) == 2, "the late response of the index is used"


async def test_after_a_restart_with_a_dead_index_all_that_was_here_is_served(tmp_path: Path) -> None:
    async with Index() as index:
        listed = index.add(wheel("foo"))
        # An index that gives its serial only on the page.
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
        assert (await proxy.get(path)).status == 404, "although its blob is cached"
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
        # The file remains withdrawn while the index is down.
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
        # The cached pages are lost, but the ledger has the serial.
        again = make_configuration(index, tmp_path / "assay", storage={"directory": str(tmp_path / "assay")})
        (tmp_path / "assay" / "records" / "cache.db").unlink()
        async with run_test_proxy(index, tmp_path, clock=clock, configuration=again) as proxy:
            assert (await proxy.get(PATH)).status == 503
            index.set_serial("foo", 10**6)
            assert (await proxy.get(PATH)).status == 200


async def test_lower_serials_keep_the_newer_page_for_a_day_then_are_refused_and_then_believed(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    async with Index() as index:
        clock = ManualClock()
        async with run_test_proxy(index, tmp_path, clock=clock) as proxy:
            old, new = index.add(wheel("foo", "1.0")), index.add(wheel("foo", "2.0"))
            await proxy.fetch_page("foo")
            index.remove(new)
            index.set_serial("foo", 1)
            clock.now += FRESH + 2 * MINUTE
            began = clock.now
            for days in (0, 0.9):
                clock.now = began + timedelta(days=days)
                assert await proxy.fetch_listed("foo") == {old.built.filename, new.built.filename}
        # A restart does not begin the time anew.
        again = make_configuration(index, tmp_path / "assay", storage={"directory": str(tmp_path / "assay")})
        async with run_test_proxy(index, tmp_path, clock=clock, configuration=again) as proxy:
            for days in (1.1, 6.9):
                clock.now = began + timedelta(days=days)
                assert (await proxy.get(PATH)).status == 503
            assert "serial-believed" not in _told(warnings)
            clock.now = began + timedelta(days=7, minutes=1)
            assert await proxy.fetch_listed("foo") == {old.built.filename}
            assert "serial-believed" in _told(warnings)
            # From now on the lower serial counts: a page that is older still is a rollback.
            index.remove(old)
            index.set_serial("foo", 0)
            clock.now += FRESH + 2 * MINUTE
            assert await proxy.fetch_listed("foo") == {old.built.filename}


async def test_an_index_that_sends_the_newer_page_again_has_ended_its_rollback(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    async with Index() as index:
        clock = ManualClock()
        async with run_test_proxy(index, tmp_path, clock=clock) as proxy:
            index.add(wheel("foo", "1.0"))
            serial = (await proxy.fetch_page("foo"))["meta"]["_last-serial"]
            for _ in range(2):
                index.set_serial("foo", 1)
                clock.now += FRESH + 2 * MINUTE
                assert (await proxy.get(PATH)).status == 200
                index.set_serial("foo", serial)
                clock.now += timedelta(days=6)
                assert (await proxy.get(PATH)).status == 200
            assert "serial-believed" not in _told(warnings)


async def test_serials_belong_to_the_url_of_an_index(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    clock, storage = ManualClock(), {"directory": str(tmp_path / "assay")}
    async with Index() as index, Index() as mirror:
        index.add(wheel("foo", "1.0"))
        first = make_configuration(index, tmp_path / "assay", storage=storage)
        async with run_test_proxy(index, tmp_path, clock=clock, configuration=first) as proxy:
            assert (await proxy.get(PATH)).status == 200
        listed = mirror.add(wheel("foo", "1.0"))
        mirror.set_serial("foo", 3)
        second = make_configuration(mirror, tmp_path / "assay", storage=storage)
        async with run_test_proxy(mirror, tmp_path, clock=clock, configuration=second) as proxy:
            assert await proxy.fetch_listed("foo") == {listed.built.filename}
            assert "serial-rollback" not in _told(warnings)
            mirror.set_serial("foo", 2)
            clock.now += FRESH + 2 * MINUTE
            assert (await proxy.get(PATH)).status == 200
            assert "serial-rollback" in _told(warnings)


@pytest.mark.parametrize(("serial", "is_believed"), [(10**17, False), (10**13 + 1, False), (10**13, True)])
async def test_a_serial_of_ten_to_the_seventeen_is_not_believed(
    tmp_path: Path, warnings: pytest.LogCaptureFixture, serial: int, is_believed: bool
) -> None:
    clock = ManualClock()
    async with Index() as index, run_test_proxy(index, tmp_path, clock=clock) as proxy:
        index.add(wheel("foo", "1.0"))
        index.set_serial("foo", serial)
        assert (await proxy.get(PATH)).status == 200
        assert ("serial-implausible" in _told(warnings)) is not is_believed
        index.set_serial("foo", 1000)
        clock.now += FRESH + 2 * MINUTE
        assert (await proxy.get(PATH)).status == 200
        assert ("serial-rollback" in _told(warnings)) is is_believed


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


async def test_a_page_that_is_not_ready_says_if_its_index_or_its_verification_is_awaited(tmp_path: Path) -> None:
    sigstore, built, patience = PrivateSigstore(seed=1), wheel("foo"), timedelta(seconds=0.2)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, policy=ATTESTED_ONLY_POLICY, sigstore=sigstore, patience=patience) as proxy,
    ):
        index.add(built, provenance=sigstore.provenance(built.filename, built.sha256), upload_time=SIGNING_TIME)
        stall = index.stall(PATH)
        silent = await proxy.get(PATH)
        assert (silent.status, silent.headers["Retry-After"]) == (503, "5")
        assert silent.reason == "the index has not sent the page of foo yet; try again"

        async def never() -> bool:
            return False

        async with proxy.assembly.gate._flights.flight("evidence:test:foo", never):
            stall.release.set()
            await proxy.assembly.gate.resources.pages.cache._requests.wait_until_idle()
            verifying = await proxy.get(PATH)
        assert verifying.status == 503
        assert verifying.reason == "the page of foo is still being verified; try again"
        await wait_for_refreshes(proxy)
        assert await proxy.fetch_listed("foo") == {built.filename}


@pytest.mark.parametrize(("memory", "requests"), [(timedelta(hours=1), 1), (timedelta(0), 2)])
async def test_a_page_that_timed_out_is_not_waited_for_again_at_once(
    tmp_path: Path, memory: timedelta, requests: int
) -> None:
    tuning = Tuning(pages=PageCacheSettings(silence_memory=memory))
    async with Index() as index:
        table = {"name": "test", "url": index.url, "limits": {"timeouts": {"read": "1 second"}}}
        configuration = make_configuration(index, tmp_path / "assay", indexes=[table])
        async with run_test_proxy(index, tmp_path, configuration=configuration, tuning=tuning) as proxy:
            listed = index.add(wheel("foo"))
            index.add(wheel("bar"))
            index.inject_fault(PATH, Hang())
            for _ in range(2):
                answer = await proxy.get(PATH)
                assert (answer.status, answer.reason) == (503, f"{index.origin}{PATH}: timed out")
            assert index.count(PATH) == requests
            assert await proxy.fetch_listed("bar"), "another page of the index is requested"
            index.clear_faults()
            again = await proxy.get(PATH, {"Accept": SIMPLE_JSON})
            assert (again.status == 200) == (requests == 2)
            assert (listed.built.filename in again.body.decode()) == (requests == 2)
