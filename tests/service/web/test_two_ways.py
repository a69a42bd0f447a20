"""Requests begun by a connection and by aiohttp's task: response, log, metrics, trace and audit trail are the same, and
each request is accounted for exactly once."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from assay.config import ServerSettings
from assay.telemetry import metrics, tracing
from assay.web.exchange import Exchange
from assay.web.server import connection_limit, listener, server
from assay.web.server.connection import Connection
from assay.web.server.connection_server import ServerTimeouts
from assay.web.view import ViewResponder
from tests.world.clients.raw_client import END_OF_HEAD, TIMEOUT_SECONDS, RawClient, encode_get, open_clients
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import Corrupt, Reply
from tests.world.proxy.auth_proxy import (
    PASSWORD,
    TOKEN,
    make_basic_header,
    make_bearer_header,
    write_credentials,
)
from tests.world.proxy.running_proxy import SIMPLE_JSON, RunningProxy, make_configuration, run_test_proxy
from tests.world.proxy.two_ways import RespondingApp, answer_in_tasks, count_tasks
from tests.world.proxy.views_world import CLOSED_POLICY

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
VARIES = re.compile(rb"(?:Date|X-Request-Id): [^\r]*\r\n")
POLICY = """
version = 1
[[rules]]
name = "pinned"
projects = ["excepted"]
pins = ["{excepted}"]
[[rules]]
name = "denied"
projects = ["denied"]
deny = "not here"
[[rules]]
name = "open"
projects = ["*"]
ratchet = "off"
"""


@dataclass(frozen=True)
class Setup:
    """Configuration of a proxy, and the header fields that its clients send."""

    headers: Mapping[str, str] = field(default_factory=dict)
    authenticates: bool = False
    is_behind_proxy: bool = False
    traces: bool = False
    audits: bool = False


SETUPS = {
    "open": Setup(),
    "tokens": Setup(make_bearer_header(TOKEN), authenticates=True),
    "tokens as passwords": Setup(make_basic_header("__token__", TOKEN), authenticates=True),
    "passwords": Setup(make_basic_header("alice", PASSWORD), authenticates=True),
    "user-header": Setup(
        {"X-Forwarded-User": "alice", "X-Forwarded-For": "192.0.2.7", "traceparent": TRACEPARENT},
        authenticates=True,
        is_behind_proxy=True,
        traces=True,
    ),
    "tracing": Setup({"traceparent": TRACEPARENT}, traces=True),
    "audit": Setup(audits=True),
    "all": Setup(make_bearer_header(TOKEN), authenticates=True, traces=True, audits=True),
}
PAGE, FILE, METADATA, PROVENANCE = "/simple/foo/", "{file}", "{file}.metadata", "{provenance}"
REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    *((method, path, {}) for method in ("GET", "HEAD", "POST") for path in (PAGE, FILE, METADATA, PROVENANCE)),
    ("GET", PAGE, {"Accept": SIMPLE_JSON}),
    ("HEAD", PAGE, {"Accept": SIMPLE_JSON}),
    ("GET", PAGE, {"Accept-Encoding": "gzip"}),
    ("GET", f"{PAGE}?format={SIMPLE_JSON.replace('+', '%2B')}", {}),
    *(
        (method, path, {"If-None-Match": etag})
        for method in ("GET", "HEAD")
        for path in (PAGE, FILE, METADATA)
        for etag in ("*", '"other"')
    ),
    *((method, FILE, {"Range": "bytes=10-19"}) for method in ("GET", "HEAD")),
    ("GET", FILE, {"Range": "bytes=0-"}),
    ("GET", FILE, {"Range": "bytes=99999998-99999999"}),
    ("GET", FILE, {"Range": "bytes=10-", "User-Agent": "Wget/1.21"}),
    ("GET", "{excepted}", {}),
    *((method, path, {}) for method in ("GET", "HEAD") for path in ("{denied}", "{denied}.metadata", "/nowhere")),
    ("GET", "{denied}", {"Accept": "text/html"}),
    *((method, "/simple/Foo", {}) for method in ("GET", "HEAD", "DELETE")),
    ("GET", "/simple/absent/", {}),
    ("GET", "/files/127.0.0.1/absent-1.0-py3-none-any.whl", {}),
    *(("GET", path, {}) for path in ("/simple/", "/", "/policy", "/project/foo", "/search?name=foo", "/search?name=/")),
    *((method, path, {}) for method in ("GET", "HEAD", "PUT") for path in ("/healthz", "/readyz")),
    *((method, f"/strict{path}", {}) for method in ("GET", "POST") for path in (PAGE, FILE, "/nowhere", "")),
    *((method, path, {"Authorization": "Bearer wrong", "X-Forwarded-User": " "})
      for method in ("GET", "POST") for path in (PAGE, FILE, "/healthz")),
    ("GET", PAGE, make_basic_header("alice", "wrong")),
]  # fmt: skip


@dataclass
class Accounts:
    """Counts of how often each exchange was begun and finished."""

    begun: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def are_settled(self) -> Iterator[None]:
        """Check that at least one request arrives while the context is open, and that each is finished once."""
        self.begun.clear()
        self.finished.clear()
        yield
        assert self.begun
        assert self.finished == self.begun
        assert set(self.finished.values()) == {1}


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> Accounts:
    counted, make, finish = Accounts(), Exchange.__init__, Exchange.finish

    def making(self: Exchange, *given: Any) -> None:
        make(self, *given)
        counted.begun[self.request_id] += 1

    def finishing(self: Exchange, *given: Any, **more: Any) -> None:
        counted.finished[self.request_id] += 1
        finish(self, *given, **more)

    monkeypatch.setattr(Exchange, "__init__", making)
    monkeypatch.setattr(Exchange, "finish", finishing)
    return counted


def list_samples() -> dict[str, float]:
    """Return the current values of the request metrics, except their durations."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for collector in (metrics.REQUESTS, metrics.FILE_REQUESTS, metrics.REFUSALS, metrics.EVENTS)
        for metric in collector.collect()
        if metric.name != "assay_request_duration_seconds"
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


def count_finished_downloads() -> float:
    """Return how many downloads have been reported as finished in this process."""
    samples = list_samples().items()
    return sum(value for name, value in samples if "'download-finished'" in name)


@dataclass(frozen=True)
class World:
    """Index with a file for each kind of verdict."""

    index: Index
    listed: Mapping[str, ListedFile]


@asynccontextmanager
async def publish() -> AsyncIterator[World]:
    async with Index() as index:
        yield World(index, {name: index.add(wheel(name, padding=50_000)) for name in ("foo", "denied", "excepted")})


@asynccontextmanager
async def warm(world: World, directory: Path, setup: Setup) -> AsyncIterator[RunningProxy]:
    """Run a proxy that has a page and files in memory."""
    await asyncio.to_thread(directory.mkdir)
    view: dict[str, Any] = {"name": "strict", "path": "/strict/"}
    chosen: dict[str, Any] = {"port": 0}
    if setup.authenticates:
        chosen["auth"], view["users"] = write_credentials(directory), ["bob"]
    if setup.is_behind_proxy:
        chosen |= {"auth": {"user-header": "X-Forwarded-User"}, "trusted-proxies": ["127.0.0.0/8"]}
    audit = {"path": str(directory / "audit.jsonl")} if setup.audits else {}
    configuration = make_configuration(world.index, directory / "assay", server=chosen, views=[view], audit=audit)
    warmed, downloads = (world.listed["foo"], world.listed["excepted"]), count_finished_downloads()
    policy = POLICY.format(excepted=world.listed["excepted"].built.sha256)
    async with run_test_proxy(
        world.index, directory, policy=policy, policies={"strict": CLOSED_POLICY}, configuration=configuration
    ) as proxy:
        for listed in warmed:
            path = proxy.files_path(listed)
            for target in (path, path, path, f"{path}.metadata"):
                assert (await proxy.get(target, setup.headers)).status == 200
                await proxy.wait_until_stored(listed)
        assert (await proxy.get(PAGE, setup.headers)).status == 200
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while count_finished_downloads() < downloads + len(warmed):  # noqa: ASYNC110 - reported after the file is stored
                await asyncio.sleep(0)
        yield proxy


@dataclass(frozen=True)
class Seen:
    """Observable effects of one request, without values that differ each time."""

    request: str
    head: bytes
    body: bytes
    events: list[tuple[str, dict[str, Any]]]
    counted: Mapping[str, float]
    spans: list[tuple[str, dict[str, Any], bool]]
    trail: list[dict[str, Any]]


class Observer:
    """Observer that sends requests and collects their effects."""

    def __init__(self, directory: Path, caplog: pytest.LogCaptureFixture, spans: InMemorySpanExporter) -> None:
        self._trail = directory / "audit.jsonl"
        self._caplog = caplog
        self._spans = spans

    async def observe(self, client: RawClient, method: str, target: str, headers: Mapping[str, str]) -> Seen:
        before, entries = list_samples(), len(await self._read_trail())
        self._caplog.clear()
        self._spans.clear()
        lines = [f"{name}: {value}" for name, value in headers.items()]
        client.writer.write(encode_get(target, *lines).replace(b"GET", method.encode(), 1))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            head = await client.reader.readuntil(END_OF_HEAD)
            length = re.search(rb"Content-Length: (\d+)", head)
            has_body = method != "HEAD" and length is not None
            body = await client.reader.readexactly(int(length[1])) if has_body and length is not None else b""
            while not self._find_events("request"):  # noqa: ASYNC110 - the log line of a file follows its last byte
                await asyncio.sleep(0)
        after, trail = list_samples(), await self._read_trail()
        number = re.search(rb"X-Request-Id: (\w+)", head)
        assert number is not None
        ours = [fields for _, fields in self._find_events(None) if fields.get("request") == number[1].decode()]
        assert ours
        return Seen(
            f"{method} {target} {headers}",
            VARIES.sub(b"", head),
            body.replace(number[1], b"ID"),
            [(name, strip(fields)) for name, fields in self._find_events(None) if fields in ours],
            {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)},
            [
                (span.name, strip(dict(span.attributes or {})), span.parent is None)
                for span in self._spans.get_finished_spans()
                if span.name.partition(" ")[0] in {"GET", "HEAD", "_OTHER"}
            ],
            [strip(entry) for entry in trail[entries:]],
        )

    def _find_events(self, name: str | None) -> list[tuple[str, dict[str, Any]]]:
        records = [(each.getMessage(), getattr(each, "fields", {})) for each in self._caplog.records]
        return [each for each in records if name in {None, each[0]}]

    async def _read_trail(self) -> list[dict[str, Any]]:
        if not self._trail.exists():
            return []
        return [json.loads(line) for line in (await asyncio.to_thread(self._trail.read_text)).splitlines()]


def strip(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without those that differ each time: ids, hashes and times."""
    varying = {"request", "assay.request", "ms", "time", "hash", "previous", "sequence"}
    return {name: value for name, value in fields.items() if name not in varying}


@pytest.fixture
def spans(request: pytest.FixtureRequest) -> Iterator[InMemorySpanExporter]:
    """Exporter of the spans, which stays empty unless the test's parameter `name` is that of a set-up with tracing."""
    exporter = InMemorySpanExporter()
    if not SETUPS[request.node.callspec.params["name"]].traces:
        yield exporter
        return
    with tracing.export_spans_to(SimpleSpanProcessor(exporter)):
        yield exporter


@pytest.mark.parametrize("name", SETUPS)
async def test_a_request_leaves_the_same_behind_by_either_way(
    tmp_path: Path,
    name: str,
    *,
    spans: InMemorySpanExporter,
    accounts: Accounts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="assay")
    setup, tasks, seen = SETUPS[name], count_tasks(monkeypatch), dict[str, list[Seen]]()
    async with publish() as world:
        for way in ("begun", "in a task"):
            tasks.clear()
            async with warm(world, tmp_path / way, setup) as proxy, open_clients(proxy) as clients:
                observer, client = Observer(tmp_path / way, caplog, spans), await clients.connect()
                paths = list_paths(world, proxy)
                with accounts.are_settled():
                    seen[way] = [
                        await observer.observe(client, method, target.format(**paths), {**setup.headers, **headers})
                        for method, target, headers in REQUESTS
                        * 2  # the second time, everything that can be is in memory
                    ]
            answer_in_tasks(monkeypatch)
    assert len(tasks) > 2 * len(REQUESTS)
    for mine, theirs in zip(seen["begun"], seen["in a task"], strict=True):
        assert mine == theirs
        assert [name for name, _ in mine.events].count("request") == 1, mine.request
        assert len(mine.spans) == setup.traces, mine.request
        assert {is_root for _, _, is_root in mine.spans} <= {not setup.is_behind_proxy}
    statuses = {int(each.head.split(b" ")[1]) for each in seen["begun"]}
    for (method, target, headers), each in zip(REQUESTS * 2, seen["begun"], strict=True):
        if method == "HEAD" and target == FILE and "Range" in headers:  # RFC 9110, 14.2: Range is defined for GET
            assert each.head.startswith(b"HTTP/1.1 200")
        if target == "{excepted}":
            assert [name for name, _ in each.events] == ["file-exempted", "request"]
    assert statuses >= {200, 206, 301, 303, 304, 400, 403, 404, 405, 412, 416}
    assert (401 in statuses) == setup.authenticates
    assert any(each.trail for each in seen["begun"]) == setup.audits


def list_paths(world: World, proxy: RunningProxy) -> dict[str, str]:
    """Return the paths that replace the names in braces in `REQUESTS`."""
    files = {"file": "foo", "denied": "denied", "excepted": "excepted"}
    paths = {name: proxy.files_path(world.listed[project]) for name, project in files.items()}
    return {**paths, "provenance": proxy.provenance_path(world.listed["foo"])}


async def send(client: RawClient, target: str, lines: Sequence[str] = ()) -> bytes:
    """Send a GET request, read the whole response, and return its head."""
    client.writer.write(encode_get(target, *lines))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        head = await client.reader.readuntil(END_OF_HEAD)
        length = re.search(rb"Content-Length: (\d+)", head)
        await client.reader.readexactly(0 if length is None else int(length[1]))
    return head


@pytest.mark.parametrize("name", [name for name, setup in SETUPS.items() if not setup.is_behind_proxy])
@pytest.mark.usefixtures("spans")
async def test_a_connection_answers_what_is_in_memory_also_with_a_trail(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, tasks = SETUPS[name], count_tasks(monkeypatch)
    async with publish() as world, warm(world, tmp_path / "proxy", setup) as proxy, open_clients(proxy) as clients:
        client, file = await clients.connect(), proxy.files_path(world.listed["foo"])
        lines = [f"{name}: {value}" for name, value in setup.headers.items()]
        await send(client, PAGE, lines)
        tasks.clear()
        for target in (PAGE, file, f"{file}.metadata"):
            assert (await send(client, target, lines)).startswith(b"HTTP/1.1 200")
        assert (await send(client, PAGE, [*lines, "If-None-Match: *"])).startswith(b"HTTP/1.1 304")
    assert tasks == []


async def test_a_password_is_checked_in_a_task_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, setup = count_tasks(monkeypatch), SETUPS["tokens"]
    async with publish() as world, warm(world, tmp_path / "proxy", setup) as proxy, open_clients(proxy) as clients:
        client = await clients.connect()
        for password, status, ways in (
            (PASSWORD, b"200", ["task", "connection"]),
            ("wrong", b"401", ["task", "task"]),
        ):
            (line,) = make_basic_header("alice", password).items()
            for way in ways:
                tasks.clear()
                assert (await send(client, PAGE, [": ".join(line)])).split(b" ")[1] == status
                assert tasks == ([f"GET {PAGE}"] if way == "task" else [])


# Each request is accounted for once, however it ends


@pytest.mark.parametrize("is_begun", [True, False], ids=["begun", "in a task"])
async def test_a_client_that_leaves_while_its_page_is_awaited_is_accounted_for_once(
    tmp_path: Path,
    accounts: Accounts,
    is_begun: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="assay")
    if not is_begun:
        answer_in_tasks(monkeypatch)
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy, open_clients(proxy) as clients:
        index.add(wheel("foo"))
        stall = index.stall(index.page_path("foo"))
        client = await clients.connect()
        with accounts.are_settled():
            client.writer.write(encode_get(PAGE))
            await stall.reached.wait()
            client.writer.transport.abort()
            await wait_for(accounts)
        stall.release.set()
        assert (await proxy.get(PAGE)).status == 200
    assert [each.__dict__["fields"]["status"] for each in caplog.records if each.getMessage() == "request"] == [
        "left",
        200,
    ]


async def wait_for(accounts: Accounts) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not accounts.finished:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_begun", [True, False], ids=["begun", "not begun"])
async def test_a_connection_that_is_lost_before_a_task_takes_its_request_accounts_for_what_was_begun(
    is_begun: bool, accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="assay")
    made: list[Connection] = []

    async def respond(_request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("no task takes it")

    limit = connection_limit.ConnectionLimit(2)
    http = server._HttpServer(RespondingApp(respond), ServerSettings(), logging.getLogger("test"))

    def make(slot: connection_limit.ConnectionSlot) -> Connection:
        made.append(http.make_protocol(slot))
        return made[-1]

    door = listener.Listener(limit, make, ssl_context=None, handshake_timeout_seconds=1)
    _, writer = await asyncio.open_connection(*await door.open("127.0.0.1", 0))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not made or made[0]._waiter is None:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)
    loop, (connection,) = asyncio.get_running_loop(), made
    if not is_begun:
        loop.call_soon(connection.connection_lost, None)
    connection.data_received(encode_get("/"))
    loop.call_soon(connection.connection_lost, None)  # runs after the request is begun and before the task runs
    for _ in range(10):
        await asyncio.sleep(0)
    writer.close()
    door.close()
    assert sum(accounts.begun.values()) == is_begun
    assert accounts.finished == accounts.begun
    assert [each.__dict__["fields"]["status"] for each in caplog.records if each.getMessage() == "request"] == [
        "left"
    ] * is_begun


@pytest.mark.parametrize(("is_begun", "method"), [*product((True, False), ("begin", "_serve_page", "_complete"))])
async def test_a_fault_anywhere_is_one_response_and_one_line(
    tmp_path: Path,
    accounts: Accounts,
    *,
    is_begun: bool,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    caplog.set_level("INFO", logger="assay")
    if not is_begun:
        answer_in_tasks(monkeypatch)
    monkeypatch.setattr(ViewResponder, method, fail)
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        index.add(wheel("foo"))
        with accounts.are_settled():
            answer = await proxy.get(PAGE)
        assert (answer.status, answer.json()["detail"]) == (500, "internal error, see the log of the proxy")
    assert [caplog.messages.count(name) for name in ("request", "request-failed")] == [1, 1]
    (failed,) = [each.__dict__["fields"] for each in caplog.records if each.getMessage() == "request-failed"]
    assert failed["request"] == answer.headers["X-Request-Id"]


async def test_a_file_that_is_cut_is_accounted_for_once(
    tmp_path: Path, accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="assay")
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", padding=2_000_000))
        index.inject_fault(listed.path, Corrupt(1_000))
        with accounts.are_settled():
            with pytest.raises(aiohttp.ClientError):
                await proxy.get(proxy.files_path(listed))
            await wait_for(accounts)
    (line,) = [each.__dict__["fields"] for each in caplog.records if each.getMessage() == "request"]
    assert line["status"] == "aborted"


@pytest.mark.parametrize("is_begun", [True, False], ids=["begun", "in a task"])
async def test_a_response_that_a_client_does_not_take_is_aborted_under_the_id_and_view_of_its_request(
    tmp_path: Path, is_begun: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not is_begun:
        answer_in_tasks(monkeypatch)
    caplog.set_level("INFO", logger="assay")
    async with Index() as index:
        configuration = make_configuration(index, tmp_path / "assay", views=[{"name": "strict", "path": "/strict/"}])
        path, body = index.page_path("big"), {"meta": {"api-version": "1.1"}, "name": "big", "files": []}
        page = json.dumps(body | {"_note": ["x" * 1000] * 20_000}).encode()  # more than the kernel buffers
        index.inject_fault(path, Reply(200, page, {"Content-Type": SIMPLE_JSON}))
        async with (
            run_test_proxy(
                index,
                tmp_path,
                policies={"strict": POLICY.format(excepted="0" * 64)},
                configuration=configuration,
                timeouts=ServerTimeouts(stall=0.3),
            ) as proxy,
            open_clients(proxy) as clients,
        ):
            await send(await clients.connect(), f"/strict{path}", [f"Accept: {SIMPLE_JSON}"])
            caplog.clear()
            idle = await clients.connect()
            idle.writer.write(encode_get(f"/strict{path}", f"Accept: {SIMPLE_JSON}"))
            head = await idle.reader.readuntil(END_OF_HEAD)
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while "response-aborted" not in caplog.messages:  # noqa: ASYNC110 - there is no event to await
                    await asyncio.sleep(0.05)
    (line,) = [each.__dict__["fields"] for each in caplog.records if each.getMessage() == "response-aborted"]
    assert f"X-Request-Id: {line['request']}\r\n".encode() in head
    assert line["view"] == "strict"


@pytest.mark.parametrize("name", ["tracing"])
@pytest.mark.parametrize("is_begun", [True, False], ids=["begun", "in a task"])
async def test_a_request_is_no_part_of_the_one_before_it_on_its_connection(
    tmp_path: Path, name: str, *, is_begun: bool, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a client does not take a file at once, asyncio resumes reading from its connection in the task that sends the
    file, and therefore in the context of that request."""
    if not is_begun:
        answer_in_tasks(monkeypatch)
    lines = [f"{name}: {value}" for name, value in SETUPS[name].headers.items()]
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy, open_clients(proxy) as clients:
        listed = index.add(wheel("foo", padding=20_000_000))  # more than the kernel buffers
        path, client = proxy.files_path(listed), await clients.connect()
        assert (await proxy.get(path)).status == 200
        await proxy.wait_until_stored(listed)
        spans.clear()
        client.writer.write(encode_get(path, *lines))
        await client.reader.readuntil(END_OF_HEAD)
        await asyncio.sleep(0.1)  # the client reads nothing meanwhile
        await client.reader.readexactly(len(listed.built.content))
        await send(client, "/healthz", lines)
    found = {each.name: each for each in spans.get_finished_spans() if each.name in {"GET file", "GET healthz"}}
    assert [each.parent for each in found.values()] == [None, None]
    assert len({each.context.trace_id for each in found.values()}) == 2
