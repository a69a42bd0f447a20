"""HTTP server of aiohttp with a connection limit and timeouts for clients; the base of all servers of Assay.

This module defines the timeouts for clients, and the order in which a server opens and closes its sockets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiohttp import web

from assay import aiohttp_private, telemetry
from assay.caching.background import cancel_and_wait
from assay.policy.reasons import escape_controls
from assay.web.files import STALL_TIMEOUT_SECONDS, AbortedError
from assay.web.server.connection import Begin, Connection
from assay.web.server.connection_limit import ConnectionSlot
from assay.web.server.listener import ACCEPT_PAUSE_SECONDS, Listener
from assay.web.server.response_batch import ResponseBatch

_MAX_LOGGED_ERROR_CHARS = 200
"""Maximum number of characters that are logged of aiohttp's message about a malformed request."""
Respond: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Type of the function that answers a request in aiohttp's task."""


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


_CLIENT_FAULT_FILTER = _ClientFaultFilter()


def get_http_logger() -> logging.Logger:
    """Return the logger for aiohttp, without tracebacks about faults of clients."""
    logger = logging.getLogger("assay.http")
    logger.addFilter(_CLIENT_FAULT_FILTER)
    return logger


class ConnectionServer(web.Server):
    """aiohttp's server with `Connection` as its protocol, and a timeout for closing connections.

    Args:
        respond: answers a request in aiohttp's task.
        logger: logger for aiohttp.
        begin: `Application.begin`, for the fast path of the connections; None: there is no fast path.
        timeouts: timeouts for clients; None: the defaults.
        options: further arguments of aiohttp's `RequestHandler`.
    """

    def __init__(
        self,
        respond: Respond,
        logger: logging.Logger,
        *,
        begin: Begin | None = None,
        timeouts: ServerTimeouts | None = None,
        **options: Any,  # noqa: ANN401 - aiohttp's `RequestHandler` has them with several types
    ) -> None:
        self._timeouts = timeouts or ServerTimeouts()
        self._closing_since: dict[asyncio.Transport, float] = {}
        self._begin = begin
        self._batch = ResponseBatch()
        self._protocol_options: dict[str, Any] = {
            "keepalive_timeout": self._timeouts.keepalive,
            "access_log": None,
            "logger": logger,
            "lingering_time": 0,
            "auto_decompress": False,
            **options,
        }
        super().__init__(respond, handler_cancellation=True)

    @property
    def timeouts(self) -> ServerTimeouts:
        """Timeouts for clients."""
        return self._timeouts

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
            self._batch,
            first_request_timeout_seconds=seconds,
            stall_timeout_seconds=self._timeouts.stall,
            **self._protocol_options,
        )

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Release the slot of a connection that has ended."""
        super().connection_lost(handler, exc)
        if isinstance(handler, Connection):
            handler.slot.release()

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


@asynccontextmanager
async def accept_connections(
    server: ConnectionServer, listener: Listener, host: str, port: int
) -> AsyncIterator[tuple[str, int]]:
    """Accept connections while the context is open; yield the address and port. Then finish the running requests.

    Args:
        server: server that answers the requests.
        listener: listener that makes the connections by `ConnectionServer.make_protocol`.
        host: name or address to listen on.
        port: port to listen on; 0 for any free port.

    Raises:
        ConfigurationError: the server cannot listen on the address.
    """
    address = await listener.open(host, port)
    reaper = asyncio.create_task(server.reap_closing(), name="reap closing connections")
    try:
        yield address
    finally:
        listener.close()
        server.pre_shutdown()
        # Halved, because aiohttp waits twice: for its handler to finish, then for the cancelled handler to end.
        await server.shutdown(server.timeouts.shutdown_grace / 2)
        await cancel_and_wait([reaper])
