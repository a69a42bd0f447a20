"""Tests of the listener: signatures, methods, limits, slow readers and traces."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from yarl import URL

from assay.errors import ConfigurationError
from assay.peers.addresses import parse_peer_address
from assay.peers.signing import PeerCredentials, PeerRequest, format_headers, format_target
from assay.simple.model import Sha256
from assay.telemetry import metrics, tracing
from assay.web.peers.server import run_peer_server
from assay.web.server.connection_server import ServerTimeouts
from tests.service.peers.replicas import (
    CREDENTIALS,
    KEY,
    OTHER_KEY,
    expect,
    open_client,
    receive,
    run_follower,
    run_holder,
    run_listener,
)
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import NOW, RunningProxy, run_test_proxy

BIG = 300_000
"""Bytes of padding, far more than the tail that is withheld."""


def make_request(address: str, listed: ListedFile, **changes: str | int) -> PeerRequest:
    request = PeerRequest(
        deployment=CREDENTIALS.deployment,
        address=address,
        target=format_target(Sha256(listed.built.sha256), listed.url.partition("://")[2]),
        start=0,
        time=int(NOW.timestamp()),
        nonce="0" * 32,
    )
    return replace(request, **changes)  # type: ignore[arg-type]  # each test changes a field to a value of its type


async def send(
    address: str, target: str, headers: Mapping[str, str] | None = None, *, method: str = "GET"
) -> tuple[int, bytes]:
    url = URL(f"http://{address}{target}", encoded=True)
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as response:
        return response.status, await response.read()


async def store(proxy: RunningProxy, listed: ListedFile) -> None:
    await proxy.get(proxy.files_path(listed))
    await proxy.wait_until_stored(listed)


async def test_a_signed_request_gets_the_file_once_and_others_get_401(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Index() as index, run_holder(index, tmp_path) as (holder, address):
        listed = index.add(wheel("foo", "1.0"))
        await store(holder, listed)
        request = make_request(address, listed)
        headers, target = format_headers(request, KEY), request.target
        for refused in (
            {},
            {**headers, "Assay-Signature": "0" * 64},
            {**headers, "Range": "bytes=1-"},
            format_headers(request, OTHER_KEY),
            format_headers(make_request(address, listed, deployment="acme-test"), KEY),
            format_headers(make_request("127.0.0.1:1", listed), KEY),
            format_headers(make_request(address, listed, time=request.time - 31), KEY),
            format_headers(make_request(address, listed, target="/files/"), KEY),
        ):
            assert await send(address, target, refused) == (401, b"")
        assert await send(address, target, headers) == (200, listed.built.content)
        assert await send(address, target, headers) == (401, b""), "it is accepted once"
    warnings = [each.__dict__["fields"] for each in caplog.records if each.getMessage() == "peer-request-refused"]
    assert warnings[0] == {"client": "127.0.0.1", "reason": "the signature is missing or malformed", "refused": 1}
    assert len(warnings) < 9, "one a second at most"


async def test_both_keys_count_while_they_are_rotated(tmp_path: Path) -> None:
    rotated = PeerCredentials(deployment=CREDENTIALS.deployment, keys=lambda: [OTHER_KEY, KEY])
    new = PeerCredentials(deployment=CREDENTIALS.deployment, keys=lambda: [OTHER_KEY])
    async with Index() as index, run_test_proxy(index, tmp_path) as holder:
        listed = index.add(wheel("foo", "1.0"))
        await store(holder, listed)
        for holding, asking, is_accepted in (
            (rotated, CREDENTIALS, True),
            (CREDENTIALS, CREDENTIALS, True),
            (rotated, rotated, True),
            (CREDENTIALS, rotated, False),
            (new, CREDENTIALS, False),
        ):
            async with (
                run_listener(holder, credentials=holding) as address,
                open_client(address, credentials=asking) as client,
            ):
                received, error = await receive(client, address, expect(index, listed))
            assert (received == listed.built.content) is (error is None) is is_accepted


@pytest.mark.parametrize("skew", [30, 31])
async def test_a_clock_that_differs_too_much_is_refused(tmp_path: Path, skew: int) -> None:
    ahead = NOW + timedelta(seconds=skew)
    async with (
        Index() as index,
        run_holder(index, tmp_path) as (holder, address),
        open_client(address, clock=lambda: ahead) as client,
    ):
        listed = index.add(wheel("foo", "1.0"))
        await store(holder, listed)
        _, error = await receive(client, address, expect(index, listed))
        assert (error is None) is (skew == 30)


async def test_there_is_one_route_and_one_method(tmp_path: Path) -> None:
    async with Index() as index, run_holder(index, tmp_path) as (holder, address):
        listed = index.add(wheel("foo", "1.0"))
        await store(holder, listed)
        for number, path in enumerate(("/", "/simple/foo/", "/readyz", "/metrics", holder.files_path(listed))):
            assert (await send(address, path))[0] == 401
            signed = make_request(address, listed, target=path, nonce=f"{number:032x}")
            assert await send(address, path, format_headers(signed, KEY)) == (404, b"")
        for number, method in enumerate(("HEAD", "POST", "DELETE")):
            signed = make_request(address, listed, nonce=f"{number + 100:032x}")
            assert await send(address, signed.target, format_headers(signed, KEY), method=method) == (405, b"")
        signed = make_request(address, listed, nonce="f" * 32)
        assert await send(address, signed.target, format_headers(signed, KEY)) == (200, listed.built.content)


async def test_requests_beyond_the_limit_get_503(tmp_path: Path) -> None:
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path) as holder,
        run_listener(holder, max_requests=1) as address,
        open_client(address) as client,
    ):
        listed = index.add(wheel("foo", "1.0", padding=BIG))
        stall = index.stall(listed.path, after=200_000)
        async with holder.open("GET", holder.files_path(listed)):
            await stall.reached.wait()
            async with client.contents(address, expect(index, listed), 0) as body:
                await anext(body.chunks)
                _, error = await receive(client, address, expect(index, listed))
                assert error is not None
                assert error.status == 503
                stall.release.set()
                async for _ in body.chunks:
                    pass
            assert await receive(client, address, expect(index, listed)) == (listed.built.content, None)


async def test_large_heads_and_silent_connections_end(tmp_path: Path) -> None:
    hasty = ServerTimeouts(first_request=0.1, shutdown_grace=0.02)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path) as holder,
        run_listener(holder, timeouts=hasty) as address,
    ):
        assert (await send(address, "/", {"X-Long": "x" * 900}))[0] == 401
        assert (await send(address, "/", {"X-Long": "x" * 1100}))[0] == 400
        assert (await send(address, "/", {f"X-{number}": "x" for number in range(40)}))[0] == 400
        peer = parse_peer_address(address)
        reader, writer = await asyncio.open_connection(str(peer.ip), peer.port)
        assert await reader.read() == b"", "a connection without a request is closed"
        writer.close()


async def test_a_replica_that_does_not_read_is_disconnected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hasty = ServerTimeouts(stall=0.1, shutdown_grace=0.02)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path) as holder,
        run_listener(holder, timeouts=hasty) as address,
    ):
        listed = index.add(wheel("foo", "1.0", padding=30_000_000))  # more than the kernel buffers
        await store(holder, listed)
        peer, request = parse_peer_address(address), make_request(address, listed)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (str(peer.ip), peer.port))
        fields = "".join(f"{name}: {value}\r\n" for name, value in format_headers(request, KEY).items())
        await loop.sock_sendall(connection, f"GET {request.target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
        async with asyncio.timeout(30):
            while "response-aborted" not in caplog.messages:  # noqa: ASYNC110 - the log has no event to await
                await asyncio.sleep(0.01)
        connection.close()
        again = replace(request, nonce="1" * 32)
        assert await send(address, again.target, format_headers(again, KEY)) == (200, listed.built.content)


async def test_connections_of_replicas_do_not_count_as_those_of_clients(tmp_path: Path) -> None:
    async with Index() as index, run_holder(index, tmp_path) as (holder, address), open_client(address) as client:
        listed = index.add(wheel("foo", "1.0"))
        await store(holder, listed)
        before = metrics.REGISTRY.get_sample_value("assay_connections")
        assert await receive(client, address, expect(index, listed)) == (listed.built.content, None)
        assert metrics.REGISTRY.get_sample_value("assay_connections") == before


async def test_an_address_that_is_taken_is_a_configuration_error(tmp_path: Path) -> None:
    async with Index() as index, run_holder(index, tmp_path) as (holder, address):
        gates = [view.gate for view in holder.assembly.views]
        with pytest.raises(ConfigurationError, match=r"^storage.shared.peer-address: cannot listen on 127.0.0.1:"):
            async with run_peer_server(gates, CREDENTIALS, parse_peer_address(address), clock=holder.clock):
                pass


@pytest.fixture
def kept() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    with tracing.export_spans_to(SimpleSpanProcessor(exporter)):
        yield exporter


async def test_the_trace_of_a_download_continues_in_the_other_replica(
    tmp_path: Path, kept: InMemorySpanExporter
) -> None:
    async with (
        Index() as index,
        run_holder(index, tmp_path / "a") as (holder, address),
        run_follower(index, tmp_path / "b", address) as follower,
    ):
        listed = index.add(wheel("foo", "1.0"))
        await store(holder, listed)
        await store(follower, listed)
        assert not any("traceparent" in each.headers for each in index.requests)
    (answered,) = [span for span in kept.get_finished_spans() if span.name == "peer-request"]
    asked = [span for span in kept.get_finished_spans() if span.name == "download"]
    assert answered.parent is not None
    assert answered.parent.span_id in {span.context.span_id for span in asked}
    assert dict(answered.attributes or {}) == {"http.response.status_code": 200}


async def test_a_second_server_logs_faults_of_its_clients_without_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="assay")
    async with Index() as index, run_holder(index, tmp_path) as (_, address):
        peer = parse_peer_address(address)
        reader, writer = await asyncio.open_connection(str(peer.ip), peer.port)
        writer.write(b"GET / HTTP/1.1\r\nX\x1b[31m\r\n\r\n")
        assert b" 400 " in (await reader.read()).partition(b"\r\n")[0]
        writer.close()
        assert "request-malformed" in caplog.messages
        assert not [record for record in caplog.records if record.exc_info]
