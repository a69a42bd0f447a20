"""The listening socket: aiohttp's low-level server around `Handler`, and a shutdown that finishes what runs.

Owns the limits on what a client may send and the order of going down: readiness first, then the listening socket, then
the requests in flight within the grace period.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from proxy import telemetry
from proxy.config import ServerSettings
from proxy.errors import ConfigurationError
from proxy.web.files import obeying
from proxy.web.handler import Handler
from proxy.web.health import Readiness
from proxy.web.send import AbortedError
from proxy.web.tls import Certificate

_KEEPALIVE = 30.0
"""Seconds; aiohttp's own default is an hour."""
_GRACE = 20.0
"""Seconds for the requests in flight: inside Kubernetes' default of 30."""
_BACKLOG = 1024
_FIRST_REQUEST = 10.0
"""Seconds that a new connection has for its first whole request: aiohttp's own time-out begins after one."""
DRAIN = 1.0
"""Seconds during which a server that is to stop says so on ``/readyz`` and still accepts: load balancers ask."""


class _AbortedOnPurpose(logging.Filter):
    """`send` has logged what it cut; aiohttp would add a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, AbortedError)


class _Punctual(web.Server):
    """Cuts connections that bring no whole request in their first seconds: each would cost a socket for good."""

    def __init__(self, handler: Handler, logger: logging.Logger) -> None:
        self._silent: set[object] = set()

        async def heard(request: web.BaseRequest) -> web.StreamResponse:
            self._silent.discard(request.protocol)
            return await handler(request)

        super().__init__(
            heard,
            handler_cancellation=True,
            keepalive_timeout=_KEEPALIVE,
            access_log=None,
            logger=logger,
            lingering_time=0,
        )

    def __call__(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        protocol = super().__call__()
        self._silent.add(protocol)
        asyncio.get_running_loop().call_later(_FIRST_REQUEST, self._look, protocol)
        return protocol

    def _look(self, protocol: web.RequestHandler) -> None:
        if protocol not in self._silent:
            return
        self._silent.discard(protocol)
        if protocol.transport is not None:
            telemetry.event("connection-without-request", client=protocol.transport.get_extra_info("peername"))
            protocol.transport.abort()


@asynccontextmanager
async def listening(
    handler: Handler, readiness: Readiness, settings: ServerSettings, *, drain: float = 0.0
) -> AsyncIterator[tuple[str, int]]:
    """Serve until the context is left; gives the address that is listened on.

    Args:
        handler: answers.
        readiness: is told first that the end is near.
        settings: where.
        drain: seconds between that and the closing of the door.

    Raises:
        ConfigurationError: the address cannot be listened on, or the certificate cannot be used.
    """
    logger = logging.getLogger("assay.http")
    logger.addFilter(_AbortedOnPurpose())
    server = _Punctual(handler, logger)
    loop = asyncio.get_running_loop()
    certificate = None if settings.tls is None else Certificate(settings.tls)
    async with obeying(None if certificate is None else certificate.watch):
        try:
            listener = await loop.create_server(
                server,
                settings.host,
                settings.port,
                backlog=_BACKLOG,
                ssl=None if certificate is None else certificate.context,
                ssl_handshake_timeout=None if certificate is None else _FIRST_REQUEST,
            )
        except OSError as error:
            raise ConfigurationError(
                f"server.host, server.port: cannot listen on {settings.host}:{settings.port}: {error.strerror or error}"
            ) from error
        try:
            yield _address(listener.sockets[0])
        finally:
            readiness.stopping = True
            await asyncio.sleep(drain)
            listener.close()
            server.pre_shutdown()
            # aiohttp waits that long twice: for the handler to answer, then for it to notice that it is cancelled.
            await server.shutdown(_GRACE / 2)


def _address(bound: socket.socket) -> tuple[str, int]:
    host, port = bound.getsockname()[:2]
    return str(host), int(port)
