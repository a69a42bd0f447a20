"""Limits on connections: below the limit all requests are served, above it only probes; slow clients are timed out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import resource
import socket
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from assay.config import ServerSettings
from assay.telemetry import metrics
from assay.web.server import connection_limit, listener, server
from assay.web.server.connection import Connection
from assay.web.server.connection_server import ServerTimeouts
from tests.world.clients.raw_client import END_OF_HEAD, TIMEOUT_SECONDS, encode_get, open_clients
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import Reply
from tests.world.proxy.certificate_authority import CertificateAuthority
from tests.world.proxy.running_proxy import SIMPLE_JSON, make_configuration, run_test_proxy
from tests.world.proxy.two_ways import RespondingApp


async def settles(proxy_count: int) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while open_now() != proxy_count:  # noqa: ASYNC110 - no event tells when the other end of a socket notices
            await asyncio.sleep(0.01)


def open_now() -> float:
    return value(metrics.REGISTRY, "assay_connections")


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(name, labels) or 0.0


async def test_beyond_the_seats_a_probe_is_answered_and_anything_else_is_503(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Index() as index:
        index.add(wheel("foo"))
        few = make_configuration(index, tmp_path / "assay", server={"port": 0, "max-connections": 4})
        async with run_test_proxy(index, tmp_path, configuration=few) as proxy, open_clients(proxy) as clients:
            seated = [await clients.connect(f"127.0.0.{number}") for number in (2, 2, 3, 3)]
            for client in seated:
                assert (await client.get("/simple/foo/"))[0] == 200
            for path, expected in (("/healthz", 200), ("/readyz", 200), ("/simple/foo/", 503), ("/metrics", 503)):
                beyond = await clients.connect("127.0.0.4")
                status, head = await beyond.get(path)
                assert (path, status) == (path, expected)
                assert (b"Retry-After: 5" in head) == (expected == 503)
                assert await beyond.is_closed(), "a probe slot is for one request"
            for client in seated:
                assert (await client.get("/simple/foo/"))[0] == 200, "connections within the limit are not affected"
            await settles(4)
            seated[0].writer.close()
            await settles(3)
            later = await clients.connect("127.0.0.4")
            assert [(await later.get("/simple/foo/"))[0] for _ in range(2)] == [200, 200]
    (said, *_) = [record for record in caplog.records if record.getMessage() == "connections-refused"]
    assert said.__dict__["fields"] == {"refused": 1, "open": 5, "limit": 4}


async def test_one_address_leaves_half_of_the_seats_to_others(tmp_path: Path) -> None:
    async with Index() as index:
        index.add(wheel("foo"))
        few = make_configuration(index, tmp_path / "assay", server={"port": 0, "max-connections": 4})
        async with run_test_proxy(index, tmp_path, configuration=few) as proxy, open_clients(proxy) as clients:
            greedy = [await clients.connect("127.0.0.2") for _ in range(3)]
            assert [(await client.get("/simple/foo/"))[0] for client in greedy] == [200, 200, 503]
            other = await clients.connect("127.0.0.3")
            assert (await other.get("/simple/foo/"))[0] == 200


async def test_a_full_reserve_is_cut_and_empties_by_itself(tmp_path: Path) -> None:
    soon = ServerTimeouts(probe_request=0.3)
    async with Index() as index:
        few = make_configuration(index, tmp_path / "assay", server={"port": 0, "max-connections": 1})
        async with (
            run_test_proxy(index, tmp_path, configuration=few, timeouts=soon) as proxy,
            open_clients(proxy) as clients,
        ):
            cut = value(metrics.REGISTRY, "assay_connections_refused_total", action="closed")
            silent = [
                await clients.connect(f"127.0.1.{number}") for number in range(1, 2 + connection_limit.PROBE_SLOTS)
            ]
            await settles(1 + connection_limit.PROBE_SLOTS)
            assert (await (await clients.connect("127.0.2.1")).get("/healthz"))[0] == 0
            assert value(metrics.REGISTRY, "assay_connections_refused_total", action="closed") == cut + 1
            assert all(await asyncio.gather(*(client.is_closed() for client in silent[1:])))
            await settles(1)
            assert (await (await clients.connect("127.0.2.1")).get("/healthz"))[0] == 200


async def test_a_flood_is_told_once_a_second(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Index() as index:
        few = make_configuration(index, tmp_path / "assay", server={"port": 0, "max-connections": 1})
        async with run_test_proxy(index, tmp_path, configuration=few) as proxy, open_clients(proxy) as clients:
            await clients.connect("127.0.0.9")
            await settles(1)
            began = asyncio.get_running_loop().time()
            for number in range(40):
                await (await clients.connect(f"127.0.3.{number + 1}")).get("/simple/")
            lasted = asyncio.get_running_loop().time() - began
    told = [record for record in caplog.records if record.getMessage() == "connections-refused"]
    assert 1 <= len(told) <= 1 + lasted


async def test_a_connection_that_fails_its_handshake_gives_its_seat_back(tmp_path: Path) -> None:
    tls = {"certificate": str(tmp_path / "tls.crt"), "key": str(tmp_path / "tls.key")}
    authority = CertificateAuthority.create()
    authority.issue(tmp_path / "tls.crt", tmp_path / "tls.key")
    context = ssl.create_default_context(cafile=authority.write_certificate(tmp_path / "ca.pem"))
    async with Index() as index:
        few = make_configuration(index, tmp_path / "assay", server={"port": 0, "max-connections": 2, "tls": tls})
        async with run_test_proxy(index, tmp_path, configuration=few) as proxy, open_clients(proxy) as clients:
            for _ in range(5):
                bad = await clients.connect()
                bad.writer.write(b"GET / HTTP/1.1\r\n\r\n")
                assert await bad.is_closed()
                await settles(0)
            assert (await (await clients.connect(context=context)).get("/healthz"))[0] == 200


async def test_nothing_stays_of_a_connection_however_it_ended(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CertificateAuthority.create().issue(tmp_path / "tls.crt", tmp_path / "tls.key")
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")

    async def answers(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="ok")

    few = connection_limit.ConnectionLimit(2, on_change=metrics.CONNECTIONS.set)
    punctual = server._HttpServer(RespondingApp(answers), ServerSettings(), logging.getLogger("test"))
    made: list[Connection] = []

    def making(seat: connection_limit.ConnectionSlot) -> Connection:
        made.append(punctual.make_protocol(seat))
        return made[-1]

    for tls in (None, context):
        entrance = listener.Listener(few, making, ssl_context=tls, handshake_timeout_seconds=TIMEOUT_SECONDS)
        host, port = await entrance.open("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(encode_get("/", "Connection: close"))  # with TLS these bytes are no handshake
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert (await reader.read()).startswith(b"HTTP/1.1 200") == (tls is None)
        writer.close()
        await settles(0)
        entrance.close()
        assert few.open_connections == 0
    assert len(made) == 2
    assert all(connection._first_request_timer.cancelled() for connection in made)


async def test_no_descriptor_left_is_a_pause_and_not_an_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soon = ServerTimeouts(accept_pause=0.2)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, timeouts=soon) as proxy,
        open_clients(proxy) as clients,
    ):
        early = await clients.connect()
        assert (await early.get("/healthz"))[0] == 200
        loop, (soft, hard) = asyncio.get_running_loop(), resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as late:
            late.setblocking(False)
            try:
                # With no free file descriptor, the kernel completes the connection but the proxy cannot accept it.
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
                await loop.sock_connect(late, early.writer.get_extra_info("peername"))
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    while "accept-failed" not in caplog.messages:  # noqa: ASYNC110 - there is no event to await
                        await asyncio.sleep(0.01)
                assert (await early.get("/healthz"))[0] == 200
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await loop.sock_sendall(late, encode_get("/healthz"))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                assert (await loop.sock_recv(late, 100)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("what", ["file", "page"])
async def test_who_takes_nothing_is_cut_and_who_takes_his_time_is_not(tmp_path: Path, what: str) -> None:
    soon = ServerTimeouts(stall=0.5)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, timeouts=soon) as proxy,
        open_clients(proxy) as clients,
    ):
        path = proxy.files_path(index.add(wheel("foo", padding=12_000_000)))
        if what == "page":
            path, document = (
                "/simple/big/",
                {"meta": {"api-version": "1.1"}, "name": "big", "files": [], "versions": []},
            )
            page = json.dumps(
                document | {"_note": [random.Random(number).randbytes(1000).hex() for number in range(10_000)]}
            ).encode()
            index.inject_fault(path, Reply(200, page, {"Content-Type": SIMPLE_JSON}))
        whole = len((await proxy.get(path, {"Accept": SIMPLE_JSON})).body)
        assert whole > 8_000_000
        idle, slow = await clients.connect("127.0.0.2"), await clients.connect("127.0.0.3")
        for client in (idle, slow):
            client.writer.write(encode_get(path, f"Accept: {SIMPLE_JSON}"))
        taken, head = 0, await slow.reader.readuntil(END_OF_HEAD)
        assert head.startswith(b"HTTP/1.1 200")
        while taken < whole:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                piece = await slow.reader.read(whole // 20)
            assert piece, f"cut after {taken} of {whole} bytes"
            taken += len(piece)
            await asyncio.sleep(0.05)
        assert taken == whole, "a client may take longer than the timeout if it keeps reading"
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await idle.reader.readexactly(whole)


@pytest.mark.parametrize("padding", [None, 50_000, 64_000], ids=["home", "short", "held"])
async def test_who_asks_and_asks_and_takes_nothing_is_cut(tmp_path: Path, padding: int | None) -> None:
    soon = ServerTimeouts(stall=0.3)
    async with (
        Index() as index,
        run_test_proxy(index, tmp_path, timeouts=soon) as proxy,
        open_clients(proxy) as clients,
    ):
        path = "/" if padding is None else proxy.files_path(index.add(wheel("foo", padding=padding)))
        for _ in range(3):  # after three requests the file is in memory
            assert (await proxy.get(path)).status == 200
        others, rude = open_now(), await clients.connect()
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                rude.writer.write(
                    encode_get(path) * 100
                )  # the client does not read the responses, of at least 10 kB each
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await rude.writer.drain()
        await settles(int(others))


async def test_what_is_closed_ends_though_nobody_reads_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="assay")

    async def answers(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"x" * 20_000_000)  # more than the kernel buffers
        request.transport.close()
        raise ConnectionError

    few = connection_limit.ConnectionLimit(2, on_change=metrics.CONNECTIONS.set)
    soon = ServerTimeouts(closing=0.2, reap_interval=0.05)
    punctual = server._HttpServer(RespondingApp(answers), ServerSettings(), logging.getLogger("test"), timeouts=soon)
    entrance = listener.Listener(few, punctual.make_protocol, ssl_context=None, handshake_timeout_seconds=1)
    host, port = await entrance.open("127.0.0.1", 0)
    seeing_off = asyncio.create_task(punctual.reap_closing())
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(encode_get("/"))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while "connection-close-timeout" not in caplog.messages:
                assert few.open_connections <= 1
                await asyncio.sleep(0.01)
        await settles(0)
        assert few.open_connections == 0
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(20_000_000)
    finally:
        seeing_off.cancel()
        entrance.close()
        writer.close()
