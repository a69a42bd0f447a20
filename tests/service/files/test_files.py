"""Tests of files through the proxy: cold, cached, partial, wrong and withheld."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import (
    CannedResponse,
    ChangeHeaders,
    Chunked,
    Corrupt,
    Fault,
    Gzip,
    NoRange,
    Oversize,
    Redirect,
    Refuse,
    Reply,
    Reset,
    Truncate,
    UntilClose,
    WrongLength,
)
from tests.world.proxy.running_proxy import SIMPLE_JSON, fetch_body_or_none, run_test_proxy

BIG = 300_000
"""Bytes of padding, far more than the tail that is withheld."""
DENIED = """
version = 1
[[rules]]
name = "not this one"
projects = ["denied"]
deny = "we use another library"
[[rules]]
name = "everything else"
projects = ["*"]
"""


async def test_a_cold_file_comes_whole_and_a_warm_one_without_asking_the_index(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        stall = index.stall(listed.path, after=200_000)
        async with proxy.open("GET", proxy.files_path(listed)) as cold:
            await stall.reached.wait()
            stall.release.set()
            assert (cold.status, await cold.read()) == (200, listed.built.content)
        assert cold.headers["Content-Length"] == str(listed.built.size)
        assert "ETag" not in cold.headers, "the response began before verification, so no other may be spliced to it"
        assert "Accept-Ranges" not in cold.headers
        assert "Transfer-Encoding" not in cold.headers
        await proxy.wait_until_stored(listed)
        warm = await proxy.get(proxy.files_path(listed))
        assert (warm.status, warm.body) == (200, listed.built.content)
        assert warm.headers["ETag"] == f'"{listed.built.sha256}"'
        assert warm.headers["Accept-Ranges"] == "bytes"
        assert warm.headers["Cache-Control"] == "private, immutable, max-age=31536000"
        assert index.count(listed.path) == 1


async def test_head_equals_get(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        path = proxy.files_path(listed)
        for _ in ("cold", "warm"):
            head, get = await proxy.head(path), await proxy.get(path)
            assert head.body == b""
            same = {"Content-Length", "Content-Type", "Cache-Control"}
            assert {key: head.headers.get(key) for key in same} == {key: get.headers.get(key) for key in same}
            await proxy.wait_until_stored(listed)
        assert (await proxy.head(path)).headers["ETag"] == f'"{listed.built.sha256}"'
        assert index.count(listed.path) == 1, "a HEAD is answered from the page without a download"


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("headers", "status", "part"),
    [
        ({"Range": "bytes=0-99"}, 206, slice(0, 100)),
        ({"Range": "bytes=-50"}, 206, slice(-50, None)),
        ({"Range": "bytes=100-"}, 200, slice(None)),
        ({"Range": "bytes=100-", "If-Range": '"{sha256}"'}, 206, slice(100, None)),
        ({"Range": "bytes=100-", "If-Range": '"other"'}, 200, slice(None)),
        ({"Range": "bytes=0-1,3-4"}, 200, slice(None)),
    ],
)
async def test_ranges(tmp_path: Path, *, warm: bool, headers: dict[str, str], status: int, part: slice) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        if warm:
            await proxy.get(proxy.files_path(listed))
            await proxy.wait_until_stored(listed)
        sent = {key: value.format(sha256=listed.built.sha256) for key, value in headers.items()}
        answer = await proxy.get(proxy.files_path(listed), sent)
        assert (answer.status, answer.body) == (status, listed.built.content[part])
        # Ranges are served only from verified bytes, so the response has the file's ETag.
        assert answer.headers["ETag"] == f'"{listed.built.sha256}"'
        assert index.count(listed.path) == 1


async def test_a_range_past_the_end_is_416_and_if_none_match_is_304(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        path = proxy.files_path(listed)
        past = await proxy.get(path, {"Range": f"bytes={listed.built.size}-{listed.built.size}"})
        assert (past.status, past.headers["Content-Range"]) == (416, f"bytes */{listed.built.size}")
        same = await proxy.get(path, {"If-None-Match": f'"{listed.built.sha256}"'})
        assert (same.status, same.body) == (304, b"")


@pytest.mark.parametrize("padding", [0, BIG], ids=["small", "big"])
@pytest.mark.parametrize(
    "fault",
    [
        Corrupt(10),
        Corrupt(-1),
        Truncate(500),
        WrongLength(100),
        WrongLength(10**7),
        Oversize(1),
        Chunked(),
        Chunked(cut=500),
        UntilClose(),
        Gzip(),
        Reply(404),
        Reply(500),
        Refuse(),
        Redirect("http://elsewhere.example/x.whl"),
        ChangeHeaders({"Content-Length": None}),
    ],
    ids=repr,
)
async def test_whatever_the_index_does_no_response_completes_with_wrong_bytes(
    tmp_path: Path, fault: Fault, padding: int
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0", padding=padding))
        index.inject_fault(listed.path, fault, times=None)
        body = await fetch_body_or_none(proxy, proxy.files_path(listed))
        assert body in {None, listed.built.content}
        index.clear_faults()
        again = await proxy.get(proxy.files_path(listed))
        assert (again.status, again.body) == (200, listed.built.content), "the wrong bytes were not stored"


async def test_a_download_that_breaks_half_way_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        index.inject_fault(listed.path, Reset(after=100_000), times=1)
        answer = await proxy.get(proxy.files_path(listed))
        assert (answer.status, answer.body) == (200, listed.built.content)
        assert index.count(listed.path) == 2
        assert "range" in index.requests[-1].headers


async def test_a_download_that_breaks_is_followed_when_the_index_starts_again(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        index.inject_fault(listed.path, NoRange(), times=None, when=lambda request: "range" in request.headers)
        index.inject_fault(listed.path, Reset(after=100_000), times=1)
        answer = await proxy.get(proxy.files_path(listed))
        assert (answer.status, answer.body) == (200, listed.built.content)


async def test_a_url_on_no_page_is_404_and_never_asked_for(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        served = listed.path.replace("foo-1.0", "foo-2.0")
        for path in (f"/files/{index.files_host}{served}", "/files/elsewhere.example/foo-1.0-py3-none-any.whl"):
            answer = await proxy.get(path)
            assert answer.status == 404, path
        assert index.count(served) == 0
        assert (await proxy.get(proxy.files_path(listed))).status == 200


async def test_a_withheld_file_is_403_on_every_route_and_says_why(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=DENIED) as proxy:
        denied, other = index.add(wheel("denied", "1.0")), index.add(wheel("other", "1.0"))
        path = proxy.files_path(denied)
        for method, target, headers in [
            ("GET", path, {}),
            ("HEAD", path, {}),
            ("GET", path, {"Range": "bytes=0-1"}),
            ("GET", path, {"If-None-Match": f'"{denied.built.sha256}"'}),
            ("GET", f"{path}.metadata", {}),
            ("GET", denied.provenance_path, {}),
        ]:
            answer = await proxy.request(method, target, headers)
            assert answer.status == 403, (method, target)
            assert "we use another library" in answer.reason
            assert answer.headers["Cache-Control"] == "no-store"
        problem = (await proxy.get(path)).json()
        assert problem["reasons"][0]["code"] == "denied"
        assert problem["reasons"][0]["rule"] == "not this one"
        page = await proxy.get(path, {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"})
        assert page.headers["Content-Type"].startswith("text/html")
        assert b"we use another library" in page.body
        assert await proxy.fetch_listed("denied") == set()
        assert await proxy.fetch_withheld("denied") == {denied.built.filename: ["denied"]}
        assert index.count(denied.path) == 0
        # The counterpart differs only in its name.
        assert (await proxy.get(proxy.files_path(other))).status == 200
        assert (await proxy.get(f"{proxy.files_path(other)}.metadata")).body == other.built.metadata


async def test_metadata_that_contradicts_the_page_is_not_served(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        path = f"{proxy.files_path(listed)}.metadata"
        index.inject_fault(listed.metadata_path, Corrupt(3))
        for _ in range(2):
            good = await proxy.get(path)
            assert (good.status, good.body) == (200, listed.built.metadata), "it is read from the wheel"
        assert (index.count(listed.metadata_path), index.count(listed.path)) == (1, 1)
        source = index.add(sdist("foo", "1.0"))
        proxy.clock.now = proxy.clock.now.replace(year=2027)
        assert (await proxy.get(f"{proxy.files_path(source)}.metadata")).status == 404


async def test_many_clients_of_one_cold_file_cause_one_request_and_a_leaver_harms_none(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0", padding=2_000_000))
        stall = index.stall(listed.path, after=500_000)
        path = proxy.files_path(listed)
        clients = [asyncio.create_task(proxy.get(path)) for _ in range(20)]
        await stall.reached.wait()
        clients.pop().cancel()
        stall.release.set()
        answers = await asyncio.gather(*clients)
        assert {hashlib.sha256(answer.body).hexdigest() for answer in answers} == {listed.built.sha256}
        assert index.count(listed.path) == 1


async def test_the_json_page_leads_to_the_file(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0+local.1", padding=10))
        answer = await proxy.get("/simple/foo/", {"Accept": SIMPLE_JSON})
        (entry,) = answer.json()["files"]
        assert entry["url"].startswith("../../files/")
        path = entry["url"].removeprefix("../..")
        assert (await proxy.get(path)).body == listed.built.content
        assert (await proxy.get(path.replace("+", "%2B").replace(":", "%3A"))).body == listed.built.content


@pytest.mark.parametrize("same", [True, False])
async def test_a_file_listed_twice_is_served_once_it_is_the_same_and_never_when_it_is_not(
    tmp_path: Path, same: bool
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        first = listed.as_entry(relative=False)
        second = first if same else {**first, "hashes": {"sha256": "0" * 64}}
        page = {"meta": {"api-version": "1.4"}, "name": "foo", "files": [first, second]}
        index.serve_fixed(
            index.page_path("foo"),
            CannedResponse(body=json.dumps(page).encode(), headers={"Content-Type": SIMPLE_JSON}),
        )
        names = [entry["filename"] for entry in (await proxy.fetch_page("foo"))["files"]]
        assert names == ([listed.built.filename] if same else [])
        assert (await proxy.get(proxy.files_path(listed))).status == (200 if same else 403)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Reply(404), "the index lists this file but answered 404"),
        (Reply(410), "the index lists this file but answered 410"),
        (Reply(403), "answered 403: the index denies this proxy access"),
        (Reply(400), "answered 400"),
        (Corrupt(10), "the file has SHA-256"),
        (Oversize(1), "bytes, expected"),
        (Redirect("http://elsewhere.example/x"), "elsewhere.example is not a permitted host of index test"),
        (Reply(503, headers={"Retry-After": "3600"}), "answered 503"),
    ],
    ids=repr,
)
async def test_a_file_that_asking_again_does_not_mend_is_424_with_the_reason(
    tmp_path: Path, fault: Fault, reason: str
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        index.inject_fault(listed.path, fault)
        for _ in range(2):
            answer = await proxy.get(proxy.files_path(listed))
            assert (answer.status, answer.headers.get("Retry-After")) == (424, None)
            assert reason in answer.reason
            assert answer.json()["detail"].startswith(answer.reason.removesuffix("..."))
        index.clear_faults()
        assert (await proxy.get(proxy.files_path(listed))).body == listed.built.content


async def test_a_file_that_asking_again_may_mend_is_503(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", "1.0"))
        index.inject_fault(listed.path, Reply(503))
        answer = await proxy.get(proxy.files_path(listed))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        index.inject_fault("/simple/foo/", Reply(503))
        proxy.clock.now = proxy.clock.now.replace(year=2028)
        answer = await proxy.get(proxy.files_path(listed))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("route", ["file", "metadata", "page of the file"])
async def test_a_file_that_asking_again_has_not_mended_is_424(tmp_path: Path, route: str) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed, other = index.add(sdist("foo", "1.0")), index.add(wheel("foo", "2.0"))
        built = other if route == "metadata" else listed
        index.inject_fault(
            {"file": listed.path, "metadata": other.metadata_path, "page of the file": "/simple/foo/"}[route],
            Reply(503),
        )
        path = f"{proxy.files_path(built)}{'.metadata' if route == 'metadata' else ''}"
        for _ in range(2):
            answer = await proxy.get(path)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5"), "the first failure, shared by all"
        proxy.clock.now += timedelta(seconds=5)
        answer = await proxy.get(path)
        assert (answer.status, answer.headers.get("Retry-After")) == (424, None)
        assert "answered 503" in answer.reason
        index.clear_faults()
        assert (await proxy.get(path)).status == 200
        proxy.clock.now += timedelta(minutes=1)
        index.inject_fault("*", Reply(503))
        unknown = path.replace("foo-", "bar-")
        assert (await proxy.get(unknown)).status == 503, "another file waits again"
