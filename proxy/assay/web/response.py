"""Response whose head and body are in memory and are sent in one write, for cached pages and small cached files.

This module serializes the head of a response (RFC 9112) whose length is known. It parses nothing. It uses only the
method, the HTTP version and the keep-alive flag of a request.

aiohttp's own `Response` sends in a dozen steps, and each step is a coroutine. Assay uses that class for all other
responses. A response of 48 kB takes 40 µs of CPU time with aiohttp's `Response` and 29 µs with `BufferedResponse`, on a
server that does nothing else.

Head and body are written to the socket together by ``writev``, without being copied into one buffer. Only the bytes
that the socket does not take at once go through asyncio's buffer. A response of 500 kB takes 100 µs of CPU time this
way. In chunks of 64 KiB through the transport it takes 150 to 225 µs.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from assay.web.socket_io import send_nonblocking

_CHUNK_BYTES = 64 * 1024
"""Size of one write to a client that did not take the whole response at once. asyncio buffers at most one such chunk
for each client."""
_WRITE_LIMIT_BODY_BYTES = _CHUNK_BYTES - 8 * 1024
"""Maximum size of a body that is written together with its head without waiting. If more than 64 KiB are unsent (the
high-water mark of asyncio's transport), a writer must wait."""
_BODILESS_STATUSES = frozenset({HTTPStatus.NO_CONTENT.value, HTTPStatus.NOT_MODIFIED.value})
_HTTP_11 = (1, 1)
_START_LINES = {each: (f"HTTP/1.1 {each.value} {each.phrase}", each.value, each.phrase) for each in HTTPStatus}
"""Status line, number and phrase of each status. Precomputed, because attributes of enum members are slow in Python
3.11."""


class FixedHeaders(Mapping[str, str]):
    """Header fields that many responses share. They are serialized once.

    This saves 1.5 µs of the 4 µs that the head of a page takes otherwise.

    Args:
        fields: values by field name, without Content-Length and Date.

    Raises:
        ValueError: a field contains a line break.
    """

    __slots__ = ("_fields", "line_count", "text")

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = dict(fields)
        self.text = "".join(f"\r\n{name}: {value}" for name, value in self._fields.items())
        """Serialized fields. Each line begins with CRLF, and the last line does not end with CRLF."""
        if self.text.count("\n") != len(self._fields) or self.text.count("\r") != len(self._fields):
            raise ValueError("a header field contains a line break")
        self.line_count = len(self._fields)

    def __getitem__(self, name: str) -> str:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return self.line_count


class BufferedResponse(web.StreamResponse):
    """Response whose head and body are in memory.

    A HEAD request gets only the head, with the Content-Length of the GET response.

    Args:
        headers: header fields by name, without Content-Length and Date.
        body: the whole body.
        status: status of the response.
    """

    # Defaults as class attributes, because setting them in each instance takes time.
    _unsent: memoryview = memoryview(b"")
    _keeps_connection = True
    _close_forced = False
    _transport: asyncio.Transport | None = None
    _writer: AbstractStreamWriter | None = None

    def __init__(self, *, headers: Mapping[str, str], body: bytes = b"", status: HTTPStatus = HTTPStatus.OK) -> None:
        # The constructor of the base class is not called: its header table and state cost as much as all the work done
        # here, and every method that reads them is overridden below. `server.find_shortcuts` tests at start that
        # aiohttp can send such a response; if not, `to_plain` converts it through the public interface.
        self._fixed = headers if isinstance(headers, FixedHeaders) else None
        self.header_fields: dict[str, str] = {} if self._fixed is not None else dict(headers)
        """Header fields of this response only. `FixedHeaders`, if given, holds the others."""
        self._entity = body
        self._start_line, self._status_code, self._phrase = _START_LINES[status]

    @property
    def status(self) -> int:
        """Status code."""
        return self._status_code

    @property
    def reason(self) -> str:
        """Standard reason phrase of the status."""
        return self._phrase

    @property
    def headers(self) -> CIMultiDict[str]:
        """Copy of all header fields except Content-Length, Connection and Date."""
        return CIMultiDict({**self._fixed, **self.header_fields} if self._fixed is not None else self.header_fields)

    @property
    def prepared(self) -> bool:
        """True if sending has begun: `prepare` was called."""
        return self._writer is not None

    @property
    def keep_alive(self) -> bool:
        """True if the connection stays open for another request."""
        return self._keeps_connection

    def to_plain(self) -> web.Response:
        """Return the same response as an aiohttp `Response`, which serializes its own head."""
        body = None if self._status_code in _BODILESS_STATUSES else self._entity
        plain = web.Response(status=self.status, headers=self.headers, body=body)
        if self._close_forced:
            plain.force_close()
        return plain

    def force_close(self) -> None:
        """Close the connection after this response."""
        self._close_forced = True

    @property
    def is_within_write_limit(self) -> bool:
        """True if the response is small enough to be written without waiting.

        This holds only if the connection has no unsent bytes of an earlier response.
        """
        return len(self._entity) <= _WRITE_LIMIT_BODY_BYTES

    @property
    def has_unsent_bytes(self) -> bool:
        """True if a part of the body has not been written yet, because the client reads too slowly."""
        return bool(self._unsent)

    @property
    def content_length(self) -> int | None:
        """Length of the body in bytes."""
        return len(self._entity)

    @content_length.setter
    def content_length(self, value: int | None) -> None:
        raise RuntimeError(f"the length of a response is that of its body and cannot be set to {value}")

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Begin to send the response: write as many bytes as the socket takes without waiting.

        Raises:
            ConnectionResetError: the client has disconnected.
            ValueError: a header field contains a line break.
        """
        if self._writer is not None:
            return self._writer
        if self._transport is None:
            transport = request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client disconnected")
            stays, old = request.keep_alive and not self._close_forced, request.version < _HTTP_11
            self.start_sending(transport, keep_alive=stays, is_http10=old, with_body=request.method != "HEAD")
        self._writer = request.writer
        return self._writer

    def start_sending(
        self, transport: asyncio.Transport, *, keep_alive: bool = True, is_http10: bool = False, with_body: bool = True
    ) -> None:
        """Write as many bytes as the socket takes at once, and at most one more chunk into the transport's buffer.

        Args:
            transport: transport of the connection; it must not be closing.
            keep_alive: True if the connection stays open for another request.
            is_http10: True if the client uses HTTP/1.0, which needs an explicit ``Connection: keep-alive``.
            with_body: False for a HEAD request.

        Raises:
            ValueError: a header field contains a line break.
        """
        self._transport, self._keeps_connection = transport, keep_alive
        head, whole = self._serialize_head(is_http10=is_http10), self._entity if with_body else b""
        sent = send_nonblocking(transport, lambda socket: os.writev(socket, (head, whole)))
        self._unsent = memoryview(whole)[max(0, sent - len(head)) :]
        if sent < len(head):
            # Together, because each call makes a separate packet with TLS. OpenSSL must not be given empty data.
            transport.writelines([part for part in (head[sent:], self._unsent[:_CHUNK_BYTES]) if part])
            self._unsent = self._unsent[_CHUNK_BYTES:]
        while self._unsent and not transport.get_write_buffer_size():
            self._write_chunk()

    async def send_next_chunk(self) -> None:
        """Wait until the transport's buffer has room. Then write the next chunk of the body, if any bytes are left.

        Raises:
            ConnectionResetError: the client has disconnected.
        """
        if self._writer is None or self._transport is None:
            raise RuntimeError("the response must be prepared before a chunk is sent")
        await self._writer.drain()
        if self._transport.is_closing():
            raise ConnectionResetError("the client disconnected")
        if self._unsent:
            self._write_chunk()

    def _write_chunk(self) -> None:
        if self._transport is not None:
            self._transport.write(self._unsent[:_CHUNK_BYTES])
            self._unsent = self._unsent[_CHUNK_BYTES:]

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the rest of the body, and wait until the transport's buffer has room.

        The server makes the next response on this connection only after the wait. Responses to a slow client therefore
        do not accumulate in memory.
        """
        if data or self._writer is None:
            raise RuntimeError("the response must be prepared, and takes no further data")
        while self._unsent:
            await self.send_next_chunk()
        await self._writer.drain()

    def _serialize_head(self, *, is_http10: bool) -> bytes:
        fixed, fields = self._fixed, self.header_fields
        head, breaks = (self._start_line, 3) if fixed is None else (self._start_line + fixed.text, 3 + fixed.line_count)
        for name, value in fields.items():
            head += f"\r\n{name}: {value}"
        if self._status_code not in _BODILESS_STATUSES:
            head += f"\r\nContent-Length: {len(self._entity)}"
            breaks += 1
        if not self._keeps_connection or is_http10:
            head += "\r\nConnection: keep-alive" if self._keeps_connection else "\r\nConnection: close"
            breaks += 1
        head += _format_date_line()
        breaks += len(fields)
        if head.count("\n") != breaks or head.count("\r") != breaks:
            raise ValueError("a header field contains a line break")
        return head.encode()


def to_plain(response: web.StreamResponse) -> web.StreamResponse:
    """Convert a `BufferedResponse` to aiohttp's own `Response`. Return any other response unchanged."""
    return response.to_plain() if isinstance(response, BufferedResponse) else response


_cached_date: tuple[int, str] = (0, "")


def _format_date_line() -> str:
    """Return the end of a head: the Date field (RFC 9110, section 6.6.1) and the empty line.

    The line is formatted once a second and cached.
    """
    global _cached_date  # noqa: PLW0603 - all responses share the cached line
    now = int(time.time())
    if _cached_date[0] != now:
        _cached_date = (now, f"\r\nDate: {formatdate(now, usegmt=True)}\r\n\r\n")
    return _cached_date[1]
