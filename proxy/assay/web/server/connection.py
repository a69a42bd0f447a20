"""Connection of one client: its limits, and a fast path that answers from memory without a task.

The fast path works as follows. When aiohttp's parser has read the head of a request, this module calls
`Application.begin`. If the result is a response in memory, it is written in the next iteration of the event loop, and
the request is removed from aiohttp's queue. aiohttp's task is not woken, and the objects that aiohttp makes for a
handler are not needed.

If a response in memory must wait for its audit entry, the connection sends it when the entry is written. If meanwhile
another request arrives, the server stops or the entry cannot be written, aiohttp's task is woken, and sends it instead.

In all other cases aiohttp's task is woken. The task completes an unfinished exchange, or sends the rest of a response
that the client did not take at once.

A cached page of 100 files takes 43 µs of CPU time this way, and 62 µs in aiohttp's task. An aiohttp handler that only
sends the same bytes takes 43 µs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeAlias

from aiohttp import web

from assay import telemetry
from assay.aiohttp_private import discard_answered_request, peek_plain_get, receive_if_idle, wake_for_request
from assay.web.exchange import Peer, Pending, RequestHead
from assay.web.files import STALL_TIMEOUT_SECONDS
from assay.web.response import BufferedResponse
from assay.web.server.connection_limit import ConnectionSlot
from assay.web.server.response_batch import ResponseBatch

Begin: TypeAlias = Callable[[RequestHead, Peer], web.StreamResponse | Pending]
"""Type of `Application.begin`."""


class Connection(web.RequestHandler):
    """aiohttp's protocol for one connection, with additional timeouts and the fast path.

    Args:
        manager: server that owns the connection.
        slot: slot of the connection in the connection limit. The server releases it when the connection is lost.
        begin: `Application.begin`, which the connection calls when it has read the head of a request. None if aiohttp's
            task calls it instead.
        batch: batch of the responses of all connections.
        first_request_timeout_seconds: maximum seconds until the first request is complete. aiohttp's own keep-alive
            timeout begins only after the first request.
        stall_timeout_seconds: seconds in which the client must take a part of a response (see `web.files`).
        settings: further arguments of aiohttp's `RequestHandler`.
    """

    __slots__ = (
        "_batch",
        "_begin",
        "_begun",
        "_begun_context",
        "_context",
        "_first_request_timer",
        "_server",
        "open_transport",
        "peer",
        "slot",
        "stall_timeout_seconds",
    )

    def __init__(
        self,
        manager: web.Server,
        slot: ConnectionSlot,
        begin: Begin | None,
        batch: ResponseBatch,
        *,
        first_request_timeout_seconds: float,
        stall_timeout_seconds: float = STALL_TIMEOUT_SECONDS,
        **settings: Any,  # noqa: ANN401 - `web.Server` passes them on with this type
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(manager, loop=loop, **settings)
        self.slot = slot
        self.stall_timeout_seconds = stall_timeout_seconds
        self.open_transport: asyncio.Transport | None = None
        self._server = manager
        self._begin = begin
        self._batch = batch
        self._begun: web.StreamResponse | Pending | None = None
        self._begun_context = Context()
        self._context = Context()
        self.peer = Peer(None, is_tls=False)
        self._first_request_timer = loop.call_later(first_request_timeout_seconds, self._abort_silent)
        # Cancelled by the slot, because `connection_lost` is not called if the TLS handshake fails.
        slot.on_release(self._first_request_timer.cancel)

    def take_begun(self) -> web.StreamResponse | Pending | None:
        """Return the result of the fast path for the current request, or None if the fast path was not used.

        The result is a response or an unfinished exchange. aiohttp's task calls this after it took the request from the
        queue. From then on, log events of the current context carry the id and the view of the request.
        """
        self._first_request_timer.cancel()
        begun, self._begun = self._begun, None
        if begun is not None:
            telemetry.current_request.set(self._begun_context.get(telemetry.current_request, (None, None)))
        return begun

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Record the transport and the peer of the connection."""
        super().connection_made(transport)
        self._context = copy_context()
        # aiohttp sets `transport` to None when it closes the connection, although unsent bytes may remain.
        self.open_transport = self.transport
        name, is_tls = self.peername, transport.get_extra_info("sslcontext") is not None
        own = transport.get_extra_info("sockname")
        own_port = own[1] if isinstance(own, tuple) else None
        self.peer = Peer(str(name[0]) if isinstance(name, tuple) else name, is_tls, own_port)

    def data_received(self, data: bytes) -> None:
        """Parse bytes from the client. If a request is complete, schedule the fast path or wake aiohttp's task."""
        if self._begin is None or not receive_if_idle(self, data, self._answer_soon):
            super().data_received(data)

    def _answer_soon(self, waiter: asyncio.Future[None]) -> None:
        """Schedule the answer. Before it runs, the event loop reads the requests that have already arrived."""
        # A copy of the connection's context is used, because the current context may be that of an earlier request:
        # after a file is sent, asyncio resumes reading in the task that sent it.
        asyncio.get_running_loop().call_soon(self._answer_or_wake, waiter, context=self._context.copy())

    def connection_lost(self, exc: BaseException | None) -> None:
        """Inform the server, which releases the slot, and finish an exchange that no task will complete."""
        self.open_transport = None
        super().connection_lost(exc)
        begun, self._begun = self._begun, None
        if isinstance(begun, Pending):
            begun.exchange.finish(error=exc or ConnectionResetError("the client disconnected"))

    def close(self) -> None:
        """Close the connection. A request that has already arrived is answered before."""
        if self._begin is not None:
            wake_for_request(self)
        super().close()

    def _answer_or_wake(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done() and not self._answer(waiter):
            waiter.set_result(None)

    def _answer(self, waiter: asyncio.Future[None]) -> bool:
        """Begin to answer the only request in aiohttp's queue; return True if the task need not be woken now.

        The response is then sent soon, or waits for its audit entry. If the result is False, aiohttp's task answers the
        request. If an exchange or a response has been begun, the task completes it.
        """
        begin, message, transport = self._begin, peek_plain_get(self), self.transport
        if begin is None or message is None or transport is None:
            return False
        if transport.is_closing() or transport.get_write_buffer_size():
            return False
        try:
            begun = begin(message, self.peer)
        except BaseException:
            transport.abort()
            raise
        # The context, which has the id and the view of the request, is for the task.
        self._begun, self._begun_context = begun, copy_context()
        if isinstance(begun, BufferedResponse):
            self._batch.add(partial(self._send, begun, waiter))
            return True
        recorded = begun.recorded if isinstance(begun, Pending) else None
        if recorded is None or not isinstance(recorded.response, BufferedResponse):
            return False
        recorded.entry.add_done_callback(partial(self._answer_recorded, begun, waiter))
        return True

    def _answer_recorded(self, begun: web.StreamResponse | Pending, waiter: asyncio.Future[None]) -> None:
        """Send a response whose audit entry is written, unless aiohttp's task has been woken meanwhile."""
        if waiter.done() or self._begun is not begun or not isinstance(begun, Pending) or begun.recorded is None:
            return
        response, transport = begun.recorded.response, self.transport
        if (
            begun.recorded.entry.error is not None
            or not isinstance(response, BufferedResponse)
            or transport is None
            or transport.is_closing()
        ):
            waiter.set_result(None)
            return
        begun.exchange.finish(response)
        self._begun = response
        # Not in the batch: the entries of several requests are written together, so their responses follow each other.
        self._send(response, waiter)

    def _send(self, response: BufferedResponse, waiter: asyncio.Future[None]) -> None:
        """Send a response to the only request in aiohttp's queue, and remove the request from the queue.

        Wake the task if the client does not take all of it now, or the connection is closing. Do nothing if the task
        was woken meanwhile: it sends the response.
        """
        if waiter.done() or self._begun is not response:
            return
        transport = self.transport
        if transport is None or transport.is_closing():
            waiter.set_result(None)
            return
        try:
            response.start_sending(transport)
        except BaseException:
            transport.abort()  # part of the response may have been sent, so no other response may follow
            raise
        if transport.get_write_buffer_size():
            waiter.set_result(None)
            return
        self._begun = None
        self._first_request_timer.cancel()
        discard_answered_request(self, self._server)

    def _abort_silent(self) -> None:
        if self.transport is not None:
            telemetry.event("connection-without-request", client=self.transport.get_extra_info("peername"))
            self.transport.abort()
