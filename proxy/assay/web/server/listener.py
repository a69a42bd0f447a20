"""Accepting connections: as many as there is room for, each told at once whether it may stay.

Owns the listening sockets. asyncio's own server accepts without asking and tells nobody of a TLS handshake that failed,
so that its connections cannot be counted; here a connection has its seat before anything is read from it, and gives it
back however it ends.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial

from assay import telemetry
from assay.errors import ConfigurationError
from assay.telemetry import metrics
from assay.web.server.connection_limit import ConnectionLimit, ConnectionSlot

_BACKLOG = 1024
_ACCEPT_BATCH_SIZE = 64
"""Connections accepted before anything else has its turn."""
ACCEPT_PAUSE_SECONDS = 1.0
"""Seconds without accepting after the system could give no descriptor; also between two lines of the log."""


class Listener:
    """Accepts and seats.

    Args:
        limit: who may come in.
        protocol_factory: makes the protocol of a connection that has a seat, which it leaves when the connection is
        lost. ssl_context: TLS, or None.
        handshake_timeout_seconds: seconds that a client has for it.
        accept_pause_seconds: seconds without accepting after the system could give no descriptor.
    """

    def __init__(
        self,
        limit: ConnectionLimit,
        protocol_factory: Callable[[ConnectionSlot], asyncio.Protocol],
        *,
        ssl_context: ssl.SSLContext | None,
        handshake_timeout_seconds: float,
        accept_pause_seconds: float = ACCEPT_PAUSE_SECONDS,
    ) -> None:
        self._accept_pause = accept_pause_seconds
        self._limit = limit
        self._protocol = protocol_factory
        self._context = ssl_context
        self._handshake_timeout = handshake_timeout_seconds
        self._sockets: list[socket.socket] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._pause_timers: set[asyncio.TimerHandle] = set()
        self._unreported_refusals = 0
        self._next_report_at = 0.0

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Listen on every address of `host`; gives the first one.

        Raises:
            ConfigurationError: it cannot be listened on.
        """
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_open_listening_socket(family, address))
        except OSError as error:
            self.close()
            raise ConfigurationError(
                f"server.host, server.port: cannot listen on {host}:{port}: {error.strerror or error}"
            ) from error
        for listener in self._sockets:
            self._start_accepting(listener)
        name, number = self._sockets[0].getsockname()[:2]
        return str(name), int(number)

    def close(self) -> None:
        """Accept no more; connections that have been made go on."""
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
                # Out of descriptors or memory: whoever waits in the queue keeps the socket ready, so look away.
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                self._pause_timers = {pause for pause in self._pause_timers if pause.when() > loop.time()}
                self._pause_timers.add(loop.call_later(self._accept_pause, self._start_accepting, listener))
                telemetry.warning(
                    "accept-failed", error=error.strerror or str(error), open=self._limit.open_connections
                )
                return
            connection.settimeout(0)
            seat = self._limit.acquire(address[0])
            if seat is None or seat.is_probe_only:
                self.report_refusal("busy" if seat else "cut")
            if seat is None:
                connection.close()
                continue
            metrics.CONNECTIONS.set(self._limit.open_connections)
            task = asyncio.create_task(self._start_connection(connection, seat), name="connect")
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _start_connection(self, connection: socket.socket, slot: ConnectionSlot) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                partial(self._protocol, slot),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=None if self._context is None else self._handshake_timeout,
            )
        except BaseException as error:
            connection.close()
            slot.release()
            metrics.CONNECTIONS.set(self._limit.open_connections)
            if not isinstance(error, OSError):  # a client that left, or whose handshake failed
                raise

    def report_refusal(self, how: str) -> None:
        """Count it, and say so at most once a second: a flood must not become one of lines."""
        metrics.CONNECTIONS_REFUSED.labels(how).inc()
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
