"""HTTP server: aiohttp's low-level server for the application, behind a `Listener`, with a graceful shutdown.

This module defines the timeouts for clients and the order of a shutdown. First ``/readyz`` fails. Then the listening
sockets close. Then the running requests have the grace period to finish.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web

from assay import aiohttp_private, telemetry
from assay.caching.background import cancel_and_wait
from assay.config import ServerSettings
from assay.file_watch import reload_on_change
from assay.policy.reasons import escape_controls
from assay.telemetry import metrics
from assay.web.errors import RETRY_AFTER_SECONDS
from assay.web.exchange import (
    Application,
    Peer,
    Pending,
    ReceivedHead,
    RequestHead,
    finish_request_span,
    start_request_span,
    to_origin_form,
)
from assay.web.files import STALL_TIMEOUT_SECONDS, AbortedError, send_paced
from assay.web.health import Readiness
from assay.web.origin import is_trusted_proxy
from assay.web.response import BufferedResponse, to_plain
from assay.web.routing.routes import LivenessProbe, ReadinessProbe
from assay.web.routing.targets import match_route
from assay.web.server.connection import Connection
from assay.web.server.connection_limit import ConnectionLimit, ConnectionSlot, cap_connections, raise_descriptor_limit
from assay.web.server.listener import ACCEPT_PAUSE_SECONDS, Listener
from assay.web.server.tls import ServerCertificate

_MAX_LOGGED_ERROR_CHARS = 200
"""Maximum number of characters that are logged of aiohttp's message about a malformed request."""
DRAIN_SECONDS = 1.0
"""Seconds at the start of a shutdown in which ``/readyz`` fails but connections are still accepted. Load balancers
notice the failure in this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTimeouts:
    """Timeouts and intervals of the server, in seconds."""

    keepalive: float = 30.0
    """Time after which an idle connection is closed. aiohttp's own default is one hour."""
    shutdown_grace: float = 20.0
    """Time for running requests to finish during a shutdown. Kubernetes allows 30 seconds by default."""
    first_request: float = 10.0
    """Time for the first complete request of a new connection. aiohttp's own timeout begins only after the first
    request."""
    probe_request: float = 2.0
    """Time for the request on a connection in a probe slot. It is short, because a probe sends its request at once."""
    closing: float = 30.0
    """Time for a client to read the remaining bytes after its connection was closed. Then the connection is aborted."""
    reap_interval: float = 5.0
    """Interval between searches for closed connections whose `closing` time is over."""
    stall: float = STALL_TIMEOUT_SECONDS
    """Time for a client to take a part of a response. Then the connection is aborted."""
    accept_pause: float = ACCEPT_PAUSE_SECONDS
    """Pause in accepting connections if the system has no file descriptor or memory left for a connection."""


class _ClientFaultFilter(logging.Filter):
    """Log filter that removes tracebacks about faults of clients from aiohttp's log.

    It drops records about connections that Assay aborted, because `web.files` has logged them. It logs a malformed
    request as one event without a traceback.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return True
        if isinstance(error, AbortedError):
            return False
        message = aiohttp_private.get_malformed_request_message(error)
        if message is None:
            return True
        # Any client can send malformed requests at any rate, so each is logged as one line, like every other request.
        client = record.args[0] if isinstance(record.args, tuple) and record.args else None
        telemetry.event("request-malformed", client=client, error=escape_controls(message, _MAX_LOGGED_ERROR_CHARS))
        return False


class _HttpServer(web.Server):
    """aiohttp's server with three additions: a connection limit, the fast path, and a timeout for closing connections.

    Args:
        app: application that answers the requests.
        settings: server settings, which contain the trusted proxies.
        logger: logger for aiohttp.
        limit: limit that counts the connections.
        begins_early: True if connections may use the fast path, False if aiohttp's task begins each request.
        sends_buffered: True if aiohttp's task can send a `BufferedResponse`.
        timeouts: timeouts for clients.
    """

    def __init__(
        self,
        app: Application,
        settings: ServerSettings,
        logger: logging.Logger,
        limit: ConnectionLimit,
        *,
        begins_early: bool = True,
        sends_buffered: bool = True,
        timeouts: ServerTimeouts | None = None,
    ) -> None:
        self._timeouts = timeouts or ServerTimeouts()
        self._closing_since: dict[asyncio.Transport, float] = {}
        self._app = app
        self._settings = settings
        self._limit = limit
        self._begin = app.begin if begins_early else None
        self._sends_buffered = sends_buffered
        self._protocol_options: dict[str, Any] = {
            "keepalive_timeout": self._timeouts.keepalive,
            "access_log": None,
            "logger": logger,
            "lingering_time": 0,
            "auto_decompress": False,
        }
        super().__init__(self._respond, handler_cancellation=True)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request in aiohttp's task, and return the response.

        If sending may have to wait for a slow client, this method sends the response, under a timeout. Otherwise
        aiohttp sends the response after this method has returned it.
        """
        connection = request.protocol
        if not isinstance(connection, Connection):
            raise TypeError(f"expected a Connection, found {type(connection).__name__}")
        begun = connection.take_begun()
        head = to_origin_form(ReceivedHead(request.method, request.raw_path, request.headers))
        if connection.slot.is_probe_only:
            if not isinstance(match_route(head.path), LivenessProbe | ReadinessProbe):
                return _refuse_busy(head, connection.peer, self._settings)
            response = await self._complete(self._app.begin(head, connection.peer), request)
            response.force_close()
            return response
        if begun is None:
            begun = self._app.begin(head, connection.peer)
        response = await self._complete(begun, request)
        return await send_paced(request, response if self._sends_buffered else to_plain(response))

    async def _complete(self, begun: web.StreamResponse | Pending, request: web.BaseRequest) -> web.StreamResponse:
        return await self._app.complete(begun, request) if isinstance(begun, Pending) else begun

    def make_protocol(self, slot: ConnectionSlot) -> Connection:
        """Return the protocol for a new connection in `slot`.

        In a probe slot, the protocol has a shorter timeout and no fast path.
        """
        begin, seconds = self._begin, self._timeouts.first_request
        if slot.is_probe_only:
            begin, seconds = None, self._timeouts.probe_request
        return Connection(
            self,
            slot,
            begin,
            first_request_timeout_seconds=seconds,
            stall_timeout_seconds=self._timeouts.stall,
            **self._protocol_options,
        )

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Release the slot of a connection that has ended."""
        super().connection_lost(handler, exc)
        if isinstance(handler, Connection):
            handler.slot.release()
            metrics.CONNECTIONS.set(self._limit.open_connections)

    async def reap_closing(self) -> None:
        """Abort closed connections whose client does not read the remaining bytes. Run until cancelled.

        A closed transport ends only after all its buffered bytes are sent. A client that does not read could keep it
        open.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._timeouts.reap_interval)
            now = loop.time()
            connections = [each for each in self.connections if isinstance(each, Connection)]
            transports = [each.open_transport for each in connections if each.open_transport is not None]
            closing = [transport for transport in transports if transport.is_closing()]
            self._closing_since = {transport: self._closing_since.get(transport, now) for transport in closing}
            for transport, since in self._closing_since.items():
                if now - since >= self._timeouts.closing:
                    telemetry.event("connection-close-timeout", client=transport.get_extra_info("peername"))
                    transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcuts:
    """Optimizations that use private names of aiohttp.

    A flag is True if the optimization works with the installed version of aiohttp.
    """

    takes_requests: bool
    """True if the fast path works, which answers requests without aiohttp's task."""
    sends_buffered: bool
    """True if aiohttp's task can send a `BufferedResponse`."""


async def find_shortcuts() -> Shortcuts:
    """Test each optimization on connections in memory, and log a warning for each that fails. This lasts 0.5 ms."""
    queue = await aiohttp_private.find_queue_change()
    response = await aiohttp_private.find_response_change(lambda body: BufferedResponse(headers={}, body=body))
    if queue is not None:
        aiohttp_private.report_change(queue, "aiohttp's task answers each request, which is slower")
    if response is not None:
        aiohttp_private.report_change(
            response, "aiohttp's task sends each response with aiohttp's own class, which is slower"
        )
    if (error := aiohttp_private.find_error_change()) is not None:
        aiohttp_private.report_change(error, "aiohttp logs each malformed request with a traceback")
    return Shortcuts(takes_requests=queue is None and response is None, sends_buffered=response is None)


def _refuse_busy(head: RequestHead, peer: Peer, settings: ServerSettings) -> web.StreamResponse:
    """Return the 503 response to a request that came on a connection in a probe slot but is no probe."""
    response = web.Response(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        reason="too many connections, try again later",
        text="The proxy has reached its limit on connections (server.max-connections). Try again later.\n",
        headers={"Retry-After": RETRY_AFTER_SECONDS, "Cache-Control": "no-store"},
    )
    response.force_close()
    finish_request_span(start_request_span(head, peer, settings), response.status)
    return response


@asynccontextmanager
async def run_server(
    app: Application,
    readiness: Readiness,
    settings: ServerSettings,
    *,
    drain_seconds: float = 0.0,
    timeouts: ServerTimeouts | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """Run the server while the context is open; yield its address and port. Then shut the server down gracefully.

    Args:
        app: application that answers the requests.
        readiness: readiness checks. They fail as soon as the shutdown begins.
        settings: address, limits and TLS settings.
        drain_seconds: seconds between the failure of the readiness checks and the closing of the listening sockets.
        timeouts: timeouts for clients; None for the defaults.

    Raises:
        ConfigurationError: the server cannot listen on the address, or the certificate cannot be used.
    """
    timeouts = timeouts or ServerTimeouts()
    logger = logging.getLogger("assay.http")
    logger.addFilter(_ClientFaultFilter())
    connection_limit = ConnectionLimit(
        _limit_connections(settings.max_connections), lambda address: is_trusted_proxy(address, settings)
    )
    shortcuts = await find_shortcuts()
    server = _HttpServer(
        app,
        settings,
        logger,
        connection_limit,
        begins_early=shortcuts.takes_requests,
        sends_buffered=shortcuts.sends_buffered,
        timeouts=timeouts,
    )
    certificate = None if settings.tls is None else ServerCertificate(settings.tls)
    async with reload_on_change(None if certificate is None else certificate.watch):
        context = None if certificate is None else certificate.context
        listener = Listener(
            connection_limit,
            server.make_protocol,
            ssl_context=context,
            handshake_timeout_seconds=timeouts.first_request,
            accept_pause_seconds=timeouts.accept_pause,
        )
        address = await listener.open(settings.host, settings.port)
        reaper = asyncio.create_task(server.reap_closing(), name="reap closing connections")
        try:
            yield address
        finally:
            readiness.is_stopping = True
            await asyncio.sleep(drain_seconds)
            listener.close()
            server.pre_shutdown()
            # Halved, because aiohttp waits twice: for its handler to finish, then for the cancelled handler to end.
            await server.shutdown(timeouts.shutdown_grace / 2)
            await cancel_and_wait([reaper])


def _limit_connections(requested: int) -> int:
    limit = raise_descriptor_limit()
    capped = cap_connections(requested, limit)
    if capped < requested:
        telemetry.warning("descriptor-limit-low", limit=limit, max_connections=requested, used=capped)
    return capped
