"""The OSV API over HTTP: documented shapes, errors and limits, in each view."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web
from packaging.utils import NormalizedName

from assay.advisories.model import Advisory
from assay.advisories.snapshot import AdvisorySnapshot
from assay.web.osv.responder import OsvResponder
from tests.world.advisories.records import make_affected, make_range, make_record
from tests.world.advisories.snapshots import make_snapshot, malware
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy

OPEN = 'version = 1\n[[rules]]\nname = "open"\nprojects = ["*"]\n'
IGNORING = f'{OPEN}[[ignored-advisories]]\nid = "MAL-2026-1"\nreason = "wrong"\nexpires = 2027-08-01\n'
CVE = make_record("GHSA-1", make_affected("foo", ranges=[make_range(("introduced", "0"), ("fixed", "1.1"))]))
GONE = make_record("GHSA-2", make_affected("foo"), withdrawn="2026-11-20T00:00:00Z")
QUERY = {"version": "1.0", "package": {"name": "foo", "ecosystem": "PyPI"}}


@asynccontextmanager
async def running(directory: Path, *, loaded: bool = True) -> AsyncIterator[RunningProxy]:
    async with Index() as index:
        own = {"name": "own", "url": index.url, "projects": ["acme-*"]}
        public = {"name": "test", "url": index.url, "ecosystem": "PyPI"}
        configuration = make_configuration(
            index, directory / "assay", indexes=[own, public], views=[{"name": "ignoring", "path": "/ignoring/"}]
        )
        policies = {"ignoring": IGNORING}
        async with run_test_proxy(
            index, directory, policy=OPEN, policies=policies, configuration=configuration
        ) as proxy:
            if loaded:
                records = (malware("foo", "1.0"), CVE, GONE, malware("acme-tools", record="MAL-2026-2"))
                proxy.assembly.advisories.put(make_snapshot(*records))
            yield proxy


async def test_query_answers_with_the_full_records(tmp_path: Path) -> None:
    async with running(tmp_path) as proxy:
        answer = await proxy.post("/osv/v1/query", QUERY)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json() == {"vulns": [malware("foo", "1.0"), CVE]}
        assert (await proxy.post("/osv/v1/query", QUERY | {"version": "1.1"})).json() == {}
        assert (await proxy.at_path("/ignoring/").post("/osv/v1/query", QUERY)).json() == {"vulns": [CVE]}


async def test_a_record_about_the_name_of_an_own_project_is_not_reported(tmp_path: Path) -> None:
    async with running(tmp_path) as proxy:
        own = {"package": {"name": "acme-tools", "ecosystem": "PyPI"}}
        assert (await proxy.post("/osv/v1/query", own)).json() == {}
        assert (await proxy.get("/osv/v1/vulns/MAL-2026-2")).status == 200


async def test_querybatch_answers_with_ids_and_times(tmp_path: Path) -> None:
    async with running(tmp_path) as proxy:
        answer = await proxy.post("/osv/v1/querybatch", {"queries": [QUERY | {"version": "2"}, QUERY]})
        listed = [{"id": name, "modified": "2026-11-20T10:00:00Z"} for name in ("MAL-2026-1", "GHSA-1")]
        assert answer.json() == {"results": [{}, {"vulns": listed}]}


@pytest.mark.parametrize("record", [malware("foo", "1.0"), CVE, GONE])
async def test_vulns_answers_with_one_record_even_if_it_is_withdrawn_or_ignored(
    tmp_path: Path, record: dict[str, object]
) -> None:
    async with running(tmp_path) as proxy:
        for view in (proxy, proxy.at_path("/ignoring/")):
            answer = await view.get(f"/osv/v1/vulns/{record['id']}")
            assert (answer.status, answer.json()) == (200, record)


async def test_errors_have_the_form_of_osv(tmp_path: Path) -> None:
    async with running(tmp_path) as proxy:
        unknown = await proxy.get("/osv/v1/vulns/GHSA-9")
        assert (unknown.status, unknown.json()) == (404, {"code": 5, "message": "Bug not found."})
        for path in ("/osv/v1/query", "/osv/v1/querybatch"):
            bad = await proxy.post(path, b"[" * 10_000)
            assert (bad.status, bad.json()["code"]) == (400, 3)
            assert (await proxy.get(path)).status == 405
            assert await send_head(proxy, path, "Content-Length: 1048577") == 413
            assert await send_head(proxy, path, "Transfer-Encoding: chunked") == 411
            # A compressed body is not expanded.
            bomb = await proxy.post(path, gzip.compress(b" " * 2**22), {"Content-Encoding": "gzip"})
            assert (bomb.status, bomb.json()["code"]) == (400, 3)
        assert (await proxy.get("/osv/v1/vulns/a%2Fb")).status == 404
        assert (await proxy.post("/osv/v1/query", QUERY)).status == 200


async def test_without_advisories_the_answer_is_an_error_and_not_empty(tmp_path: Path) -> None:
    async with running(tmp_path, loaded=False) as proxy:
        answers = [
            await proxy.post("/osv/v1/query", QUERY),
            await proxy.post("/osv/v1/querybatch", {"queries": [QUERY]}),
            await proxy.get("/osv/v1/vulns/GHSA-1"),
        ]
        assert [(each.status, each.json()["code"]) for each in answers] == [(503, 14)] * 3
        assert all("[[advisories]]" in each.json()["message"] for each in answers)


async def send_head(proxy: RunningProxy, path: str, *headers: str) -> int:
    """Send the head of a POST request and return the status of the response."""
    reader, writer = await asyncio.open_connection(*proxy.origin.removeprefix("http://").split(":"))
    writer.write("\r\n".join((f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", "")).encode())
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


class SlowRequest:
    """Request whose body never arrives."""

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        return b""


class ReadyRequest:
    """Request whose body has arrived."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> bytes:
        return self._body


async def test_a_body_that_does_not_arrive_ends_the_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as proxy:
        responder = OsvResponder(gate=proxy.assembly.gate, clock=proxy.clock, body_timeout_seconds=0)
        answer = await responder.respond_to_query(cast("web.BaseRequest", SlowRequest()))
        assert (answer.status, answer.keep_alive) == (408, False)


async def test_clients_that_leave_occupy_no_more_threads_than_those_that_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    begun: list[str] = []
    find = AdvisorySnapshot.find

    def find_slowly(snapshot: AdvisorySnapshot, project: NormalizedName, **more: bool) -> tuple[Advisory, ...]:
        begun.append(project)
        release.wait(20)
        return find(snapshot, project, **more)

    async with running(tmp_path) as proxy:
        monkeypatch.setattr(AdvisorySnapshot, "find", find_slowly)
        osv = OsvResponder(gate=proxy.assembly.gate, clock=proxy.clock)
        request = cast("web.BaseRequest", ReadyRequest(json.dumps(QUERY).encode()))
        try:
            for _ in range(6):
                asked = asyncio.create_task(osv.respond_to_query(request))
                for _ in range(100):
                    await asyncio.sleep(0)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            assert len(begun) <= 2
        finally:
            release.set()
        assert (await osv.respond_to_query(request)).status == 200, "the slots are free again"
