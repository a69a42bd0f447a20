"""aiohttp's low-level server around `Handler` behind the `Door`, and a shutdown that finishes what runs.

Owns the limits on what a client may send and how long he may take, and the order of going down: readiness first, then
the listening socket, then the requests in flight within the grace period.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from assay import telemetry
from assay.config import ServerSettings
from assay.file_watch import obeying
from assay.policy.reasons import printable
from assay.telemetry import metrics
from assay.web.app import Handler
from assay.web.errors import RETRY_AFTER
from assay.web.files import AbortedError, paced
from assay.web.health import Readiness
from assay.web.origin import is_trusted
from assay.web.routes import Alive, Ready, route_of
from assay.web.server.connection import AtOnce, Connection
from assay.web.server.connection_limit import Room, Seat, raised_descriptors, seats_within
from assay.web.server.listener import Door
from assay.web.server.tls import Certificate
from assay.web.spans import Answer, traced

_KEEPALIVE = 30.0
"""Seconds; aiohttp's own default is an hour."""
_GRACE = 20.0
"""Seconds for the requests in flight: inside Kubernetes' default of 30."""
_FIRST_REQUEST = 10.0
"""Seconds that a new connection has for its first whole request: aiohttp's own time-out begins after one."""
_RESERVED_REQUEST = 2.0
"""The same in the reserve, where a probe asks at once."""
_LEAVING = 30.0
"""Seconds that a client has to take what was written to him before his connection was closed."""
_LOOK = 5.0
"""Seconds between two looks for connections that are closed and do not end."""
_LONGEST = 200
"""Characters of what aiohttp says of a request that is none."""
DRAIN = 1.0
"""Seconds during which a server that is to stop says so on ``/readyz`` and still accepts: load balancers ask."""


class _NoFaultOfOurs(logging.Filter):
    """What aiohttp would log with a traceback: what `send` has cut and logged, and requests that are none."""

    def filter(self, record: logging.LogRecord) -> bool:
        match record.exc_info[1] if record.exc_info else None:
            case AbortedError():
                return False
            case HttpProcessingError() as error:
                # Anybody can send such, over and over: a line each, as for any request.
                client = record.args[0] if isinstance(record.args, tuple) and record.args else None
                telemetry.event("request-malformed", client=client, error=printable(error.message, _LONGEST))
                return False
            case _:
                return True


class _Punctual(web.Server):
    """Cuts connections that never end, and counts those there are: each costs a socket."""

    def __init__(
        self, answer: Answer, at_once: AtOnce | None, logger: logging.Logger, room: Room, settings: ServerSettings
    ) -> None:
        self._leaving: dict[asyncio.Transport, float] = {}
        self._room = room
        self._at_once = at_once

        async def heard(request: web.BaseRequest) -> web.StreamResponse:
            connection = request.protocol
            if not isinstance(connection, Connection):
                raise TypeError(f"a request came on {type(connection).__name__}")
            if (begun := connection.heard()) is not None:
                return await paced(request, begun)
            if connection.seat.reserved:
                return await _reserved(answer, request)
            return await paced(request, await answer(request))

        self._settings: dict[str, Any] = {
            "keepalive_timeout": _KEEPALIVE,
            "access_log": None,
            "logger": logger,
            "lingering_time": 0,
        }
        super().__init__(traced(heard, settings), handler_cancellation=True)

    def protocol(self, seat: Seat) -> Connection:
        """The protocol of a new connection."""
        if seat.reserved:
            return Connection(self, seat, None, patience=_RESERVED_REQUEST, **self._settings)
        return Connection(self, seat, self._at_once, patience=_FIRST_REQUEST, **self._settings)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """The end of a connection."""
        super().connection_lost(handler, exc)
        if isinstance(handler, Connection):
            handler.seat.leave()
            metrics.CONNECTIONS.set(self._room.taken)

    async def see_off(self) -> None:
        """End, for ever, what was closed and is not taken: closing waits for the client to read the rest."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK)
            now = loop.time()
            closing = [transport for transport in self._connections.values() if transport.is_closing()]
            self._leaving = {transport: self._leaving.get(transport, now) for transport in closing}
            for transport, since in self._leaving.items():
                if now - since >= _LEAVING:
                    telemetry.event("connection-not-ending", client=transport.get_extra_info("peername"))
                    transport.abort()


async def _reserved(answer: Answer, request: web.BaseRequest) -> web.StreamResponse:
    """The one answer that there is in the reserve."""
    if isinstance(route_of(request.raw_path), Alive | Ready):
        response = await answer(request)
    else:
        response = web.Response(
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            reason="too many connections, ask again",
            text="This proxy has as many connections as it may have (server.max-connections). Ask again.\n",
            headers={"Retry-After": RETRY_AFTER, "Cache-Control": "no-store"},
        )
    response.force_close()
    return response


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
    logger.addFilter(_NoFaultOfOurs())
    room = Room(_seats(settings.max_connections), lambda address: is_trusted(address, settings))
    server = _Punctual(handler, handler.at_once, logger, room, settings)
    certificate = None if settings.tls is None else Certificate(settings.tls)
    async with obeying(None if certificate is None else certificate.watch):
        context = None if certificate is None else certificate.context
        door = Door(room, server.protocol, context=context, handshake=_FIRST_REQUEST)
        address = await door.open(settings.host, settings.port)
        seeing_off = asyncio.create_task(server.see_off(), name="see connections off")
        try:
            yield address
        finally:
            readiness.stopping = True
            await asyncio.sleep(drain)
            door.close()
            server.pre_shutdown()
            # aiohttp waits that long twice: for the handler to answer, then for it to notice that it is cancelled.
            await server.shutdown(_GRACE / 2)
            seeing_off.cancel()
            await asyncio.gather(seeing_off, return_exceptions=True)


def _seats(wanted: int) -> int:
    limit = raised_descriptors()
    seats = seats_within(wanted, limit)
    if seats < wanted:
        telemetry.warning("too-few-descriptors", limit=limit, max_connections=wanted, used=seats)
    return seats
