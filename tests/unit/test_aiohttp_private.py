"""Tests of the optimizations for aiohttp: each is tried at start, and the public API replaces it with equal results."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_proto import ResponseHandler
from aiohttp.web_protocol import RequestHandler

from assay import aiohttp_private
from assay.upstream import bulk_receiver
from assay.web.files import send_paced
from assay.web.response import BufferedResponse, to_plain
from tests.unit.upstream.limited_client import settings, upstream
from tests.world.clients.raw_client import RawClient, encode_get, open_clients
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import CannedResponse
from tests.world.proxy.running_proxy import SIMPLE_JSON, run_test_proxy
from tests.world.proxy.two_ways import count_tasks

EVENT = "private-api-changed"
Change = Callable[[pytest.MonkeyPatch], None]


def unchanged(_: pytest.MonkeyPatch) -> None:
    """Leave aiohttp as it is."""


class Triples(deque[Any]):
    """Queue whose entries have a third member, as a changed aiohttp could have."""

    def append(self, item: tuple[object, ...]) -> None:
        super().append((*item, None))

    def popleft(self) -> tuple[object, ...]:
        return tuple(super().popleft()[:2])


def with_triples(patch: pytest.MonkeyPatch) -> None:
    made = RequestHandler.__init__

    def make(self: RequestHandler, *given: Any, **more: Any) -> None:
        made(self, *given, **more)
        self._messages = Triples()

    patch.setattr(RequestHandler, "__init__", make)


def without_waiter(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(RequestHandler, "_waiter")


def with_state_of_responses(patch: pytest.MonkeyPatch) -> None:
    finish = RequestHandler.finish_response

    async def finish_tracked(self: RequestHandler, request: web.BaseRequest, resp: Any, start: float | None) -> Any:
        _ = resp._state if isinstance(resp, web.StreamResponse) else None
        if "_state" not in vars(resp):
            raise AttributeError("_state")
        return await finish(self, request, resp, start)

    patch.setattr(RequestHandler, "finish_response", finish_tracked)


def without_malformed_error(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp_private, "get_malformed_request_errors", tuple)


@pytest.mark.parametrize("change", [with_triples, without_waiter])
async def test_a_change_of_the_queue_is_found(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await aiohttp_private.find_queue_change() is None
    with monkeypatch.context() as patch:
        change(patch)
        assert await aiohttp_private.find_queue_change() is not None
    assert await aiohttp_private.find_queue_change() is None


async def test_each_name_of_the_queue_is_found_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in ("receive_if_idle", "peek_plain_get", "discard_answered_request", "wake_for_request"):

        def missing(*_: object) -> None:
            raise AttributeError("it is gone")

        with monkeypatch.context() as patch:
            patch.setattr(aiohttp_private, function, missing)
            assert await aiohttp_private.find_queue_change() == "AttributeError: it is gone"


async def test_a_queue_that_keeps_what_was_taken_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp_private, "discard_answered_request", lambda *_: None)
    assert "RequestHandler.start" in str(await aiohttp_private.find_queue_change())


async def test_a_task_that_never_takes_a_request_is_found_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp_private, "wake_for_request", lambda *_: None)
    assert "TimeoutError" in str(await aiohttp_private.find_queue_change(timeout_seconds=0.1))


@asynccontextmanager
async def connected(index: Index, directory: Path) -> AsyncIterator[RawClient]:
    async with run_test_proxy(index, directory) as proxy, open_clients(proxy) as clients:
        yield await clients.connect()


async def answers(client: RawClient, paths: list[str]) -> list[tuple[int, dict[str, str], bytes]]:
    found = []
    for path, *lines in (each.split("|") for each in paths):
        client.writer.write(encode_get(path, f"Accept: {SIMPLE_JSON}", *lines))
        found.append(await read_answer(client))
    return found


async def read_answer(client: RawClient) -> tuple[int, dict[str, str], bytes]:
    head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await client.reader.readexactly(int(headers.get("content-length", 0)))
    for name in ("date", "server", "x-request-id"):
        headers.pop(name, None)
    return int(status.split()[1]), headers, body


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unchanged, 0),
        (with_triples, 1),
        (with_state_of_responses, 1),
        (without_malformed_error, 1),
    ],
)
async def test_answers_are_the_same_either_way(
    change: Change, said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = count_tasks(monkeypatch)
    async with Index() as index:
        index.add(wheel("widget"))
        async with connected(index, tmp_path / "as read") as client:
            (first,) = await answers(client, ["/simple/widget/"])
            paths = [
                "/simple/widget/",
                f"/simple/widget/|If-None-Match: {first[1]['etag']}",
                "/simple/absent/",
                "/healthz",
            ]
            expected = await answers(client, paths)
        caplog.clear()
        caplog.set_level("INFO", logger="assay")
        change(monkeypatch)
        async with connected(index, tmp_path / "changed") as client:
            await answers(client, ["/simple/widget/"])
            tasks.clear()
            found = await answers(client, paths)
            client.writer.write(b"no request\r\n\r\n")
            assert (await client.reader.readline()).startswith(b"HTTP/1.")
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine[0], mine[2]) == (theirs[0], theirs[2])
        assert {name: mine[1].get(name) for name in theirs[1]} == theirs[1]
    assert ("GET /simple/widget/" in tasks) is (change in {with_triples, with_state_of_responses})
    assert ("request-malformed" in caplog.messages) is (change is not without_malformed_error)
    assert caplog.messages.count(EVENT) == said


@pytest.mark.parametrize("status", [HTTPStatus.OK, HTTPStatus.NOT_MODIFIED, HTTPStatus.PARTIAL_CONTENT])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("size", [0, 5, 3_000_000])
async def test_a_plain_response_says_what_the_buffered_one_says(status: HTTPStatus, method: str, size: int) -> None:
    if status == HTTPStatus.NOT_MODIFIED and size:
        return
    buffered = {"ETag": '"a"', "Content-Type": "application/json", "X-Name": "b"}
    found = []
    for convert in (lambda made: made, to_plain):

        async def respond(request: web.BaseRequest, convert: Callable[..., Any] = convert) -> web.StreamResponse:
            made = BufferedResponse(headers=dict(buffered), body=b"x" * size, status=status)
            made.force_close()
            return await send_paced(request, convert(made))

        listening = web.Server(respond, access_log=None)
        sockets = await asyncio.get_running_loop().create_server(listening, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*sockets.sockets[0].getsockname())
        writer.write(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = {"Content-Length": "0"} | dict(line.split(": ", 1) for line in lines)
        found.append((first, {name: fields.get(name) for name in (*buffered, "Content-Length", "Connection")}, body))
        writer.close()
        sockets.close()
        await listening.shutdown(1)
    assert found[0] == found[1]


def without_connection(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aiohttp.ClientResponse, "connection", None)


def without_pause(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResponseHandler, "pause_reading", lambda _: None)


def without_handler(patch: pytest.MonkeyPatch) -> None:
    patch.delattr("aiohttp.client_proto.ResponseHandler")


@pytest.mark.parametrize("change", [unchanged, without_connection, without_pause])
async def test_a_long_body_is_the_same_either_way(
    change: Change, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    body = bytes(range(256)) * (bulk_receiver.MIN_BULK_BYTES // 256 + 1)
    change(monkeypatch)
    async with Index() as index:
        index.serve_fixed("/packages/big.bin", CannedResponse(body=body, ranges=True))
        chosen = settings(index)
        async with (
            upstream(chosen) as client,
            client.open_file(chosen, f"{index.origin}/packages/big.bin", start=3) as contents,
        ):
            chunks = [(type(chunk), bytes(chunk)) async for chunk in contents.chunks]
    assert b"".join(chunk for _, chunk in chunks) == body[3:]
    assert (memoryview in {kind for kind, _ in chunks}) is (change is unchanged)
    assert caplog.messages.count(EVENT) == (0 if change is unchanged else 1)


async def test_a_client_without_its_protocol_class_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    without_handler(monkeypatch)
    assert "AttributeError" in str(await aiohttp_private.find_takeover_change())
