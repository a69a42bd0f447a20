"""aiohttp's low-level server around `web.app` behind the `Listener`, and a shutdown that finishes what runs.

Owns the limits on what a client may send and how long he may take, and the order of going down: readiness first, then
the listening socket, then the requests in flight within the grace period.
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
    RequestHead,
    finish_request_span,
    start_request_span,
)
from assay.web.files import STALL_TIMEOUT_SECONDS, AbortedError, send_paced
from assay.web.health import Readiness
from assay.web.origin import is_trusted_proxy
from assay.web.response import BufferedResponse, to_plain
from assay.web.routes import LivenessProbe, ReadinessProbe, match_route
from assay.web.server.connection import Connection
from assay.web.server.connection_limit import ConnectionLimit, ConnectionSlot, cap_connections, raise_descriptor_limit
from assay.web.server.listener import ACCEPT_PAUSE_SECONDS, Listener
from assay.web.server.tls import ServerCertificate

_MAX_LOGGED_ERROR_CHARS = 200
"""Characters of what aiohttp says of a request that is none."""
DRAIN_SECONDS = 1.0
"""Seconds during which a server that is to stop says so on ``/readyz`` and still accepts: load balancers ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTimeouts:
    """Seconds that the server waits."""

    keepalive: float = 30.0
    """For the next request on a connection; aiohttp's own default is an hour."""
    shutdown_grace: float = 20.0
    """For requests in flight: within Kubernetes' default of 30."""
    first_request: float = 10.0
    """For the first whole request of a new connection: aiohttp's own timeout begins after one."""
    probe_request: float = 2.0
    """The same on a connection for probes alone, where one comes at once."""
    closing: float = 30.0
    """For a client to take what was written before its connection was closed."""
    reap_interval: float = 5.0
    """Between two looks for connections that are closed and do not end."""
    stall: float = STALL_TIMEOUT_SECONDS
    """For a client to take a piece of a response."""
    accept_pause: float = ACCEPT_PAUSE_SECONDS
    """Without accepting, after the system could give no descriptor."""


class _ClientFaultFilter(logging.Filter):
    """What aiohttp would log with a traceback: what `send` has cut and logged, and requests that are none."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return True
        if isinstance(error, AbortedError):
            return False
        message = aiohttp_private.get_malformed_request_message(error)
        if message is None:
            return True
        # Anybody can send such, over and over: a line each, as for any request.
        client = record.args[0] if isinstance(record.args, tuple) and record.args else None
        telemetry.event("request-malformed", client=client, error=escape_controls(message, _MAX_LOGGED_ERROR_CHARS))
        return False


class _HttpServer(web.Server):
    """aiohttp's server, which ends connections that never end by themselves, and counts those that are open.

    Args:
        app: answers requests.
        settings: which peers are trusted.
        logger: aiohttp's.
        limit: counts the connections.
        begins_early: whether a connection begins a request when its head was read, else aiohttp's task begins it.
        sends_buffered: whether aiohttp's task can send a `BufferedResponse`.
        timeouts: how long clients are waited for.
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
        }
        super().__init__(self._respond, handler_cancellation=True)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request in aiohttp's task, and send the response as far as aiohttp would wait without a limit."""
        connection = request.protocol
        if not isinstance(connection, Connection):
            raise TypeError(f"a request came on {type(connection).__name__}")
        begun, head = connection.take_begun(), RequestHead(request.method, request.raw_path, request.headers)
        if connection.slot.is_probe_only:
            if not isinstance(match_route(head.target), LivenessProbe | ReadinessProbe):
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
        """Return the protocol of a new connection."""
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
        """The end of a connection."""
        super().connection_lost(handler, exc)
        if isinstance(handler, Connection):
            handler.slot.release()
            metrics.CONNECTIONS.set(self._limit.open_connections)

    async def reap_closing(self) -> None:
        """End, for ever, what was closed and is not taken: closing waits for the client to read the rest."""
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
                    telemetry.event("connection-not-ending", client=transport.get_extra_info("peername"))
                    transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcuts:
    """Ways past aiohttp's public interface that work with the installed version."""

    takes_requests: bool
    """Requests can be answered without aiohttp's task."""
    sends_buffered: bool
    """aiohttp's task sends a `BufferedResponse`."""


async def find_shortcuts() -> Shortcuts:
    """Try each shortcut on connections in memory, and log a warning for each that fails (0.5 ms)."""
    queue = await aiohttp_private.find_queue_change()
    response = await aiohttp_private.find_response_change(lambda body: BufferedResponse(headers={}, body=body))
    if queue is not None:
        aiohttp_private.report_change(queue, "each request is answered in a task")
    if response is not None:
        aiohttp_private.report_change(response, "each request is answered in a task, by aiohttp's own response")
    if (error := aiohttp_private.find_error_change()) is not None:
        aiohttp_private.report_change(error, "malformed requests are logged with a traceback")
    return Shortcuts(takes_requests=queue is None and response is None, sends_buffered=response is None)


def _refuse_busy(head: RequestHead, peer: Peer, settings: ServerSettings) -> web.StreamResponse:
    """Return the response to anything but a probe on a connection beyond the limit."""
    response = web.Response(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        reason="too many connections, ask again",
        text="This proxy has as many connections as it may have (server.max-connections). Ask again.\n",
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
    """Serve until the context is left; gives the address that is listened on.

    Args:
        app: answers.
        readiness: is told first that the end is near.
        settings: where.
        drain_seconds: seconds between that and the closing of the door.
        timeouts: other ones than the usual.

    Raises:
        ConfigurationError: the address cannot be listened on, or the certificate cannot be used.
    """
    timeouts = timeouts or ServerTimeouts()
    logger = logging.getLogger("assay.http")
    logger.addFilter(_ClientFaultFilter())
    room = ConnectionLimit(
        _limit_connections(settings.max_connections), lambda address: is_trusted_proxy(address, settings)
    )
    shortcuts = await find_shortcuts()
    server = _HttpServer(
        app,
        settings,
        logger,
        room,
        begins_early=shortcuts.takes_requests,
        sends_buffered=shortcuts.sends_buffered,
        timeouts=timeouts,
    )
    certificate = None if settings.tls is None else ServerCertificate(settings.tls)
    async with reload_on_change(None if certificate is None else certificate.watch):
        context = None if certificate is None else certificate.context
        door = Listener(
            room,
            server.make_protocol,
            ssl_context=context,
            handshake_timeout_seconds=timeouts.first_request,
            accept_pause_seconds=timeouts.accept_pause,
        )
        address = await door.open(settings.host, settings.port)
        seeing_off = asyncio.create_task(server.reap_closing(), name="see connections off")
        try:
            yield address
        finally:
            readiness.is_stopping = True
            await asyncio.sleep(drain_seconds)
            door.close()
            server.pre_shutdown()
            # aiohttp waits that long twice: for the handler to answer, then for it to notice that it is cancelled.
            await server.shutdown(timeouts.shutdown_grace / 2)
            await cancel_and_wait([seeing_off])


def _limit_connections(requested: int) -> int:
    limit = raise_descriptor_limit()
    seats = cap_connections(requested, limit)
    if seats < requested:
        telemetry.warning("too-few-descriptors", limit=limit, max_connections=requested, used=seats)
    return seats
