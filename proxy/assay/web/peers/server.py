"""Server for the other replicas: its own port, and lower limits than those for clients.

The server speaks plain HTTP, because it is reachable only in the network of the replicas, and because requests are
signed and files are hashed. It has no route but that of `web.peers.responder`, neither pages nor probes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from aiohttp import web

from assay.gate.gate import Gate
from assay.peers.addresses import PeerAddress
from assay.peers.signing import PeerCredentials
from assay.peers.verifier import PeerRequestVerifier
from assay.web.peers.responder import MAX_REQUESTS, PeerResponder
from assay.web.server.connection import Connection
from assay.web.server.connection_limit import ConnectionLimit
from assay.web.server.connection_server import ConnectionServer, ServerTimeouts, accept_connections, get_http_logger
from assay.web.server.listener import Listener

_MAX_CONNECTIONS: Final = 128
_MAX_HEADERS: Final = 32
_MAX_LINE_BYTES: Final = 8190
"""Maximum size of the request line, which has the path of the file on its index."""
_MAX_FIELD_BYTES: Final = 1024
_TIMEOUTS: Final = ServerTimeouts(shutdown_grace=4.0, first_request=5.0, closing=5.0, stall=30.0)
"""Timeouts for other replicas. A replica reads as fast as its disk writes, and continues elsewhere at a shutdown."""


@asynccontextmanager
async def run_peer_server(
    gates: Sequence[Gate],
    credentials: PeerCredentials,
    address: PeerAddress,
    *,
    clock: Callable[[], datetime],
    timeouts: ServerTimeouts = _TIMEOUTS,
    max_requests: int = MAX_REQUESTS,
) -> AsyncIterator[str]:
    """Answer other replicas while the context is open; yield ``IP:port`` of the listener.

    Args:
        gates: gates of all views.
        credentials: deployment and keys of this replica.
        address: address to listen on; port 0 for any free port. Other replicas must reach this one at the same address.
        clock: returns the current time in UTC.
        timeouts: timeouts for other replicas.
        max_requests: maximum number of requests that are answered at the same time.

    Raises:
        ConfigurationError: the server cannot listen on the address.
    """

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.take_begun()  # ends the timeout for the first request
        return await responder.respond(request)

    server = ConnectionServer(
        respond,
        get_http_logger(),
        timeouts=timeouts,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_FIELD_BYTES,
        max_headers=_MAX_HEADERS,
    )
    listener = Listener(
        ConnectionLimit(_MAX_CONNECTIONS),
        server.make_protocol,
        ssl_context=None,
        handshake_timeout_seconds=timeouts.first_request,
        setting="storage.shared.peer-address",
    )
    async with accept_connections(server, listener, str(address.ip), address.port) as (_, port):
        # No request is read before the next wait, so `responder` exists by then.
        own = str(PeerAddress(address.ip, port))
        verifier = PeerRequestVerifier(credentials=credentials, address=own, clock=clock)
        responder = PeerResponder(gates=gates, verifier=verifier, max_requests=max_requests)
        yield own
