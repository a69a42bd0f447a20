"""Fast path: a connection sends responses from memory as aiohttp's task would, and leaves all others to the task."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from assay.config import ServerSettings
from assay.policy.language.document import load_policy
from assay.telemetry import metrics
from assay.web.exchange import Peer, Pending, RequestHead
from assay.web.response import BufferedResponse
from assay.web.server import connection_limit, listener, server
from assay.web.server.connection import Connection
from assay.web.server.connection_server import ServerTimeouts
from assay.web.view import ViewResponder
from tests.world.clients.raw_client import TIMEOUT_SECONDS, RawClient, encode_get, open_clients
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import SIMPLE_JSON, RunningProxy, run_test_proxy
from tests.world.proxy.two_ways import RespondingApp, count_tasks

CLOSE = "Connection: close"
VARIES = re.compile(rb"(?:Date|X-Request-Id|Connection): [^\r]*\r\n")


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Requests that aiohttp's task has answered."""
    return count_tasks(monkeypatch)


@dataclass
class Warm:
    """Proxy with a page and a file in memory, and a connected client."""

    proxy: RunningProxy
    client: RawClient
    page: str
    file: str
    metadata: str
    content: bytes


@asynccontextmanager
async def warm(
    tmp_path: Path, tasks: list[str], *, padding: int = 50_000, timeouts: ServerTimeouts | None = None
) -> AsyncIterator[Warm]:
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, timeouts=timeouts) as proxy,
        open_clients(proxy) as clients,
    ):
        listed = index.add(wheel("foo", padding=padding))
        page, file, client = "/simple/foo/", proxy.files_path(listed), await clients.connect()
        metadata = f"{file}.metadata"
        for path in (file, file, file, metadata, page):
            assert (await client.get(path))[0] == 200
            await proxy.wait_until_stored(listed)
        tasks.clear()
        yield Warm(proxy, client, page, file, metadata, listed.built.content)


async def answer(client: RawClient) -> tuple[bytes, bytes]:
    """Return the head and body of the next response."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        head = await client.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        return head, await client.reader.readexactly(int(length[1]) if length else 0)


@pytest.mark.parametrize("headers", [(), ("Range: bytes=10-19",), ("If-None-Match: *",), (f"Accept: {SIMPLE_JSON}",)])
@pytest.mark.parametrize("what", ["page", "file", "metadata"])
async def test_connection_and_task_give_one_answer(
    tmp_path: Path, tasks: list[str], what: str, headers: tuple[str, ...]
) -> None:
    async with warm(tmp_path, tasks) as world, open_clients(world.proxy) as clients:
        path = {"page": world.page, "file": world.file, "metadata": world.metadata}[what]
        if f"Accept: {SIMPLE_JSON}" in headers:
            world.client.writer.write(encode_get(path, *headers))
            await answer(world.client)
        tasks.clear()
        world.client.writer.write(encode_get(path, *headers))
        short = await answer(world.client)
        assert tasks == []
        other = await clients.connect()
        other.writer.write(encode_get(path, *headers, CLOSE))
        long = await answer(other)
        assert tasks == [f"GET {path}"]
        assert await other.is_closed()
        assert (VARIES.sub(b"", short[0]), short[1]) == (VARIES.sub(b"", long[0]), long[1])
        assert b"X-Request-Id: " in short[0]
        assert b"Date: " in short[0]


async def test_it_is_logged_and_counted_once(
    tmp_path: Path, tasks: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="assay")
    async with warm(tmp_path, tasks) as world:
        for path, route, size in (
            (world.page, "page", None),
            (world.file, "file", len(world.content)),
            (world.metadata, "metadata", None),
        ):
            caplog.clear()
            before = {name: value(name, route) for name in ("requests_total", "sent_bytes_total")}
            world.client.writer.write(encode_get(path))
            head, body = await answer(world.client)
            assert tasks == []
            (line,) = [record.__dict__["fields"] for record in caplog.records if record.message == "request"]
            assert line.pop("ms") >= 0
            name = re.search(rb"X-Request-Id: (\w+)", head)
            assert name is not None
            expected = {"method": "GET", "path": path, "status": 200, "client": "127.0.0.1"}
            assert line == {"request": name[1].decode(), **expected}
            assert value("requests_total", route) == before["requests_total"] + 1
            assert value("sent_bytes_total", route) == before["sent_bytes_total"] + len(body)
            assert size in {None, len(body)}


def value(name: str, route: str) -> float:
    labels = {"route": route, **({"outcome": "2xx"} if name == "requests_total" else {})}
    return metrics.REGISTRY.get_sample_value(f"assay_{name}", labels) or 0.0


async def test_requests_that_come_together_or_in_pieces_are_answered_in_order(tmp_path: Path, tasks: list[str]) -> None:
    async with warm(tmp_path, tasks) as world:
        client = world.client
        client.writer.write(
            encode_get(world.page) + encode_get("/nowhere") + encode_get(world.file) + encode_get(world.page)
        )
        answers = [await answer(client) for _ in range(4)]
        assert [head.split(b" ")[1] for head, _ in answers] == [b"200", b"404", b"200", b"200"]
        assert answers[2][1] == world.content
        assert answers[0][1] == answers[3][1]
        tasks.clear()
        for byte in encode_get(world.page):
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await answer(client))[1] == answers[0][1]
        # One and a half requests, then the rest of the second.
        both = encode_get(world.page) + encode_get(world.file)
        client.writer.write(both[:-10])
        assert (await answer(client))[1] == answers[0][1]
        client.writer.write(both[-10:])
        assert (await answer(client))[1] == world.content
        assert tasks == []


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (b"POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"HEAD {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"200"),
        (b"GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\nabc", b"200"),
        (b"GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"200"),
        (b"GET {} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n", b"200"),
        (b"GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"200"),
        (b"GET {} HTTP/9.9\r\n\r\n", b"400"),
    ],
    ids=["post", "head", "body", "chunked", "old", "upgrade", "malformed"],
)
async def test_whatever_is_not_a_plain_get_goes_to_the_task(
    tmp_path: Path, tasks: list[str], asked: bytes, expected: bytes
) -> None:
    async with warm(tmp_path, tasks) as world:
        world.client.writer.write(asked.replace(b"{}", world.page.encode()))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            head = await world.client.reader.readuntil(b"\r\n\r\n")
        assert head.split(b" ")[1] == expected
        assert len(tasks) == (expected != b"400")


async def test_a_fault_while_a_request_is_begun_is_answered_and_logged_once(
    tmp_path: Path, tasks: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    async with warm(tmp_path, tasks) as world:
        with monkeypatch.context() as patch:
            patch.setattr(ViewResponder, "begin", fails)
            assert (await world.client.get(world.page))[0] == 500
        assert caplog.messages.count("request-failed") == 1
        assert (await world.client.get(world.page))[0] == 200


async def test_what_is_withheld_from_now_on_is_not_given_at_once(tmp_path: Path, tasks: list[str]) -> None:
    async with warm(tmp_path, tasks) as world:
        gate = world.proxy.assembly.gate
        assert (await world.client.get(world.file))[0] == 200
        assert tasks == []
        deny = 'version = 1\n[[rules]]\nname = "none"\nprojects = ["*"]\ndeny = "not here"\n'
        gate.policy = load_policy(deny, "deny.toml")
        assert (await world.client.get(world.file))[0] == 403
        assert (await world.client.get(world.metadata))[0] == 403
        assert (await world.client.get(world.page))[0] == 200
        assert tasks == [f"GET {world.file}", f"GET {world.metadata}", f"GET {world.page}"]


async def test_a_connection_that_is_used_the_short_way_alone_stays_open(tmp_path: Path, tasks: list[str]) -> None:
    soon = ServerTimeouts(keepalive=0.5, first_request=0.7)
    async with warm(tmp_path, tasks, timeouts=soon) as world, open_clients(world.proxy) as clients:
        fresh = await clients.connect()  # its first request uses the fast path, too
        for _ in range(8):
            assert (await fresh.get(world.page))[0] == 200
            await asyncio.sleep(0.2)
        assert tasks == []
        assert await fresh.is_closed()  # closed by the keep-alive timeout


@dataclass
class Served:
    """Server on loopback whose responses are in memory, and the connections of its clients."""

    begun: list[str]
    """Paths of the requests that were begun."""
    made: list[Connection]
    address: tuple[str, int]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[RawClient, Connection]]:
        number = len(self.made)
        reader, writer = await asyncio.open_connection(*self.address)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while len(self.made) <= number or self.made[number]._waiter is None:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0)
        try:
            yield RawClient(reader, writer), self.made[number]
        finally:
            writer.close()


@asynccontextmanager
async def serve_from_memory(headers: Mapping[str, Mapping[str, str]] | None = None) -> AsyncIterator[Served]:
    """Start a server that begins each request by the fast path, with the given header fields by path."""
    begun: list[str] = []
    made: list[Connection] = []

    class App(RespondingApp):
        def begin(self, head: RequestHead, peer: Peer) -> web.StreamResponse | Pending:
            assert peer == Peer("127.0.0.1", is_tls=False, own_port=peer.own_port)
            begun.append(head.path)
            return BufferedResponse(headers=(headers or {}).get(head.path, {}), body=head.path.encode())

    async def never(_request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("there is no rest")

    punctual = server._HttpServer(App(never), ServerSettings(), logging.getLogger("test"))

    def making(seat: connection_limit.ConnectionSlot) -> Connection:
        made.append(punctual.make_protocol(seat))
        return made[-1]

    entrance = listener.Listener(
        connection_limit.ConnectionLimit(8), making, ssl_context=None, handshake_timeout_seconds=1
    )
    host, port = await entrance.open("127.0.0.1", 0)
    try:
        yield Served(begun, made, (host, port))
    finally:
        entrance.close()


BROKEN = {"/broken": {"X-Broken": "a\nb"}}


@pytest.mark.parametrize("iterations", [0, 1])
@pytest.mark.parametrize("moment", ["closing", "idle", "another request", "fault"])
async def test_a_request_that_waits_for_its_turn_is_answered_whatever_comes_between(
    moment: str, iterations: int, caplog: pytest.LogCaptureFixture
) -> None:
    """After one iteration of the event loop, the response is known and not sent."""
    path = "/broken" if moment == "fault" else "/one"
    async with serve_from_memory(BROKEN) as served, served.connect() as (client, connection):
        connection._next_keepalive_close_time = 0.0
        connection.data_received(encode_get(path))
        for _ in range(iterations):
            await asyncio.sleep(0)
        assert served.begun == [path] * iterations
        match moment:
            case "closing":
                connection.close()
                assert (await answer(client))[1] == b"/one"
                assert await client.is_closed()
            case "idle":
                connection._process_keepalive()
                assert (await answer(client))[1] == b"/one"
            case "another request":
                connection.data_received(encode_get("/two"))
                assert [(await answer(client))[1] for _ in range(2)] == [b"/one", b"/two"]
                assert served.begun.pop() == "/two"
            case _:
                # The connection is aborted if the response fails, because part of it may have been sent.
                assert await client.is_closed()
                assert "line break" in caplog.text
        assert served.begun == [path]


async def test_a_client_that_leaves_before_its_response_is_sent_disturbs_no_other() -> None:
    async with serve_from_memory() as served, served.connect() as (_, leaving), served.connect() as (client, staying):
        leaving.data_received(encode_get("/one"))
        staying.data_received(encode_get("/two"))
        await asyncio.sleep(0)
        assert served.begun == ["/one", "/two"]
        assert leaving.transport is not None
        leaving.transport.abort()
        assert (await answer(client))[1] == b"/two"


async def test_responses_are_sent_after_each_other_and_one_that_fails_ends_its_own_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[str] = []
    start_sending = BufferedResponse.start_sending

    def record(response: BufferedResponse, transport: asyncio.Transport) -> None:
        steps.append(f"send after {len(served.begun)}")
        start_sending(response, transport)

    monkeypatch.setattr(BufferedResponse, "start_sending", record)
    async with (
        serve_from_memory(BROKEN) as served,
        served.connect() as (first, one),
        served.connect() as (second, other),
        served.connect() as (third, last),
    ):
        for connection, path in ((one, "/one"), (other, "/broken"), (last, "/three")):
            connection.data_received(encode_get(path))
        assert (await answer(first))[1] == b"/one"
        assert await second.is_closed()
        assert (await answer(third))[1] == b"/three"
    assert steps == ["send after 3"] * 3
    assert "line break" in caplog.text


async def test_what_a_client_does_not_take_at_once_is_sent_as_he_takes_it(tmp_path: Path, tasks: list[str]) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy, open_clients(proxy) as clients:
        for number in range(1500):
            index.add(wheel("many", version=f"1.{number}"))
        whole = (await proxy.get("/simple/many/", {"Accept": SIMPLE_JSON})).body
        assert len(json.loads(whole)["files"]) == 1500
        client = await clients.connect()
        client.writer.write(encode_get("/simple/many/", f"Accept: {SIMPLE_JSON}"))
        assert (await answer(client))[1] == whole
        tasks.clear()
        times = 40  # together more than the kernel buffers
        for _ in range(times):
            client.writer.write(encode_get("/simple/many/", f"Accept: {SIMPLE_JSON}"))
            await asyncio.sleep(0.01)
        for _ in range(times):
            assert (await answer(client))[1] == whole
        assert 0 < len(tasks) < times
        client.writer.write(encode_get("/simple/many/", f"Accept: {SIMPLE_JSON}"))
        assert (await answer(client))[1] == whole


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_target_in_absolute_form_is_served_and_its_host_counts(tmp_path: Path, method: bytes) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo"))
        for path, status in [
            ("/simple/foo/", b"200"),
            (proxy.files_path(listed), b"200"),
            ("/simple/Foo/", b"301"),
            ("/healthz", b"200"),
            ("/nowhere", b"404"),
        ]:
            async with open_clients(proxy) as clients:
                client = await clients.connect()
                client.writer.write(method + f" http://elsewhere.example{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    head = await client.reader.readuntil(b"\r\n\r\n")
                assert head.split(b" ")[1] == status, path


async def test_the_host_of_a_target_in_absolute_form_replaces_the_host_header(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        for target, host, shown in [
            (f"{proxy.origin}/", "evil.example", True),
            ("http://evil.example/", proxy.origin.removeprefix("http://"), False),
            ("/", proxy.origin.removeprefix("http://"), True),
        ]:
            async with open_clients(proxy) as clients:
                client = await clients.connect()
                client.writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    body = await client.reader.read()
                assert (proxy.url.encode() in body, b"evil" in body) == (shown, False)
