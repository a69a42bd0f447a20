"""Transport that encrypts the connection of one client, between the application's protocol and the socket's transport.

It uses public interfaces only: `ssl.SSLObject` for TLS and `asyncio.BufferedProtocol` for the socket. asyncio's own
transport for TLS does the same with more CPU time and memory:

- It reads until OpenSSL has no more bytes, which raises an exception for each request. This transport asks OpenSSL how
  many bytes it has.
- It allocates a receive buffer of 256 KiB for each connection. This transport uses one buffer for all connections.
- It encrypts each part of a response separately. This transport joins small parts into one TLS record.
- It keeps plain bytes that OpenSSL cannot encrypt yet. A server that refuses renegotiation has no such bytes, so a
  caller may reuse its buffer after `write`.

Encrypted bytes that the socket does not take at once are in the buffer of the socket's transport. If it has too many,
the application's protocol is paused, and nothing is read from the client: it could cause further responses of TLS.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

RECORD_BYTES = 16 * 1024
"""Maximum number of plain bytes of one TLS record (RFC 8446, section 5.1)."""
_RECEIVE_BUFFER_BYTES = 64 * 1024


def create_receive_buffer() -> memoryview[int]:
    """Return a receive buffer, which all connections of one event loop may share.

    asyncio fills the buffer and reports the number of bytes without running anything else in between.
    """
    return memoryview(bytearray(_RECEIVE_BUFFER_BYTES))


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """Transport of the application's protocol, which is itself the protocol of the socket's transport.

    The application's protocol is connected when the TLS handshake is complete. If the handshake fails, it is never
    connected.

    Args:
        context: SSL context of a server. It must refuse renegotiation.
        create_protocol: creates the application's protocol, before the handshake.
        receive_buffer: result of `create_receive_buffer`.

    Attributes:
        handshake: future that is done when the handshake is complete. Its exception is an OSError if the handshake
            failed or the client disconnected.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        create_protocol: Callable[[], asyncio.Protocol],
        receive_buffer: memoryview[int],
    ) -> None:
        super().__init__()
        self.handshake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._context = context
        self._protocol: asyncio.BaseProtocol = create_protocol()
        self._receive: Callable[[bytes], None] = _get_receiver(self._protocol)
        self._receive_buffer = receive_buffer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._socket_transport: asyncio.Transport | None = None
        self._is_connected = False
        self._is_closing = False
        self._is_paused = False
        self._is_blocked = False

    # Protocol of the socket's transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Record the socket's transport. The client begins the handshake."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"expected a transport of a socket, found {type(transport).__name__}")
        self._socket_transport = transport

    def get_buffer(self, sizehint: int) -> memoryview[int]:  # noqa: ARG002 - the signature is asyncio's
        """Return the receive buffer."""
        return self._receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt received bytes, and pass them to the application's protocol."""
        self._incoming.write(self._receive_buffer[:nbytes])
        if self._is_connected or self._continue_handshake():
            self._deliver()

    def eof_received(self) -> None:
        """Inform the application's protocol. asyncio then closes the connection."""
        if self._is_connected and isinstance(self._protocol, asyncio.Protocol):
            self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Pause the application's protocol and reading, because the client does not read fast enough."""
        self._is_blocked = True
        self._update_reading()
        if self._is_connected:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Resume the application's protocol and reading."""
        self._is_blocked = False
        self._update_reading()
        if self._is_connected:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Inform the application's protocol if it was connected, or let the handshake fail."""
        self._socket_transport = None
        if self._is_connected:
            self._protocol.connection_lost(exc)
        else:
            self._fail_handshake(exc or ConnectionResetError("the client disconnected during the TLS handshake"))

    def _continue_handshake(self) -> bool:
        """Continue the handshake with the received bytes; return True if it is complete."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send_encrypted()
            return False
        except OSError as error:
            self._send_encrypted()  # the alert, which tells the client the reason
            self._fail_handshake(error)
            self.abort()
            return False
        self._send_encrypted()
        self._is_connected = True
        self._protocol.connection_made(self)
        if not self.handshake.done():
            self.handshake.set_result(None)
        return True

    def _fail_handshake(self, error: Exception) -> None:
        if not self.handshake.done():
            self.handshake.set_exception(error)
            self.handshake.exception()  # without this call, asyncio would log the exception

    def _deliver(self) -> None:
        while not self._is_paused and not self.is_closing():
            try:
                data = self._tls.read(RECORD_BYTES)
            except ssl.SSLWantReadError:
                break  # a part of a record
            except ssl.SSLError:
                self._send_encrypted()  # the alert, which tells the client the reason
                self.abort()
                return
            if not data:  # the client has closed the connection by an alert
                if isinstance(self._protocol, asyncio.Protocol):
                    self._protocol.eof_received()
                self.close()
                return
            self._receive(data)
            if not self._has_received():
                break
        self._send_encrypted()  # the response to a new key, for example

    def _has_received(self) -> bool:
        """Return False if a read would certainly find no bytes. It would raise an exception, which takes time."""
        return bool(self._incoming.pending or self._tls.pending())

    # Transport of the application's protocol

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Encrypt and send bytes. The caller may change them afterwards."""
        if self.is_closing():
            return
        try:
            while data:
                data = data[self._tls.write(data) :]
        except ssl.SSLError:
            self.abort()
            return
        self._send_encrypted()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Encrypt and send several parts in as few TLS records as possible."""
        self.write(b"".join(list_of_data))

    def _send_encrypted(self) -> None:
        if self._outgoing.pending and self._socket_transport is not None:
            self._socket_transport.write(self._outgoing.read())

    def get_write_buffer_size(self) -> int:
        """Return the number of encrypted bytes that the socket has not taken yet."""
        return 0 if self._socket_transport is None else self._socket_transport.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the numbers of unsent bytes at which the application's protocol is paused and resumed."""
        if self._socket_transport is not None:
            self._socket_transport.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """Return False: a connection with TLS is closed in both directions."""
        return False

    def pause_reading(self) -> None:
        """Stop passing bytes to the application's protocol. At most one receive buffer of bytes is kept."""
        self._is_paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        """Pass the kept bytes to the application's protocol soon, and then read on."""
        if self._is_paused:
            self._is_paused = False
            if self._has_received():
                asyncio.get_running_loop().call_soon(self._deliver)
            self._update_reading()

    def _update_reading(self) -> None:
        if self._socket_transport is None:
            return
        if self._is_paused or self._is_blocked:
            self._socket_transport.pause_reading()
        else:
            self._socket_transport.resume_reading()

    def is_reading(self) -> bool:
        """Return True if received bytes are passed to the application's protocol."""
        return not self._is_paused and not self.is_closing()

    def is_closing(self) -> bool:
        """Return True if the connection is closed, or will be when all bytes are sent."""
        return self._is_closing or self._socket_transport is None or self._socket_transport.is_closing()

    def close(self) -> None:
        """Close the connection after all bytes and a closing alert are sent. The client's alert is not awaited."""
        if self._socket_transport is None or self.is_closing():
            return
        self._is_closing = True
        with suppress(ssl.SSLError):  # the alert is written; the error says that the client's alert has not come
            self._tls.unwrap()
        self._send_encrypted()
        self._socket_transport.close()

    def abort(self) -> None:
        """Close the connection at once; unsent bytes are lost."""
        self._is_closing = True
        if self._socket_transport is not None:
            self._socket_transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - the signature is asyncio's
        """Return ``sslcontext``, ``ssl_object`` or ``cipher`` of the connection, or what the socket's transport has."""
        match name:
            case "sslcontext":
                return self._context
            case "ssl_object":
                return self._tls
            case "cipher":
                return self._tls.cipher()
            case _ if self._socket_transport is not None:
                return self._socket_transport.get_extra_info(name, default)
            case _:
                return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the application's protocol."""
        self._protocol, self._receive = protocol, _get_receiver(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the application's protocol."""
        return self._protocol


def _get_receiver(protocol: asyncio.BaseProtocol) -> Callable[[bytes], None]:
    if not isinstance(protocol, asyncio.Protocol):
        raise TypeError(f"expected an asyncio.Protocol, found {type(protocol).__name__}")
    return protocol.data_received
