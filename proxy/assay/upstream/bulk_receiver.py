"""Reception of large response bodies into two reused buffers, without aiohttp's parser.

aiohttp allocates memory, copies the bytes, wakes a task and runs its parser for each piece of about 100 KiB. Here, the
kernel (or TLS) writes into one buffer while the caller reads the other.

Bulk reception applies only to bodies of at least 8 MiB that have a Content-Length and no chunked framing. It takes the
connection over from aiohttp after the head of the response, and gives it back after the end of the body. If the body is
not read to its end, or if bytes follow it, the connection is closed: the next request could take these bytes as its
response. Bulk reception does not verify the bytes of the body; the caller checks their digest.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from assay import aiohttp_private
from assay.errors import UpstreamUnavailableError
from assay.upstream.addresses import redact_url
from assay.upstream.responses import iter_chunks
from assay.upstream.transport_errors import as_upstream_error

MIN_BULK_BYTES = 8 * 2**20
"""Minimum size of a body that is received in bulk. For a smaller body, the two buffers cost more than they save."""
_CHUNK_BYTES = 2 * 2**20
"""Size of each buffer. A chunk is never larger than a buffer. With 1 MiB, a file would take 7 % more CPU time."""
_ITERATIONS_TO_READ = 3
"""Iterations of the event loop after which bytes that have arrived at a socket, or are buffered by TLS, are read."""
_FLUSH_DELAY_SECONDS = 0.02
"""Seconds after which the caller gets a buffer that is not full. This limits the delay of bytes from a slow index."""


@asynccontextmanager
async def receive_body(
    response: aiohttp.ClientResponse, url: str, stall_timeout_seconds: float, *, in_bulk: bool = True
) -> AsyncIterator[AsyncIterator[bytes | memoryview]]:
    """Open a response's body as an iterator of chunks. A memoryview is valid only until the next chunk is requested.

    Args:
        response: a response whose head has been received and whose body has not been read.
        url: the requested URL, for error messages.
        stall_timeout_seconds: maximum seconds between two chunks. It applies only to a body that is received in bulk.
        in_bulk: False if aiohttp's parser must receive every body (see `can_receive_in_bulk`).
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
    try:
        yield receiver.iter_chunks(early, url, stall_timeout_seconds)
    except BaseException:
        response.close()  # closes the connection too
        raise
    if await receiver.has_ended_cleanly():
        aiohttp_private.give_back_connection(response, handler, transport)
    else:
        response.close()


async def can_receive_in_bulk() -> bool:
    """Return True if connections can be taken over from aiohttp; else log a warning and return False.

    The test tries a take-over and lasts 0.5 ms.
    """
    changed = await aiohttp_private.find_takeover_change()
    if changed is not None:
        aiohttp_private.report_change(changed, "aiohttp's parser receives large files, which is slower")
    return changed is None


def _create_buffer() -> memoryview:
    """Return a new buffer. Its pages are allocated when bytes are received, so a slow body needs little memory.

    To fill two bytearrays of 1 MiB with zeros would take 1 ms, before the first byte is received.
    """
    return memoryview(mmap.mmap(-1, _CHUNK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


class _BulkReceiver(asyncio.BufferedProtocol):
    """Protocol that receives the body of one response into two buffers in turn.

    Args:
        handler: aiohttp's protocol of this connection. It is told when the connection is lost.
        transport: the connection that was taken over.
        bytes_left: number of bytes of the body that have not arrived yet.
    """

    def __init__(self, handler: asyncio.Protocol, transport: asyncio.Transport, bytes_left: int) -> None:
        self._handler = handler
        self._transport = transport
        self._bytes_left = bytes_left
        self._filling = _create_buffer()
        self._borrowed = _create_buffer()
        self._filled = 0
        self._excess = memoryview(bytearray(1))
        self._has_excess = False
        self._connection_error: BaseException | None = None
        self._chunk_ready = asyncio.Event()
        """Set when `iter_chunks` must continue: the buffer is full, the body is complete, the flush delay is over, or
        the connection is lost."""
        self._chunk_started_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def has_ended_cleanly(self) -> bool:
        """Return whether the whole body was taken, the connection is open, and no byte has arrived after the body.

        Call this method once, after the last chunk.
        """
        if self._bytes_left or self._filled or self._connection_error is not None:
            return False
        self._transport.resume_reading()
        for _ in range(_ITERATIONS_TO_READ):
            await asyncio.sleep(0)
        return not self._has_excess and not self._transport.is_closing()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return the free part of the buffer, but no more than the rest of the body; after the body, one byte."""
        if not self._bytes_left:
            return self._excess
        return self._filling[self._filled : min(self._filled + self._bytes_left, _CHUNK_BYTES)]

    def buffer_updated(self, nbytes: int) -> None:
        """Count the received bytes; release the chunk when the buffer is full or the body is complete.

        Reading pauses then, until the caller takes the chunk. A buffer that is not full is released when the flush
        delay is over.
        """
        if not self._bytes_left:
            self._has_excess = True
            self._transport.pause_reading()
            return
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
        """Record that the connection is lost, and inform aiohttp's protocol."""
        self._connection_error = exc or ConnectionResetError("the connection was closed")
        self._chunk_ready.set()
        self._handler.connection_lost(exc)

    async def iter_chunks(
        self, buffered: bytes, url: str, stall_timeout_seconds: float
    ) -> AsyncIterator[bytes | memoryview]:
        """Yield all bytes of the body. Nothing more is received until the caller has taken `buffered`.

        Args:
            buffered: bytes of the body that aiohttp received before the connection was taken over.
            url: the requested URL, for error messages.
            stall_timeout_seconds: maximum seconds to wait for a chunk.

        Raises:
            UpstreamUnavailableError: the connection was lost before the end of the body, or no chunk arrived in time.
        """
        if buffered:
            yield buffered
        if self._bytes_left:
            self._transport.resume_reading()
        while self._bytes_left or self._filled:
            try:
                async with asyncio.timeout(stall_timeout_seconds):
                    await self._chunk_ready.wait()
            except TimeoutError as error:
                raise as_upstream_error(error, url) from error
            if not self._filled:
                raise UpstreamUnavailableError(f"{redact_url(url)}: the response ended early")
            yield self._take_chunk()

    def _take_chunk(self) -> memoryview:
        chunk = self._filling[: self._filled]
        self._filling, self._borrowed, self._filled = self._borrowed, self._filling, 0
        self._chunk_started_at = asyncio.get_running_loop().time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection_error is None:
            self._chunk_ready.clear()
        if self._bytes_left:
            self._transport.resume_reading()
        return chunk
