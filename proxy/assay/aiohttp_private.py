"""Functions that use private or undocumented names of aiohttp, one for each use. Written for aiohttp 3.14.5.

Three optimizations and one log event need these functions:

- `web.server.connection` answers a request without waking the connection's task.
- `web.response` sends a response without setting the fields of aiohttp's base class.
- `upstream.bulk_receiver` receives a large body without aiohttp's parser.
- For a malformed request, the log contains aiohttp's message instead of a traceback.

At start, the `find_*_change` functions test these four uses on a connection in memory. If a test fails, `report_change`
logs a warning, and Assay uses aiohttp's public API instead.

Both `web` and `upstream` use this module, so its layer is below theirs.
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
"""Disabled logger of the servers in self-tests. A failed test therefore logs one event and no traceback."""
_SILENT_LOGGER.disabled = True
_parse: Final = web.RequestHandler.data_received


def report_change(change: str, fallback: str) -> None:
    """Log a warning that a private name of aiohttp has changed.

    Args:
        change: description of the change, as a `find_*_change` function returns it.
        fallback: description of the proxy's behaviour without the private name.
    """
    telemetry.warning(
        "private-api-changed", library="aiohttp", version=aiohttp.__version__, changed=change, instead=fallback
    )


def receive_if_idle(
    handler: web.RequestHandler, data: bytes, on_request: Callable[[asyncio.Future[None]], object]
) -> bool:
    """Parse `data` if the connection is idle, without waking the connection's task; return whether it was idle.

    A connection is idle while its task waits for a request and its queue is empty. If the connection is busy, do
    nothing. If parsing puts a request into the queue, call `on_request` and restart the keep-alive timeout. Otherwise
    aiohttp could close the connection before the request is answered.

    In aiohttp 3.14.5, `RequestHandler._waiter` is the future of the task that waits for a request, and `_messages` is
    the queue. `_next_keepalive_close_time` is the time of the event loop at which an idle connection is closed. The
    public alternative is `RequestHandler.data_received`, which wakes the task. The woken task also restarts the
    keep-alive timeout.

    Args:
        handler: the connection.
        data: bytes from the client.
        on_request: called if the queue has a request after parsing. Its argument is a future. To wake the task of the
            connection, set the result of the future.
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
    """Wake the task of a connection if the connection's queue has a request.

    In aiohttp 3.14.5, the task waits for the future `RequestHandler._waiter`. The public alternative is
    `RequestHandler.data_received`, which wakes the task.
    """
    waiter = handler._waiter  # noqa: SLF001 - as above
    if handler._messages and waiter is not None and not waiter.done():  # noqa: SLF001 - as above
        waiter.set_result(None)


def peek_plain_get(handler: web.RequestHandler) -> RawRequestMessage | None:
    """Return the only request in the queue if it is a plain GET, and leave it in the queue.

    A plain GET is an HTTP/1.1 GET that has no body, requests no upgrade and does not close the connection. Return None
    for any other request, for a malformed request, and if the queue has several requests.

    In aiohttp 3.14.5, `RequestHandler._messages` contains pairs of a request and a payload. The request is a
    `RawRequestMessage`, or an error without `method`. The public alternative is the `web.BaseRequest` that aiohttp's
    task passes to the request handler.
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
    """Remove the only request from the queue, as aiohttp's task does after a response.

    The connection must be open.

    In aiohttp 3.14.5, `RequestHandler.start` pops `_messages`, calls `_parser.message_consumed` and counts the request.
    Then `start` resumes reading from the socket. This function does not: aiohttp pauses reading only if the queue has
    16 requests. The public alternative is to let aiohttp's task answer the request.
    """
    handler._messages.popleft()  # noqa: SLF001 - as above
    handler._parser.message_consumed()  # type: ignore[union-attr]  # noqa: SLF001 - as above; None if connection lost
    server.requests_count += 1


def take_over_connection(
    response: aiohttp.ClientResponse,
) -> tuple[asyncio.Protocol, asyncio.Transport, bytes] | None:
    """Stop aiohttp from reading the body of a response, so that the caller can read it from the transport.

    In aiohttp 3.14.5, `ClientResponse.connection` has `protocol` and `transport`, and `protocol.pause_reading` pauses
    the transport, the parser and the read timeout. The public alternative is `ClientResponse.content.iter_any`.
    At the end, the caller calls `give_back_connection` or `ClientResponse.close`.

    Returns:
        aiohttp's protocol, the paused transport, and the bytes of the body received so far. None if aiohttp has already
        returned the connection to its pool. If the caller replaces the transport's protocol and the connection is lost,
        the caller must call `connection_lost` of aiohttp's protocol.
    """
    connection = response.connection
    if connection is None or connection.protocol is None or connection.transport is None:
        return None
    protocol, transport = connection.protocol, connection.transport
    received = b"".join(iter(response.content.read_nowait, b""))
    protocol.pause_reading()
    return protocol, transport, received


def give_back_connection(
    response: aiohttp.ClientResponse, protocol: asyncio.Protocol, transport: asyncio.Transport
) -> None:
    """Give a connection that `take_over_connection` returned back to aiohttp, which uses it for another request.

    The caller must have read the body to its end, and nothing beyond it. If either side has announced that it closes
    the connection after this response, aiohttp closes it.

    In aiohttp 3.14.5, `ClientResponse.content.feed_eof` resumes reading, stops the read timeout and releases the
    connection. The next request replaces the parser, which has not seen the end of the body. The public alternative is
    `ClientResponse.close`, which closes the connection.
    """
    transport.set_protocol(protocol)
    response.content.feed_eof()


def get_malformed_request_message(error: BaseException) -> str | None:
    """Return aiohttp's message about a malformed request; None if `error` is not about a malformed request.

    In aiohttp 3.14.5, `aiohttp.http_exceptions.HttpProcessingError` has the attribute `message`. The public alternative
    is to let aiohttp log the error, which it does with a traceback.
    """
    return str(getattr(error, "message", error)) if isinstance(error, get_malformed_request_errors()) else None


def get_malformed_request_errors() -> tuple[type[BaseException], ...]:
    """Return the types of aiohttp's errors about a malformed request or part of a form, as `except` takes them."""
    try:
        found = getattr(importlib.import_module("aiohttp.http_exceptions"), "HttpProcessingError", None)
    except ImportError:
        return ()
    return (found,) if isinstance(found, type) and issubclass(found, BaseException) else ()


def find_error_change() -> str | None:
    """Test `get_malformed_request_message`.

    Returns:
        A description of the change, or None if the function works.
    """
    return None if get_malformed_request_errors() else "aiohttp.http_exceptions.HttpProcessingError is missing"


async def find_queue_change(timeout_seconds: float = _SELF_TEST_TIMEOUT_SECONDS) -> str | None:
    """Test the functions for the request queue on a connection in memory.

    Returns:
        A description of the change, or None if all of them work.
    """
    return await _describe_failure(_check_queue(), timeout_seconds)


async def find_response_change(create_response: Callable[[bytes], web.StreamResponse]) -> str | None:
    """Test a custom class of responses: send two responses through aiohttp's task on a connection in memory.

    Args:
        create_response: returns a response with the given body.

    Returns:
        A description of the change, or None if both responses were sent.
    """
    return await _describe_failure(_check_response(create_response))


async def find_takeover_change() -> str | None:
    """Test `take_over_connection` on a connection in memory.

    Returns:
        A description of the change, or None if the function works.
    """
    return await _describe_failure(_check_takeover())


async def _describe_failure(check: Awaitable[None], timeout_seconds: float = _SELF_TEST_TIMEOUT_SECONDS) -> str | None:
    try:
        async with asyncio.timeout(timeout_seconds):
            await check
    except Exception as error:  # noqa: BLE001 - a changed library may raise any exception
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
        for _ in range(2):  # the connection works as if no request had been removed
            _expect(await paths.get() == "/b", "RequestHandler.start after a request was removed")


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
        protocol, transport, received = taken
        _expect(transport is connector.transport and not transport.is_reading(), "ResponseHandler.pause_reading")
        _expect(received == first, "StreamReader.read_nowait")
        receiver = _Receiver()
        transport.set_protocol(receiver)
        connector.transport.deliver(rest)
        _expect(receiver.received == rest, "Transport.set_protocol")
        give_back_connection(response, protocol, transport)
        _expect(response.connection is None and transport.is_reading(), "StreamReader.feed_eof")
        connector.transport.prepare_reply(head + first)
        async with session.get("http://self-test.invalid/") as again:
            taken = take_over_connection(again)
            _expect(taken is not None and taken[1:] == (transport, first), "ResponseHandler.set_response_params")
            again.close()
            _expect(transport.is_closing(), "ClientResponse.close")


class _ChangedError(Exception):
    """Error for a private name of aiohttp that does not behave as expected."""


def _expect(is_met: object, name: str) -> None:
    if not is_met:
        raise _ChangedError(f"{name} does not behave as in aiohttp 3.14.5")


def _encode_get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


@asynccontextmanager
async def _serve_in_memory(
    respond: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> AsyncIterator[tuple[web.Server, web.RequestHandler, _MemoryTransport]]:
    """Yield an aiohttp server, the handler of its only connection, and the transport of the connection.

    The connection is idle, and in memory only.
    """
    server = web.Server(respond, access_log=None, logger=_SILENT_LOGGER)
    handler = server()
    transport = _MemoryTransport(handler)
    handler.connection_made(transport)
    await asyncio.sleep(0)  # lets the connection's task start
    try:
        yield server, handler, transport
    finally:
        transport.abort()
        await asyncio.sleep(0)
        await server.shutdown(0)


class _MemoryTransport(asyncio.Transport):
    """Transport without a socket. It records written bytes, and delivers `reply` after the first write."""

    def __init__(self, protocol: asyncio.BaseProtocol, reply: bytes = b"") -> None:
        # With a TLS context, so that no code looks for a socket to write to.
        super().__init__({"peername": ("192.0.2.1", 1), "sslcontext": True})
        self.written = b""
        self._protocol = protocol
        self._reply = reply
        self._is_closing = False
        self._is_reading = True

    def deliver(self, data: bytes) -> None:
        """Pass received `data` to the protocol, as an event loop does."""
        if isinstance(self._protocol, asyncio.Protocol):
            self._protocol.data_received(data)

    def prepare_reply(self, reply: bytes) -> None:
        """Deliver `reply` after the next write."""
        self._reply = reply

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
    """Client connector whose connections are in memory. They answer every request with `reply`."""

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
    """Protocol that collects the received bytes."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
