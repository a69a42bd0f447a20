"""Every route with every kind of index failure: the response has the right bytes or a defined error, before a deadline.

Each combination is tested with an empty proxy, and with a proxy that has a cached page which must be revalidated. The
deadline is longer than the test's short timeouts, the retries and the pauses between them; a hang is a failure.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from assay.assembly import Tuning
from assay.pages.cache import PageCacheSettings
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import (
    Corrupt,
    Drip,
    Fault,
    Hang,
    Oversize,
    Redirect,
    Refuse,
    Reply,
    Reset,
    Truncate,
)
from tests.world.proxy.running_proxy import (
    ATTESTED_ONLY_POLICY,
    SIMPLE_JSON,
    ManualClock,
    RunningProxy,
    forget_retry_after,
    make_configuration,
    run_test_proxy,
)
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore

DEADLINE = 25.0
"""Seconds after which a request counts as hanging; the slowest takes three timeouts of one second and their pauses."""
LIMITS = {
    "page": "1 MiB",
    "provenance": "1 MiB",
    "timeouts": {"connect": "1 second", "read": "1 second", "total": "2 seconds"},
}
BOMB = gzip.compress(b"\0" * 30_000_000)

FAULTS: dict[str, Fault] = {
    "refused": Refuse(),
    "hang": Hang(),
    "slow": Drip(piece=5_000, pause=0.001),
    "reset": Reset(after=200),
    "truncated": Truncate(after=200),
    "oversize": Oversize(2 * 2**20),
    "bomb": Reply(200, BOMB, {"Content-Type": SIMPLE_JSON, "Content-Encoding": "gzip"}),
    "wrong type": Reply(200, b"<html>Please log in</html>", {"Content-Type": "application/pdf"}),
    "unasked 304": Reply(304),
    "redirect elsewhere": Redirect("http://elsewhere.example/x"),
    "redirect to link-local": Redirect("http://169.254.169.254/latest/meta-data/"),
    "wrong digest": Corrupt(150),
    "gone": Reply(404),
    "429": Reply(429, headers={"Retry-After": "3600"}),
    "503": Reply(503),
}
UNREMEMBERED = Tuning(pages=PageCacheSettings(silence_memory=timedelta(0)), silence_memory_seconds=0.0)
"""A silent index is requested again at once, so that the tests see its recovery."""
ROUTES: dict[str, Callable[[ListedFile], str]] = {
    "json": lambda _: "/simple/foo/",
    "html": lambda _: "/simple/foo/",
    "file": RunningProxy.files_path,
    "range": RunningProxy.files_path,
    "head": RunningProxy.files_path,
    "metadata": lambda listed: f"{RunningProxy.files_path(listed)}.metadata",
    "provenance": RunningProxy.provenance_path,
    "root": lambda _: "/simple/",
}
HEADERS = {
    "json": {"Accept": SIMPLE_JSON},
    "html": {"Accept": "application/vnd.pypi.simple.v1+html"},
    "range": {"Range": "bytes=100-299"},
    "root": {"Accept": SIMPLE_JSON},
}


@dataclass
class World:
    """Attested file, and the expected response of each route without a failure."""

    index: Index
    listed: ListedFile
    document: bytes

    def paths(self) -> list[str]:
        listed = self.listed
        return ["/simple/foo/", "/simple/", listed.path, listed.metadata_path, listed.provenance_path]

    def is_right(self, route: str, body: bytes) -> bool:
        match route:
            case "json":
                page: dict[str, Any] = json.loads(body)
                return [entry["hashes"]["sha256"] for entry in page["files"]] == [self.listed.built.sha256]
            case "html":
                return self.listed.built.sha256.encode() in body
            case "file":
                return body == self.listed.built.content
            case "range":
                return body == self.listed.built.content[100:300]
            case "head":
                return body == b""
            case "metadata":
                return body == self.listed.built.metadata
            case "provenance":
                return body == self.document
            case _:
                return [project["name"] for project in json.loads(body)["projects"]] == ["foo"]


def made(index: Index, sigstore: PrivateSigstore) -> World:
    built = wheel("foo", "1.0", padding=200_000)
    document = sigstore.provenance(built.filename, built.sha256)
    return World(index, index.add(built, provenance=document, upload_time=SIGNING_TIME), document)


async def answer(proxy: RunningProxy, world: World, route: str) -> int | None:
    """Return the status of a right response or a defined error; None if the connection was aborted; else fail."""
    method = "HEAD" if route == "head" else "GET"
    try:
        async with asyncio.timeout(DEADLINE):
            got = await proxy.request(method, ROUTES[route](world.listed), HEADERS.get(route))
    except (aiohttp.ClientError, ConnectionError):
        assert route == "file", "only a file whose head was sent may be aborted"
        return None
    except TimeoutError:
        pytest.fail(f"{route}: no response")
    withheld = (b"provenance-missing", b"provenance-unusable", b"forged")
    if got.status == 200 and route in {"json", "html"} and any(code in got.body for code in withheld):
        # The page lists the file only as a tombstone, and contains the reason.
        assert got.body.count(b"/files/") == got.body.count(b"?withheld") == 1
        return 403
    is_undecided = b'"core-metadata":false' in got.body if route == "json" else b"data-core-metadata" not in got.body
    if got.status == 200 and route in {"json", "html"} and is_undecided:
        # The file's provenance is unavailable: it is listed without documents that are not served.
        assert b"/files/" in got.body
        return 424
    if got.status in {200, 206}:
        assert world.is_right(route, got.body), (route, got.body[:300])
        return got.status
    assert got.status in {403, 404, 424, 502, 503}, (route, got.status, got.reason)
    assert got.headers["Cache-Control"] == "no-store"
    assert got.reason
    if got.status == 503:
        assert got.headers["Retry-After"] == "5"
    if method == "GET":
        assert json.loads(got.body)["status"] == got.status
    return got.status


@pytest.mark.parametrize("fault", FAULTS)
async def test_everything_fails_at_once(tmp_path: Path, fault: str) -> None:
    """Every path of the index fails: every route returns an error. After the fault, every route works."""
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index:
        world = made(index, sigstore)
        chosen = make_configuration(index, tmp_path / "assay", sigstore, limits=LIMITS)
        clock = ManualClock()
        async with run_test_proxy(
            index, tmp_path, policy=ATTESTED_ONLY_POLICY, configuration=chosen, clock=clock, tuning=UNREMEMBERED
        ) as proxy:
            index.inject_fault("*", FAULTS[fault])
            cold = dict(
                zip(ROUTES, await asyncio.gather(*(answer(proxy, world, route) for route in ROUTES)), strict=True)
            )
            if fault == "slow":
                assert set(cold.values()) <= {200, 206}
            else:
                # The short list of projects arrives before the fault, and it has no digest that would detect the fault.
                cold.pop("root")
                assert not {200, 206} & set(cold.values()), cold
            index.clear_faults()
            forget_retry_after(proxy)
            clock.now += timedelta(minutes=20)
            for route in ROUTES:
                assert await answer(proxy, world, route) in {200, 206}, f"{route} after {fault}"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", ["page", "file", "metadata", "provenance"])
async def test_one_thing_fails(tmp_path: Path, place: str, fault: str) -> None:
    """One path of the index fails, before and after everything was fetched."""
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index:
        world = made(index, sigstore)
        broken = {
            "page": "/simple/foo/",
            "file": world.listed.path,
            "metadata": world.listed.metadata_path,
            "provenance": world.listed.provenance_path,
        }[place]
        chosen = make_configuration(index, tmp_path / "assay", sigstore, limits=LIMITS)
        clock = ManualClock()
        async with run_test_proxy(
            index, tmp_path, policy=ATTESTED_ONLY_POLICY, configuration=chosen, clock=clock, tuning=UNREMEMBERED
        ) as proxy:
            index.inject_fault(broken, FAULTS[fault])
            await asyncio.gather(*(answer(proxy, world, route) for route in ROUTES))
            index.clear_faults()
            forget_retry_after(proxy)
            clock.now += timedelta(minutes=61)
            for route in ROUTES:
                assert await answer(proxy, world, route) in {200, 206}, f"{route} after {fault}"
            index.inject_fault(broken, FAULTS[fault])
            clock.now += timedelta(minutes=20)
            for route in ROUTES:
                status = await answer(proxy, world, route)
                if place == "provenance" and fault == "wrong digest":
                    # The evidence of the replaced document counts too, so the file may be withheld.
                    assert status in {200, 206, 403}
                elif place != "page" or fault != "gone":
                    assert status in {200, 206}, f"{route}: cached content is served, {place}: {fault}"


@pytest.mark.parametrize("fault", ["down", "no such name"])
async def test_the_index_is_not_there(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index:
        world = made(index, sigstore)
        name = {"name": "test", "url": index.url.replace("127.0.0.1", "localhost"), "file-hosts": [index.files_host]}
        chosen = make_configuration(index, tmp_path / "assay", sigstore, limits=LIMITS, indexes=[name])
        real = socket.getaddrinfo

        def nobody(host: str, *more: Any, **named: Any) -> Any:
            if host == "localhost":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return real(host, *more, **named)

        clock = ManualClock()
        async with run_test_proxy(
            index, tmp_path, policy=ATTESTED_ONLY_POLICY, configuration=chosen, clock=clock, tuning=UNREMEMBERED
        ) as proxy:
            for route in ROUTES:
                assert await answer(proxy, world, route) in {200, 206}
            await index.down()
            if fault == "no such name":
                monkeypatch.setattr(socket, "getaddrinfo", nobody)
            clock.now += timedelta(hours=1)
            for route in ROUTES:
                assert await answer(proxy, world, route) in {200, 206}, f"{route}: what was here is served"
            assert (await proxy.get("/simple/other/")).status == 503
            monkeypatch.undo()
            await index.up()
            index.add_project("other")
            assert (await proxy.get("/simple/other/")).status == 200
