"""Tests of the client: replicas that lie, stall or are none, and what never reaches a client of the proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from assay.errors import UpstreamTimeoutError
from assay.peers.client import PeerTimeouts
from assay.simple.model import Sha256
from tests.service.peers.replicas import CREDENTIALS, expect, open_client, receive, run_follower
from tests.world.index.distributions import BuiltDistribution, wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import (
    CannedResponse,
    ChangeHeaders,
    Chunked,
    Corrupt,
    Fault,
    FaultyServer,
    Gzip,
    Hang,
    NoRange,
    Oversize,
    Redirect,
    Refuse,
    Reply,
    Reset,
    Stall,
    Truncate,
    UntilClose,
    WrongLength,
)
from tests.world.proxy.running_proxy import fetch_body_or_none

BIG = 300_000
"""Bytes of padding, far more than the tail that is withheld."""
BUILT = wheel("foo", "1.0", padding=BIG)
SMALL = wheel("foo", "1.0")
START = 100_000
MANY_HEADERS = ChangeHeaders({f"X-{number}": "x" for number in range(200)})
LONG_HEADER = ChangeHeaders({"X-Long": "x" * 10_000})
HEAD_LIES: dict[str, Fault] = {
    "503": Reply(503),
    "404": Reply(404),
    "401": Reply(401),
    "a page": Reply(200, body=b"<html>"),
    "redirect": Redirect("http://127.0.0.1:1/"),
    "chunked": Chunked(),
    "without a length": UntilClose(),
    "compressed": Gzip(),
    "too long": Oversize(),
    "another length": WrongLength(7),
    "an endless length": WrongLength(10**15),
    "closes at once": Refuse(),
    "many headers": MANY_HEADERS,
    "a long header": LONG_HEADER,
}
BODY_LIES: dict[str, Fault] = {
    "reset": Reset(after=150_000),
    "truncated": Truncate(after=150_000),
    "corrupt at its beginning": Corrupt(0),
    "corrupt at its end": Corrupt(-1),
}


@asynccontextmanager
async def run_liar(fault: Fault | None = None, *, built: BuiltDistribution = BUILT) -> AsyncIterator[FaultyServer]:
    """Run a replica that sends a file to everyone, each time with the same fault."""
    server = FaultyServer(lambda _: CannedResponse(body=built.content, ranges=True))
    await server.up()
    if fault is not None:
        server.inject_fault("*", fault, None, None)
    try:
        yield server
    finally:
        await server.down()


def address_of(server: FaultyServer) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("start", [0, START])
@pytest.mark.parametrize("fault", HEAD_LIES.values(), ids=HEAD_LIES)
async def test_a_response_that_is_not_the_rest_of_the_file_is_an_unavailable_source(fault: Fault, start: int) -> None:
    async with Index() as index, run_liar(fault) as liar, open_client(address_of(liar)) as client:
        file = expect(index, index.add(BUILT))
        received, error = await receive(client, address_of(liar), file, start)
        assert received == b""
        assert error is not None
        # aiohttp repeats a GET once if the connection closes before a response. The holder accepts it once at most.
        assert len(liar.requests) == (2 if isinstance(fault, Refuse) else 1), "no redirect is followed"
        liar.clear_faults(None)
        assert await receive(client, address_of(liar), file, start) == (BUILT.content[start:], None)


async def test_a_response_from_another_offset_than_requested_is_refused() -> None:
    ranges = {
        "bytes 0-299/300": None,
        f"bytes {START + 1}-{BUILT.size - 1}/{BUILT.size}": None,
        f"bytes {START}-{BUILT.size - 1}/*": None,
        f"bytes {START}-{BUILT.size - 1}/{BUILT.size}": BUILT.content[START:],
    }
    async with Index() as index, run_liar() as liar, open_client(address_of(liar)) as client:
        file = expect(index, index.add(BUILT))
        for stated, content in ranges.items():
            liar.clear_faults(None)
            liar.inject_fault("*", _StatedRange(stated), None, None)
            received, error = await receive(client, address_of(liar), file, START)
            assert (received, error is None) == (content or b"", content is not None), stated
        liar.clear_faults(None)
        liar.inject_fault("*", NoRange(), None, None)
        assert (await receive(client, address_of(liar), file, START))[1] is not None
        assert (await receive(client, address_of(liar), file, 0)) == (BUILT.content, None)


class _StatedRange(Fault):
    """Correct rest of the file with another Content-Range."""

    def __init__(self, stated: str) -> None:
        self._stated = stated

    def alter(self, answer: CannedResponse) -> CannedResponse:
        headers = {**answer.headers, "Content-Range": self._stated}
        return CannedResponse(status=206, body=answer.body[START:], headers=headers)


async def test_a_file_of_unknown_size_may_not_exceed_the_limit_of_its_index() -> None:
    async with Index() as index, run_liar() as liar, open_client(address_of(liar)) as client:
        file = expect(index, index.add(BUILT), size=None)
        assert await receive(client, address_of(liar), file) == (BUILT.content, None)
        liar.inject_fault("*", WrongLength(file.limit + 1), None, None)
        received, error = await receive(client, address_of(liar), file)
        assert received == b""
        assert error is not None


@pytest.mark.parametrize("fault", BODY_LIES.values(), ids=BODY_LIES)
async def test_no_client_gets_a_whole_wrong_file_and_the_replica_is_not_asked_again(
    tmp_path: Path, fault: Fault
) -> None:
    async with Index() as index, run_liar(fault) as liar, run_follower(index, tmp_path, address_of(liar)) as follower:
        listed = index.add(BUILT)
        assert await fetch_body_or_none(follower, follower.files_path(listed)) in {None, BUILT.content}
        assert await fetch_body_or_none(follower, follower.files_path(listed)) == BUILT.content
        assert (len(liar.requests), index.count(listed.path)) == (1, 1)


async def test_wrong_bytes_before_a_break_do_not_spoil_a_second_download(tmp_path: Path) -> None:
    wrong = BuiltDistribution(
        project="foo", version="1.0", filename=BUILT.filename, content=bytes(BUILT.size), metadata=None
    )
    async with (
        Index() as index,
        run_liar(Truncate(after=150_000), built=wrong) as liar,
        run_follower(index, tmp_path, address_of(liar)) as follower,
    ):
        listed = index.add(BUILT)
        assert await fetch_body_or_none(follower, follower.files_path(listed)) is None
        assert await fetch_body_or_none(follower, follower.files_path(listed)) == BUILT.content
        assert len(liar.requests) == 1


async def test_a_replica_is_avoided_for_one_file_only_and_not_if_the_receiver_stops() -> None:
    async with (
        Index() as index,
        run_liar() as liar,
        open_client(address_of(liar), avoidance_seconds=60) as client,
    ):
        listed = index.add(BUILT)
        file, other = expect(index, listed), expect(index, listed, sha256=Sha256("ab" * 32))
        async with client.contents(address_of(liar), file, 0) as body:
            await anext(body.chunks)
        assert await receive(client, address_of(liar), file) == (BUILT.content, None)
        received, error = await receive(client, address_of(liar), file)
        assert received == b""
        assert error is not None
        assert await receive(client, address_of(liar), other) == (BUILT.content, None)
        assert len(liar.requests) == 3


async def test_a_replica_whose_body_broke_off_is_asked_for_the_rest_a_few_times() -> None:
    async with (
        Index() as index,
        run_liar(Truncate(after=1000)) as liar,
        open_client(address_of(liar), avoidance_seconds=60) as client,
    ):
        file = expect(index, index.add(BUILT))
        for start in (0, 1000, 2000, 3000):
            received, error = await receive(client, address_of(liar), file, start)
            assert received == BUILT.content[start : start + 1000]
            assert error is not None
        assert (await receive(client, address_of(liar), file, 0))[0] == b"", "its bytes may have been wrong"
        liar.clear_faults(None)
        assert await receive(client, address_of(liar), file, 4000) == (BUILT.content[4000:], None)
        assert (await receive(client, address_of(liar), file, 4000))[0] == b""
        assert len(liar.requests) == 5


async def test_a_replica_whose_bodies_always_break_off_is_avoided() -> None:
    async with (
        Index() as index,
        run_liar(Truncate(after=1)) as liar,
        open_client(address_of(liar), avoidance_seconds=60) as client,
    ):
        file = expect(index, index.add(BUILT))
        for start in range(10):
            await receive(client, address_of(liar), file, start)
        assert len(liar.requests) == 5


@pytest.mark.parametrize("fault", [Corrupt(0), Reset(after=10), Truncate(after=10), Reply(403)])
async def test_a_small_file_comes_whole_from_the_index_if_a_replica_lies_about_it(tmp_path: Path, fault: Fault) -> None:
    async with (
        Index() as index,
        run_liar(fault, built=SMALL) as liar,
        run_follower(index, tmp_path, address_of(liar)) as follower,
    ):
        listed = index.add(SMALL)
        assert await fetch_body_or_none(follower, follower.files_path(listed)) == SMALL.content
        assert (len(liar.requests), index.count(listed.path)) == (1, 1)


async def test_a_correct_file_from_a_replica_needs_no_request_to_the_index(tmp_path: Path) -> None:
    async with Index() as index, run_liar() as liar, run_follower(index, tmp_path, address_of(liar)) as follower:
        listed = index.add(BUILT)
        assert await fetch_body_or_none(follower, follower.files_path(listed)) == BUILT.content
        assert (len(liar.requests), index.count(listed.path)) == (1, 0)


async def test_only_a_configured_replica_at_its_port_is_asked_and_never_the_own_one() -> None:
    async with Index() as index, run_liar() as liar:
        file, address = expect(index, index.add(BUILT)), address_of(liar)
        for peers, own, asked in (
            ([], None, address),
            ([f"127.0.0.1:{liar.port + 1 if liar.port < 65535 else 1}"], None, address),
            ([f"127.0.0.2:{liar.port}"], None, address),
            ([address], address, address),
            ([address], None, f"localhost:{liar.port}"),
            ([address], None, f"127.0.0.1:{liar.port}@127.0.0.1:{liar.port}"),
            ([address], None, ""),
        ):
            async with open_client(*peers, own_address=own) as client:
                received, error = await receive(client, asked, file)
            assert received == b""
            assert error is not None, (peers, own, asked)
        assert liar.connections == 0
        async with open_client(f"localhost:{liar.port}", own_address="127.0.0.9:1") as client:
            assert await receive(client, address, file) == (BUILT.content, None)


async def test_a_replica_that_does_not_answer_costs_a_limited_time() -> None:
    soon = PeerTimeouts(connect=0.1, head=0.1)
    async with Index() as index, run_liar(Hang()) as liar, open_client(address_of(liar), timeouts=soon) as client:
        file = expect(index, index.add(BUILT))
        _, error = await receive(client, address_of(liar), file)
        assert isinstance(error, UpstreamTimeoutError)
        port = liar.port
        await liar.down()
        _, error = await receive(client, f"127.0.0.1:{port}", file)
        assert error is not None
        await liar.up()
        liar.clear_faults(None)
        assert await receive(client, address_of(liar), file) == (BUILT.content, None)


async def test_a_replica_that_stalls_in_the_body_costs_the_read_timeout_of_the_index() -> None:
    stall = Stall(after=150_000)
    async with Index() as index, run_liar(stall) as liar, open_client(address_of(liar)) as client:
        listed = index.add(BUILT)
        hasty = expect(index, listed, timeouts={"read": "0.2 seconds"})
        _, error = await receive(client, address_of(liar), hasty)
        assert isinstance(error, UpstreamTimeoutError)
        stall.release.set()
        assert await receive(client, address_of(liar), hasty) == (BUILT.content, None)


async def test_a_request_has_the_signature_and_neither_cookies_nor_credentials() -> None:
    cookie = ChangeHeaders({"Set-Cookie": "a=b"})
    async with Index() as index, run_liar(cookie) as liar, open_client(address_of(liar)) as client:
        listed = index.add(BUILT)
        for _ in range(2):
            assert await receive(client, address_of(liar), expect(index, listed), START) == (
                BUILT.content[START:],
                None,
            )
        first, second = liar.requests
    assert first.method == "GET"
    assert first.path == f"/files/{BUILT.sha256}/{listed.url.partition('://')[2]}"
    assert set(first.headers) == {
        "host", "accept", "accept-encoding", "user-agent", "range",
        "assay-deployment", "assay-time", "assay-nonce", "assay-signature",
    }  # fmt: skip
    assert set(second.headers) == set(first.headers)
    assert first.headers["assay-deployment"] == CREDENTIALS.deployment
    assert first.headers["assay-nonce"] != second.headers["assay-nonce"]
