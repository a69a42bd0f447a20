"""Direct writes to a client's socket: as many bytes as the kernel takes at once, without a task or a timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def send_nonblocking(transport: asyncio.Transport, send: Callable[[int], int]) -> int:
    """Call `send` with the file descriptor of the socket, and return the number of bytes sent.

    Return 0 without calling `send` if the transport still buffers earlier bytes or uses TLS. Return 0 also if `send`
    raises OSError, because the connection is full or broken. The caller then sends through the transport or by
    `loop.sendfile`: both handle a full or broken connection.
    """
    if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
        return 0
    try:
        return send(transport.get_extra_info("socket").fileno())
    except OSError:
        return 0
