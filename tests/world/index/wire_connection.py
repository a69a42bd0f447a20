"""Requests, responses and the connection between them, which `faults` breaks and `faulty_server` serves."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

CHUNK_BYTES = 64 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, kw_only=True)
class Request:
    """Received request."""

    method: str
    path: str
    """Path without the query, not decoded."""
    query: str
    headers: Mapping[str, str]
    """Headers with names in lower case."""
    port: int
    body: bytes = b""
    at: float = field(default_factory=time.monotonic)
    """Time of arrival, in seconds of the monotonic clock."""


@dataclass(frozen=True, kw_only=True)
class CannedResponse:
    """Correct response, before Range and conditions are applied."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = False
    """True if the server supports Range."""

    def with_headers(self, **headers: str) -> CannedResponse:
        """Return the response with additional headers; underscores in names become hyphens."""
        return replace(self, headers={**self.headers, **{key.replace("_", "-"): headers[key] for key in headers}})


class WireConnection:
    """Connection to one client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.keep = True
        # Without a write buffer, the kernel has the bytes after `write` was awaited.
        writer.transport.set_write_buffer_limits(high=0)

    async def write_head(self, status: int, headers: Mapping[str, str]) -> None:
        reason = next((known.phrase for known in HTTPStatus if known == status), "Odd")
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        await self.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def write(self, content: bytes | memoryview) -> None:
        for place in range(0, len(content), CHUNK_BYTES):
            self.writer.write(content[place : place + CHUNK_BYTES])
            await self.writer.drain()

    async def send(self, request: Request, answer: CannedResponse, *, length: int | None = None) -> None:
        """Send the correct response; `length` replaces the value of Content-Length."""
        final = apply_request_headers(request, answer)
        await self.write_head(final.status, {**final.headers, **make_framing_headers(final, length)})
        if request.method != "HEAD":
            await self.write(final.body)
        if length is not None:
            self.close()

    def close(self) -> None:
        """Close the connection cleanly after all written data."""
        self.keep = False
        self.writer.close()

    def reset(self) -> None:
        """Reset the connection (RST): the client gets an error, and may lose data that it has not read."""
        self.keep = False
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the client closes the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(CHUNK_BYTES):
                pass


def make_framing_headers(answer: CannedResponse, stated: int | None = None) -> dict[str, str]:
    if stated is not None:
        return {"Content-Length": str(stated)}
    return {} if answer.status == HTTPStatus.NOT_MODIFIED else {"Content-Length": str(len(answer.body))}


def apply_request_headers(request: Request, answer: CannedResponse) -> CannedResponse:
    """Apply conditions and Range (RFC 9110 sections 13.2.2 and 14.2) to a whole response."""
    etag = answer.headers.get("ETag")
    if answer.status != HTTPStatus.OK:
        return answer
    if etag is not None and etag in request.headers.get("if-none-match", ""):
        return replace(answer, status=304, body=b"")
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if not answer.ranges or match is None or request.headers.get("if-range", etag) != etag:
        return answer
    first, last = match.groups()
    size = len(answer.body)
    start = int(first) if first else max(0, size - int(last or 0))
    end = min(int(last), size - 1) if first and last else size - 1
    if start > end:
        return replace(answer, status=416, body=b"").with_headers(Content_Range=f"bytes */{size}")
    part = replace(answer, status=206, body=answer.body[start : end + 1])
    return part.with_headers(Content_Range=f"bytes {start}-{end}/{size}")


class Fault:
    """Base class of all faults, which changes nothing itself."""

    def alter(self, answer: CannedResponse) -> CannedResponse:
        return answer

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:
        await connection.send(request, self.alter(answer))


async def send_head(connection: WireConnection, request: Request, answer: CannedResponse) -> CannedResponse:
    """Send the head of the correct response, and return the rest of the body, which is empty for HEAD."""
    final = apply_request_headers(request, answer)
    await connection.write_head(final.status, {**final.headers, **make_framing_headers(final)})
    return final if request.method != "HEAD" else replace(final, body=b"")
