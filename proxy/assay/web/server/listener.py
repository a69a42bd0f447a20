"""Listener that accepts connections within a `ConnectionLimit`.

This module owns the listening sockets. asyncio's own server has no limit on connections, and it does not report failed
TLS handshakes, so its connections cannot be counted. This listener gives each connection a slot before it reads any
bytes. The slot is released in every case in which the connection ends.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from functools import partial

from assay import telemetry
from assay.errors import ConfigurationError
from assay.telemetry import metrics
from assay.web.server.connection_limit import ConnectionLimit, ConnectionSlot
from assay.web.tls_transport import TlsTransport, create_receive_buffer

_BACKLOG = 1024
_ACCEPT_BATCH_SIZE = 64
"""Maximum number of connections that are accepted before the event loop runs other work."""
ACCEPT_PAUSE_SECONDS = 1.0
"""Pause in accepting connections, in seconds. A pause begins if the system has no file descriptor or memory left for a
connection. The value is also the minimum time between two warnings about refused connections."""


class Listener:
    """Acceptor of connections on the listening sockets.

    Args:
        limit: limit from which each connection gets a slot.
        protocol_factory: creates the protocol of a connection. The protocol must release the slot when the connection
            is lost.
        ssl_context: SSL context; None if connections are not encrypted.
        handshake_timeout_seconds: maximum seconds for the TLS handshake.
        setting: keys of the configuration that have the address, for error messages.
        accept_pause_seconds: pause in accepting connections, see `ACCEPT_PAUSE_SECONDS`.
    """

    def __init__(
        self,
        limit: ConnectionLimit,
        protocol_factory: Callable[[ConnectionSlot], asyncio.Protocol],
        *,
        ssl_context: ssl.SSLContext | None,
        handshake_timeout_seconds: float,
        setting: str = "server.host, server.port",
        accept_pause_seconds: float = ACCEPT_PAUSE_SECONDS,
    ) -> None:
        self._accept_pause = accept_pause_seconds
        self._limit = limit
        self._protocol = protocol_factory
        self._context = ssl_context
        self._handshake_timeout = handshake_timeout_seconds
        self._receive_buffer = create_receive_buffer()
        self._setting = setting
        self._sockets: list[socket.socket] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._pause_timers: set[asyncio.TimerHandle] = set()
        self._unreported_refusals = 0
        self._next_report_at = 0.0

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Listen on all addresses of `host`; return the first address and its port.

        Raises:
            ConfigurationError: `host` cannot be resolved, or the server cannot listen on one of its addresses.
        """
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_open_listening_socket(family, address))
        except OSError as error:
            self.close()
            is_taken = error.errno == errno.EADDRINUSE and self._setting.startswith("server.")
            hint = "; another port: --port or server.port" if is_taken else ""
            raise ConfigurationError(
                f"{self._setting}: cannot listen on {host}:{port}: {error.strerror or error}{hint}"
            ) from error
        for listener in self._sockets:
            self._start_accepting(listener)
        name, number = self._sockets[0].getsockname()[:2]
        return str(name), int(number)

    def close(self) -> None:
        """Stop accepting and close the listening sockets. Established connections stay open."""
        for pause in self._pause_timers:
            pause.cancel()
        for listener in self._sockets:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._sockets.clear()
        for task in self._connecting:
            task.cancel()

    def _start_accepting(self, listener: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listener, self._accept_batch, listener)

    def _accept_batch(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPT_BATCH_SIZE):
            try:
                connection, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # No file descriptor or memory is left. Connections in the kernel's queue keep the socket readable, so
                # the event loop would call this again at once; it stops watching the socket for a while.
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                self._pause_timers = {pause for pause in self._pause_timers if pause.when() > loop.time()}
                self._pause_timers.add(loop.call_later(self._accept_pause, self._start_accepting, listener))
                telemetry.warning(
                    "accept-failed", error=error.strerror or str(error), open=self._limit.open_connections
                )
                return
            connection.settimeout(0)
            slot = self._limit.acquire(address[0])
            if slot is None or slot.is_probe_only:
                self.report_refusal("answered" if slot else "closed")
            if slot is None:
                connection.close()
                continue
            task = asyncio.create_task(self._start_connection(connection, slot), name="connect")
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _start_connection(self, connection: socket.socket, slot: ConnectionSlot) -> None:
        loop, make_protocol = asyncio.get_running_loop(), partial(self._protocol, slot)
        try:
            if self._context is None:
                await loop.connect_accepted_socket(make_protocol, connection)
            else:
                make_transport = partial(TlsTransport, self._context, make_protocol, self._receive_buffer)
                _, tls = await loop.connect_accepted_socket(make_transport, connection)
                await self._complete_handshake(tls)
        except BaseException as error:
            connection.close()
            slot.release()
            if not isinstance(error, OSError):  # OSError: the client disconnected, or the TLS handshake failed
                raise

    async def _complete_handshake(self, tls: TlsTransport) -> None:
        try:
            async with asyncio.timeout(self._handshake_timeout):
                await tls.handshake
        except BaseException:
            tls.abort()
            raise

    def report_refusal(self, action: str) -> None:
        """Count a refused connection. Log a warning, but at most one within `accept_pause_seconds`.

        Args:
            action: ``answered`` for a connection in a probe slot, ``closed`` for a connection without a slot.
        """
        metrics.CONNECTIONS_REFUSED.labels(action).inc()
        self._unreported_refusals += 1
        now = asyncio.get_running_loop().time()
        if now >= self._next_report_at:
            telemetry.warning(
                "connections-refused",
                refused=self._unreported_refusals,
                open=self._limit.open_connections,
                limit=self._limit.max_connections,
            )
            self._unreported_refusals, self._next_report_at = 0, now + self._accept_pause


def _open_listening_socket(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.settimeout(0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
