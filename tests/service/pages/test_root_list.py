"""Tests of the list of all projects: spooled, filtered, and kept while the index is down."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest

from assay.errors import StorageError
from assay.policy.language.document import load_policy
from assay.store.spool import DiskSpooledFile, DiskSpoolWriter
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import CannedResponse, Reply, UntilClose
from tests.world.proxy.running_proxy import SIMPLE_JSON, RunningProxy, make_configuration, run_test_proxy

DENIES = """
version = 1
[[rules]]
name = "no"
projects = ["denied", "un*"]
deny = "never"
[[rules]]
name = "yes"
projects = ["*"]
"""


async def names(proxy: RunningProxy) -> list[str]:
    answer = await proxy.get("/simple/", {"Accept": SIMPLE_JSON})
    assert answer.status == 200, answer.reason
    return [project["name"] for project in answer.json()["projects"]]


@pytest.mark.parametrize("content", ["json", "html"])
async def test_it_lists_what_the_index_lists_without_names_that_policy_denies(tmp_path: Path, content: str) -> None:
    async with Index(content=content) as index:  # type: ignore[arg-type] # one of the literals of the parameter
        for name in ("Foo", "denied", "Un_wanted", "bar"):
            index.add(wheel(name, "1.0"))
        async with run_test_proxy(index, tmp_path, policy=DENIES) as proxy:
            assert sorted(name.lower() for name in await names(proxy)) == ["bar", "foo"]
            html = await proxy.get("/simple/", {"Accept": "text/html"})
            assert sorted(re.findall(r'href="([^"]*)"', html.body.decode())) == ["bar/", "foo/"]
            assert html.headers["Content-Type"].startswith("text/html")
            assert html.headers["Vary"] == "Accept"
            head = await proxy.head("/simple/", {"Accept": "text/html"})
            assert (head.headers["Content-Length"], head.body) == (str(len(html.body)), b"")
            again = await proxy.get("/simple/", {"Accept": "text/html", "If-None-Match": html.headers["ETag"]})
            assert again.status == 304
            assert index.count("/simple/") == 1, "one request for all formats"


async def test_a_reloaded_policy_is_obeyed_by_the_next_request(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("denied", "1.0"))
        index.add(wheel("foo", "1.0"))
        assert await names(proxy) == ["denied", "foo"]
        proxy.assembly.gate.policy = load_policy(DENIES, "policy.toml")
        assert await names(proxy) == ["foo"]


async def test_who_asks_after_a_reload_is_not_answered_by_a_list_begun_before_it(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("denied", "1.0"))
        index.add(wheel("foo", "1.0"))
        stall = index.stall("/simple/")
        early = asyncio.create_task(names(proxy))
        await stall.reached.wait()
        proxy.assembly.gate.policy = load_policy(DENIES, "policy.toml")
        late = asyncio.create_task(names(proxy))
        stall.release.set()
        assert await late == ["foo"]
        assert await early == ["foo"], "the request had no response yet when the policy changed"
        assert index.count("/simple/") == 2


async def test_the_old_list_serves_while_a_new_one_is_fetched_or_cannot_be(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo", "1.0"))
        assert await names(proxy) == ["foo"]
        await index.down()
        proxy.clock.now += timedelta(hours=1)
        assert await names(proxy) == ["foo"]
        await index.up()


async def test_without_any_list_the_answer_says_that_the_index_cannot_be_reached(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo", "1.0"))
        index.inject_fault("/simple/", Reply(503), times=None)
        answer = await proxy.get("/simple/")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        index.clear_faults()
        assert await names(proxy) == ["foo"]


async def test_a_name_belongs_to_one_index_alone(tmp_path: Path) -> None:
    async with Index() as public, Index() as internal:
        public.add(wheel("foo", "1.0"))
        public.add(wheel("acme-core", "9.0"))
        internal.add(wheel("acme-core", "1.0"))
        internal.add(wheel("stray", "1.0"))
        tables = [
            {"name": "internal", "url": internal.url, "projects": ["acme-*"]},
            {"name": "public", "url": public.url},
        ]
        configuration = make_configuration(public, tmp_path / "assay", indexes=tables)
        async with run_test_proxy(public, tmp_path, configuration=configuration) as proxy:
            assert sorted(await names(proxy)) == ["acme-core", "foo"]
            assert await proxy.fetch_listed("acme-core") == {"acme_core-1.0-py3-none-any.whl"}
            assert public.count("/simple/acme-core/") == 0
            # An owned name without a project gets an empty page, so that no client asks another index.
            assert await proxy.fetch_listed("acme-other") == set()
            assert (await proxy.get("/simple/other/")).status == 404


async def test_a_list_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with Index() as index:
        configuration = make_configuration(index, tmp_path / "assay", limits={"page": "10 kB"})
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            body = b"<!DOCTYPE html><body>" + b'<a href="/simple/foo/">foo</a>' * 1000
            index.serve_fixed("/simple/", CannedResponse(body=body, headers={"Content-Type": "text/html"}))
            assert (await proxy.get("/simple/")).status == 502


@pytest.mark.parametrize("kind", ["text/html", SIMPLE_JSON])
async def test_a_list_without_a_marked_end_is_refused_in_html(tmp_path: Path, kind: str) -> None:
    html = b'<!DOCTYPE html><body><a href="/simple/foo/">foo</a>'
    body = html if kind == "text/html" else b'{"meta": {"api-version": "1.0"}, "projects": [{"name": "foo"}]}'
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.inject_fault("/simple/", UntilClose(body, {"Content-Type": kind}))
        assert (await proxy.get("/simple/")).status == (502 if kind == "text/html" else 200)
        index.clear_faults()
        index.serve_fixed("/simple/", CannedResponse(body=body, headers={"Content-Type": kind}))
        assert await names(proxy) == ["foo"]


@pytest.mark.parametrize("fails", [False, True])
async def test_while_a_newer_list_takes_its_place_the_old_one_is_whole_and_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    finish, one_is_there, go_on = DiskSpoolWriter.finish, asyncio.Event(), asyncio.Event()

    async def stalled(sheet: DiskSpoolWriter, name: str) -> DiskSpooledFile:
        if one_is_there.is_set():
            await go_on.wait()
            if fails:
                raise StorageError("full")
        finished = await finish(sheet, name)
        one_is_there.set()
        return finished

    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo", "1.0"))
        before = {kind: await proxy.get("/simple/", {"Accept": kind}) for kind in (SIMPLE_JSON, "text/html")}
        spooled = sorted((tmp_path / "assay" / "spool").iterdir())
        index.add(wheel("bar-with-a-longer-name", "1.0"))
        monkeypatch.setattr(DiskSpoolWriter, "finish", stalled)
        proxy.clock.now += timedelta(hours=1)
        for _ in range(2):  # the first round starts a refresh; one format is finished before the second
            for kind, old in before.items():
                now = await proxy.get("/simple/", {"Accept": kind})
                assert (now.body, now.headers["ETag"]) == (old.body, old.headers["ETag"])
            await asyncio.wait_for(one_is_there.wait(), 30)
        go_on.set()
        await proxy.assembly.root_lists.wait_until_idle()
        left = sorted((tmp_path / "assay" / "spool").iterdir())
        if fails:
            assert left == spooled, "no file of the unfinished list is left"
        else:
            assert set(await names(proxy)) == {"foo", "bar-with-a-longer-name"}
            assert (len(left), set(left) & set(spooled)) == (len(spooled), set()), "the old list is removed"
