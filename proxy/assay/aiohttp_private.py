"""Private and undocumented names of aiohttp, as read in 3.14.5, each behind one function.

Three shortcuts use them: answering a request without a task (`web.server.connection`), a response without the base
class's state (`web.response`), and receiving a long body past the parser (`upstream.bulk_receiver`). The `find_*`
functions try each shortcut at start, on a connection in memory. Where one fails, `report_change` logs a warning, the
shortcut stays off, and aiohttp's public way is used.

One module serves server and client, and so it stands below both `web` and `upstream`.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import EMPTY_PAYLOAD, web

from assay import telemetry

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage

_HTTP_11: Final = (1, 1)
_SELF_TEST_TIMEOUT_SECONDS: Final = 2.0
_BODY: Final = b"self-test"
_SILENT_LOGGER: Final = logging.getLogger("assay.self-test")
"""Logger of the servers that self-tests use: a failure is one event, and no traceback."""
_SILENT_LOGGER.disabled = True
_parse: Final = web.RequestHandler.data_received


def report_change(change: str, fallback: str) -> None:
    """Log that a private name is not as it was read, and what is used instead."""
    telemetry.warning(
        "private-api-changed", library="aiohttp", version=aiohttp.__version__, changed=change, instead=fallback
    )


def receive_if_idle(
    handler: web.RequestHandler, data: bytes, on_request: Callable[[asyncio.Future[None]], object]
) -> bool:
    """Let an idle connection parse `data` without waking its task; False if it is busy and nothing was parsed.

    Read in 3.14.5: `RequestHandler._waiter` is the future of the task that waits for a request, `_messages` the queue,
    and `_next_keepalive_close_time` the event loop's time at which an idle connection is closed. Public way:
    `RequestHandler.data_received`, which wakes the task; the task restarts the keep-alive timeout after a response.

    Args:
        handler: the connection.
        data: bytes of the client.
        on_request: called with the future that wakes the task, if a request is in the queue. Until it is answered, the
            connection does not count as idle.
    """
    waiter, messages = handler._waiter, handler._messages  # noqa: SLF001 - this module's purpose
    if waiter is None or messages or waiter.done():
        return False
    handler._waiter = None  # noqa: SLF001 - as above
    try:
        _parse(handler, data)
    finally:
        handler._waiter = waiter  # noqa: SLF001 - as above
    if messages:
        on_request(waiter)
        loop = handler._loop  # noqa: SLF001 - as above
        handler._next_keepalive_close_time = loop.time() + handler._keepalive_timeout  # noqa: SLF001 - as above
    return True


def wake_for_request(handler: web.RequestHandler) -> None:
    """Wake the task of a connection in whose queue a request waits.

    Read in 3.14.5: `RequestHandler._waiter`. Public way: `RequestHandler.data_received`, which wakes the task.
    """
    waiter = handler._waiter  # noqa: SLF001 - as above
    if handler._messages and waiter is not None and not waiter.done():  # noqa: SLF001 - as above
        waiter.set_result(None)


def peek_plain_get(handler: web.RequestHandler) -> RawRequestMessage | None:
    """Return the only request in the queue if it is an HTTP/1.1 GET without body, upgrade and close.

    Read in 3.14.5: `RequestHandler._messages` has pairs of `RawRequestMessage` (or of an error without `method`) and a
    payload. Public way: the `web.BaseRequest` that aiohttp's task hands to the request handler.
    """
    messages = handler._messages  # noqa: SLF001 - as above
    message: Any
    message, payload = messages[0]
    if (
        len(messages) == 1
        and getattr(message, "method", None) == "GET"
        and message.version == _HTTP_11
        and not message.should_close
        and not message.upgrade
        and payload is EMPTY_PAYLOAD
    ):
        request: RawRequestMessage = message
        return request
    return None


def discard_answered_request(handler: web.RequestHandler, server: web.Server) -> None:
    """Take the only request out of the queue of a connection that is not lost, as aiohttp's task does after a response.

    Read in 3.14.5: `RequestHandler.start` pops `_messages`, tells `_parser.message_consumed`, and counts the request.
    (It resumes reading there as well, which is paused only while the queue has 16 requests or more.) Public way:
    aiohttp's task does it.
    """
    handler._messages.popleft()  # noqa: SLF001 - as above
    handler._parser.message_consumed()  # type: ignore[union-attr]  # noqa: SLF001 - as above; a lost connection has none
    server.requests_count += 1


def take_over_connection(
    response: aiohttp.ClientResponse,
) -> tuple[asyncio.Protocol, asyncio.Transport, bytes] | None:
    """Stop aiohttp's reading of a response's body; None if its connection has been given back.

    Read in 3.14.5: `ClientResponse.connection` has `protocol` and `transport`, and `protocol.pause_reading` pauses
    the transport, the parser and the read timeout. Public way: `ClientResponse.content.iter_any`.

    Returns:
        aiohttp's protocol, which must hear of a lost connection; the paused transport; what was received already.
    """
    connection = response.connection
    if connection is None or connection.protocol is None or connection.transport is None:
        return None
    protocol, transport = connection.protocol, connection.transport
    received = b"".join(iter(response.content.read_nowait, b""))
    protocol.pause_reading()
    return protocol, transport, received


def get_malformed_request_message(error: BaseException) -> str | None:
    """Return what aiohttp says of a malformed request; None if `error` is about something else.

    Read in 3.14.5: `aiohttp.http_exceptions.HttpProcessingError` has `message`. Public way: aiohttp logs the error
    itself, with a traceback.
    """
    return str(getattr(error, "message", error)) if isinstance(error, _malformed_request_types()) else None


def _malformed_request_types() -> tuple[type[BaseException], ...]:
    try:
        found = getattr(importlib.import_module("aiohttp.http_exceptions"), "HttpProcessingError", None)
    except ImportError:
        return ()
    return (found,) if isinstance(found, type) and issubclass(found, BaseException) else ()


def find_error_change() -> str | None:
    """Try `get_malformed_request_message`; return what has changed."""
    return None if _malformed_request_types() else "aiohttp.http_exceptions.HttpProcessingError is missing"


async def find_queue_change(timeout_seconds: float = _SELF_TEST_TIMEOUT_SECONDS) -> str | None:
    """Try the queue of requests on a connection in memory; return what has changed."""
    return await _describe_failure(_check_queue(), timeout_seconds)


async def find_response_change(create_response: Callable[[bytes], web.StreamResponse]) -> str | None:
    """Send two responses with a body of `create_response` through aiohttp's task; return what has changed."""
    return await _describe_failure(_check_response(create_response))


async def find_takeover_change() -> str | None:
    """Try `take_over_connection` on a response in memory; return what has changed."""
    return await _describe_failure(_check_takeover())


async def _describe_failure(check: Awaitable[None], timeout_seconds: float = _SELF_TEST_TIMEOUT_SECONDS) -> str | None:
    try:
        async with asyncio.timeout(timeout_seconds):
            await check
    except Exception as error:  # noqa: BLE001 - whatever a changed library raises means the same
        return f"{type(error).__name__}: {error}"
    return None


async def _check_queue() -> None:
    paths: asyncio.Queue[str] = asyncio.Queue()

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        paths.put_nowait(request.raw_path)
        return web.Response()

    async with _serve_in_memory(respond) as (server, handler, _):
        waiters: list[asyncio.Future[None]] = []
        before = asyncio.get_running_loop().time()
        _expect(receive_if_idle(handler, _encode_get("/a"), waiters.append), "RequestHandler._waiter")
        _expect(len(waiters) == 1 and not waiters[0].done(), "RequestHandler._waiter")
        close_time = handler._next_keepalive_close_time  # noqa: SLF001 - as above
        _expect(close_time >= before + handler.keepalive_timeout, "RequestHandler._keepalive_timeout")
        message = peek_plain_get(handler)
        _expect(
            message is not None and message.path == "/a" and message.headers.get("host") == "a", "RawRequestMessage"
        )
        discard_answered_request(handler, server)
        _expect(not handler._messages and paths.empty(), "RequestHandler.start")  # noqa: SLF001 - as above
        _expect(server.requests_count == 1, "Server.requests_count")
        receive_if_idle(handler, 2 * _encode_get("/b"), waiters.append)
        _expect(peek_plain_get(handler) is None, "RequestHandler._messages of two requests")
        wake_for_request(handler)
        for _ in range(2):  # the connection goes on as if nothing had been taken out
            _expect(await paths.get() == "/b", "RequestHandler.start after a request was taken out")


async def _check_response(create_response: Callable[[bytes], web.StreamResponse]) -> None:
    async def respond(_request: web.BaseRequest) -> web.StreamResponse:
        return create_response(_BODY)

    async with _serve_in_memory(respond) as (_, handler, transport):
        for number in range(1, 3):
            handler.data_received(_encode_get("/"))
            while transport.written.count(_BODY) < number:
                _expect(not transport.is_closing(), "StreamResponse as RequestHandler.start uses it")
                await asyncio.sleep(0)
        _expect(transport.written.startswith(b"HTTP/1.1 200 "), "StreamResponse as RequestHandler.start uses it")


async def _check_takeover() -> None:
    first, rest = _BODY[:4], _BODY[4:]
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(_BODY)}\r\n\r\n".encode()
    connector = _MemoryConnector(head + first)
    async with (
        aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.get("http://self-test.invalid/") as response,
    ):
        taken = take_over_connection(response)
        if taken is None:
            raise _ChangedError("ClientResponse.connection")
        _, transport, received = taken
        _expect(transport is connector.transport and not transport.is_reading(), "ResponseHandler.pause_reading")
        _expect(received == first, "StreamReader.read_nowait")
        receiver = _Receiver()
        transport.set_protocol(receiver)
        connector.transport.deliver(rest)
        _expect(receiver.received == rest, "Transport.set_protocol")
        response.close()
        _expect(transport.is_closing(), "ClientResponse.close")


class _ChangedError(Exception):
    """A private name is not as it was read."""


def _expect(is_met: object, name: str) -> None:
    if not is_met:
        raise _ChangedError(f"{name} is not as it was read")


def _encode_get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


@asynccontextmanager
async def _serve_in_memory(
    respond: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> AsyncIterator[tuple[web.Server, web.RequestHandler, _MemoryTransport]]:
    """One idle connection of an aiohttp server."""
    server = web.Server(respond, access_log=None, logger=_SILENT_LOGGER)
    handler = server()
    transport = _MemoryTransport(handler)
    handler.connection_made(transport)
    await asyncio.sleep(0)  # the task begins
    try:
        yield server, handler, transport
    finally:
        transport.abort()
        await asyncio.sleep(0)
        await server.shutdown(0)


class _MemoryTransport(asyncio.Transport):
    """A connection without a socket."""

    def __init__(self, protocol: asyncio.BaseProtocol, reply: bytes = b"") -> None:
        # With a TLS context, so that nothing looks for a socket to write to.
        super().__init__({"peername": ("192.0.2.1", 1), "sslcontext": True})
        self.written = b""
        self._protocol = protocol
        self._reply = reply
        self._is_closing = False
        self._is_reading = True

    def deliver(self, data: bytes) -> None:
        """Hand `data` to the protocol, as an event loop does."""
        if isinstance(self._protocol, asyncio.Protocol):
            self._protocol.data_received(data)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data
        if self._reply:
            reply, self._reply = self._reply, b""
            asyncio.get_running_loop().call_soon(self.deliver, reply)

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True

    def is_reading(self) -> bool:
        return self._is_reading

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


class _MemoryConnector(aiohttp.BaseConnector):
    """Connections in memory that answer with `reply`."""

    transport: _MemoryTransport

    def __init__(self, reply: bytes) -> None:
        super().__init__()
        self._reply = reply

    async def _create_connection(self, *_: object) -> Any:  # noqa: ANN401 - aiohttp's protocol
        handler = importlib.import_module("aiohttp.client_proto").ResponseHandler(asyncio.get_running_loop())
        self.transport = _MemoryTransport(handler, self._reply)
        handler.connection_made(self.transport)
        return handler


class _Receiver(asyncio.Protocol):
    """Whatever a taken connection receives."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
