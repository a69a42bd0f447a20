"""Long bodies, received into memory of our own and in large lots, where aiohttp would hand on each piece by itself.

Owns a connection from the head of its answer to the end of the body. aiohttp's way costs an allocation, a copy, a wake
of the loop and a turn of its parser for each piece of some 100 KiB; here the kernel (or TLS) writes into one of two
buffers while whoever asked still has the other. Only a long body of declared length, not in chunks, comes
this way; its connection is closed afterwards. What the bytes are is decided by their digest, elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from assay import aiohttp_private
from assay.errors import UpstreamUnavailableError
from assay.upstream.addresses import redact_url
from assay.upstream.responses import as_upstream_error, iter_chunks

MIN_BULK_BYTES = 8 * 2**20
"""Bytes from which on a body is worth a connection: shorter ones leave theirs to the next request."""
_CHUNK_BYTES = 2**20
"""Bytes that are handed on without waiting for more."""
_FLUSH_DELAY_SECONDS = 0.02
"""Seconds after which fewer will do: an index that is slow must not hold back what it has sent."""


@asynccontextmanager
async def receive_body(
    response: aiohttp.ClientResponse, url: str, stall_timeout_seconds: float, *, in_bulk: bool = True
) -> AsyncIterator[AsyncIterator[bytes | memoryview]]:
    """The body's chunks. A memoryview is lent: it holds until the next chunk is asked for.

    Args:
        response: its head is there, and nothing of its body was read.
        url: for messages.
        stall_timeout_seconds: seconds without a byte after which the index counts as stalled.
        in_bulk: whether a long body may be received past aiohttp's parser (`can_receive_in_bulk`).
    """
    length = response.content_length
    if (
        not in_bulk
        or length is None
        or length < MIN_BULK_BYTES
        or "Transfer-Encoding" in response.headers
        or response.content.exception() is not None
        or (taken := aiohttp_private.take_over_connection(response)) is None
    ):
        yield iter_chunks(response, url)
        return
    handler, transport, early = taken
    receiver = _BulkReceiver(handler, transport, length - len(early))
    transport.set_protocol(receiver)
    transport.resume_reading()
    try:
        yield receiver.iter_chunks(early, url, stall_timeout_seconds)
    finally:
        response.close()  # and the connection: aiohttp's parser has not seen the end of the body


async def can_receive_in_bulk() -> bool:
    """Try whether aiohttp's connections can be taken over, and log a warning if not (0.5 ms)."""
    changed = await aiohttp_private.find_takeover_change()
    if changed is not None:
        aiohttp_private.report_change(changed, "aiohttp receives long files as it receives short ones")
    return changed is None


class _BulkReceiver(asyncio.BufferedProtocol):
    """Fills one buffer while the other is lent."""

    def __init__(self, handler: asyncio.Protocol, transport: asyncio.Transport, bytes_left: int) -> None:
        self._handler = handler
        self._transport = transport
        self._bytes_left = bytes_left
        self._filling = memoryview(bytearray(_CHUNK_BYTES))
        self._borrowed = memoryview(bytearray(_CHUNK_BYTES))
        self._filled = 0
        self._connection_error: BaseException | None = None
        self._chunk_ready = asyncio.Event()
        """Set when what is here need not wait for more."""
        self._chunk_started_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Never more than the body: what an index sends beyond it stays where it is."""
        return self._filling[self._filled : min(self._filled + self._bytes_left, _CHUNK_BYTES)]

    def buffer_updated(self, nbytes: int) -> None:
        """So many more bytes are here."""
        self._filled += nbytes
        self._bytes_left -= nbytes
        if not self._bytes_left or self._filled == _CHUNK_BYTES:
            self._transport.pause_reading()
            self._chunk_ready.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(
                self._chunk_started_at + _FLUSH_DELAY_SECONDS, self._chunk_ready.set
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._connection_error = exc or ConnectionResetError("the connection was closed")
        self._chunk_ready.set()
        self._handler.connection_lost(exc)

    async def iter_chunks(
        self, buffered: bytes, url: str, stall_timeout_seconds: float
    ) -> AsyncIterator[bytes | memoryview]:
        """All of the body.

        Raises:
            UpstreamUnavailableError: it broke off, or stalled.
        """
        if buffered:
            yield buffered
        while self._bytes_left or self._filled:
            try:
                async with asyncio.timeout(stall_timeout_seconds):
                    await self._chunk_ready.wait()
            except TimeoutError as error:
                raise as_upstream_error(error, url) from error
            if not self._filled:
                raise UpstreamUnavailableError(f"{redact_url(url)}: broke off: {self._connection_error}")
            yield self._take_chunk()

    def _take_chunk(self) -> memoryview:
        lot = self._filling[: self._filled]
        self._filling, self._borrowed, self._filled = self._borrowed, self._filling, 0
        self._chunk_started_at = asyncio.get_running_loop().time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection_error is None:
            self._chunk_ready.clear()
        if self._bytes_left:
            self._transport.resume_reading()
        return lot
