"""Failures of connections and of HTTP: each is one sentence of Assay, without names of exceptions."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from assay.errors import InvalidResponseError, UpstreamError, UpstreamTimeoutError, UpstreamUnavailableError
from assay.indexes import IndexSettings
from assay.ports import FetchedDocument, Validators
from assay.simple.model import NormalizedName
from assay.upstream.transport_errors import as_upstream_error
from tests.unit.upstream.limited_client import SMALL_LIMITS, settings, upstream
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import ChangeHeaders, Chunked, Fault, Hang, Truncate

FOO = NormalizedName("foo")
PATH = "/simple/foo/"
URL = "https://user:secret@index.example/simple/foo/?token=secret"
WHERE = "https://index.example/simple/foo/"
KEY = ConnectionKey("index.example", 443, True, True, None, None, None)


async def failure(index: IndexSettings, **more: Any) -> UpstreamError:
    async with upstream(index, **more) as client:
        with pytest.raises(UpstreamError) as failed:
            await client.fetch_page(index, FOO, Validators())
    return failed.value


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Truncate(10), "the response ended early or is malformed"),
        (Chunked(cut=10), "the response ended early or is malformed"),
        (Hang(), "timed out"),
        (ChangeHeaders({"X-Padding": "x" * 100_000}), "the response is not valid HTTP"),
    ],
    ids=repr,
)
async def test_a_broken_response_is_told_in_one_sentence(fault: Fault, message: str) -> None:
    async with Index() as index:
        index.add(wheel("foo"))
        index.inject_fault(PATH, fault)
        assert str(await failure(settings(index))) == f"{index.url}foo/: {message}"
        index.clear_faults()
        async with upstream(settings(index)) as client:
            assert isinstance(await client.fetch_page(settings(index), FOO, Validators()), FetchedDocument)


async def test_a_refused_connection_is_told_in_one_sentence() -> None:
    async with Index() as index:
        chosen = settings(index)
        await index.down()
        found = await failure(chosen)
        assert isinstance(found, UpstreamUnavailableError)
        assert str(found) == f"{chosen.url}foo/: the connection was refused"
        await index.up()


async def test_a_proxy_that_cannot_be_reached_is_told_in_one_sentence() -> None:
    async with Index() as index, Index() as other:
        origin = other.origin
        await other.down()
        found = await failure(settings(index), proxies={"http": origin})
        assert str(found) == f"{index.url}foo/: the configured HTTP proxy cannot be reached: the connection was refused"
        await other.up()


async def test_a_name_that_does_not_resolve_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    index = IndexSettings.model_validate({"name": "a", "url": "https://a.example/simple/", "limits": SMALL_LIMITS})
    assert str(await failure(index)) == "https://a.example/simple/foo/: the host name cannot be resolved"


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[int]:
    """Run a server that answers each connection with `raw`; yield its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(raw)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_a_failed_tls_handshake_and_another_protocol_are_told_in_one_sentence() -> None:
    async with answering(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        for scheme in ("https", "http"):
            url = f"{scheme}://127.0.0.1:{port}/simple/"
            index = IndexSettings.model_validate({"name": "a", "url": url, "limits": SMALL_LIMITS})
            found = str(await failure(index))
            expected = (
                r"the TLS handshake failed \([a-z0-9 ]+\)" if scheme == "https" else "the response is not valid HTTP"
            )
            assert re.fullmatch(rf"{re.escape(url)}foo/: {expected}", found), found


def made_os_error(number: int) -> OSError:
    return OSError(number, "text of the system")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            aiohttp.ClientConnectorError(KEY, made_os_error(errno.ENETUNREACH)),
            UpstreamUnavailableError,
            "the network or the host is unreachable",
        ),
        (
            aiohttp.ClientConnectorError(KEY, made_os_error(errno.EHOSTUNREACH)),
            UpstreamUnavailableError,
            "the network or the host is unreachable",
        ),
        (
            aiohttp.ClientConnectorError(KEY, OSError("Multiple exceptions: …")),
            UpstreamUnavailableError,
            "no connection is possible",
        ),
        (aiohttp.ClientOSError(errno.ECONNRESET, "x"), UpstreamUnavailableError, "the connection was reset"),
        (aiohttp.ServerDisconnectedError(), UpstreamUnavailableError, "the connection was closed before a response"),
        (aiohttp.SocketTimeoutError(), UpstreamTimeoutError, "timed out"),
        (aiohttp.ClientPayloadError("400"), UpstreamUnavailableError, "the response ended early or is malformed"),
        (aiohttp.ClientConnectionError("Connection closed"), UpstreamUnavailableError, "the connection failed"),
        (BrokenPipeError(errno.EPIPE, "x"), UpstreamUnavailableError, "the connection was reset"),
        (ssl.SSLError(1, "[X] y"), UpstreamUnavailableError, "the TLS handshake failed (no reason given)"),
        (aiohttp.InvalidURL("http://"), InvalidResponseError, "the URL is not valid"),
        (ValueError("Can redirect only to http or https"), InvalidResponseError, "the response is not valid HTTP"),
        (
            aiohttp.ClientConnectorCertificateError(
                KEY, ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")
            ),
            InvalidResponseError,
            "the server certificate is not trusted (it was not verified); check ca-file of the index",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_kind_of_failure_has_its_sentence(error: Exception, kind: type[UpstreamError], message: str) -> None:
    found = as_upstream_error(error, URL)
    assert type(found) is kind
    assert str(found) == f"{WHERE}: {message}"
