"""Bytes straight to a client's socket, as many as the kernel takes without being waited for: no task, no time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def send_nonblocking(transport: asyncio.Transport, send: Callable[[int], int]) -> int:
    """How many bytes `send` got rid of by the socket's descriptor.

    None where others are in line before them, where they must be encrypted, or where it fails, since the connection is
    full or broken: the transport, or `loop.sendfile`, finds out by itself.
    """
    if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
        return 0
    try:
        return send(transport.get_extra_info("socket").fileno())
    except OSError:
        return 0
