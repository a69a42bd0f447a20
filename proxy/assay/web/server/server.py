"""HTTP server: aiohttp's low-level server for the application, behind a `Listener`, with a graceful shutdown.

This module defines the order of a shutdown. First ``/readyz`` fails. Then the listening
sockets close. Then the running requests have the grace period to finish.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from assay import aiohttp_private, telemetry
from assay.config import ServerSettings
from assay.file_watch import reload_on_change
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
from assay.web.files import send_paced
from assay.web.health import Readiness
from assay.web.origin import is_trusted_proxy
from assay.web.response import BufferedResponse, to_plain
from assay.web.routing.routes import LivenessProbe, ReadinessProbe
from assay.web.routing.targets import match_route
from assay.web.server.connection import Connection
from assay.web.server.connection_limit import ConnectionLimit, cap_connections, raise_descriptor_limit
from assay.web.server.connection_server import ConnectionServer, ServerTimeouts, accept_connections, get_http_logger
from assay.web.server.listener import Listener
from assay.web.server.tls import ServerCertificate

DRAIN_SECONDS = 1.0
"""Seconds at the start of a shutdown in which ``/readyz`` fails but connections are still accepted. Load balancers
notice the failure in this time."""


class _HttpServer(ConnectionServer):
    """Server for the application.

    Args:
        app: application that answers the requests.
        settings: server settings, which contain the trusted proxies.
        logger: logger for aiohttp.
        begins_early: True if connections may use the fast path, False if aiohttp's task begins each request.
        sends_buffered: True if aiohttp's task can send a `BufferedResponse`.
        timeouts: timeouts for clients.
    """

    def __init__(
        self,
        app: Application,
        settings: ServerSettings,
        logger: logging.Logger,
        *,
        begins_early: bool = True,
        sends_buffered: bool = True,
        timeouts: ServerTimeouts | None = None,
    ) -> None:
        self._app = app
        self._settings = settings
        self._sends_buffered = sends_buffered
        super().__init__(self._respond, logger, begin=app.begin if begins_early else None, timeouts=timeouts)

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
    connection_limit = ConnectionLimit(
        _limit_connections(settings.max_connections),
        lambda address: is_trusted_proxy(address, settings),
        metrics.CONNECTIONS.set,
    )
    shortcuts = await find_shortcuts()
    server = _HttpServer(
        app,
        settings,
        get_http_logger(),
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
        async with accept_connections(server, listener, settings.host, settings.port) as address:
            try:
                yield address
            finally:
                readiness.is_stopping = True
                await asyncio.sleep(drain_seconds)


def _limit_connections(requested: int) -> int:
    limit = raise_descriptor_limit()
    capped = cap_connections(requested, limit)
    if capped < requested:
        telemetry.warning("descriptor-limit-low", limit=limit, max_connections=requested, used=capped)
    return capped
