"""Requests, answers and the wire between them, which `faults` spoils and `faulty_server` serves."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

CHUNK_BYTES = 64 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    """Without the query, not decoded."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    port: int


@dataclass(frozen=True, kw_only=True)
class CannedResponse:
    """What a well-behaved server would say; Range and conditions are applied to it afterwards."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = False
    """Whether Range is honoured."""

    def with_headers(self, **headers: str) -> CannedResponse:
        """The same with more headers; underscores in names stand for hyphens."""
        return replace(self, headers={**self.headers, **{key.replace("_", "-"): headers[key] for key in headers}})


class WireConnection:
    """The wire to one client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.keep = True
        # With no buffer of our own, whoever has awaited `write` knows that the kernel has the bytes.
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
        """The answer as it should be; `length` is what Content-Length says instead."""
        final = apply_request_headers(request, answer)
        await self.write_head(final.status, {**final.headers, **make_framing_headers(final, length)})
        if request.method != "HEAD":
            await self.write(final.body)
        if length is not None:
            self.close()

    def close(self) -> None:
        """End it cleanly after what was written."""
        self.keep = False
        self.writer.close()

    def reset(self) -> None:
        """RST: the other side gets a connection error, and may lose what it had not read."""
        self.keep = False
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_closed(self) -> None:
        """Until the client leaves."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(CHUNK_BYTES):
                pass


def make_framing_headers(answer: CannedResponse, stated: int | None = None) -> dict[str, str]:
    if stated is not None:
        return {"Content-Length": str(stated)}
    return {} if answer.status == HTTPStatus.NOT_MODIFIED else {"Content-Length": str(len(answer.body))}


def apply_request_headers(request: Request, answer: CannedResponse) -> CannedResponse:
    """Conditions and Range (RFC 9110 sections 13.2.2 and 14.2) applied to a whole answer."""
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
    """Base of all faults; by itself it does nothing wrong."""

    def alter(self, answer: CannedResponse) -> CannedResponse:
        return answer

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:
        await connection.send(request, self.alter(answer))


async def send_head(connection: WireConnection, request: Request, answer: CannedResponse) -> CannedResponse:
    """Send the head of the right answer; what is left is its body, none for HEAD."""
    final = apply_request_headers(request, answer)
    await connection.write_head(final.status, {**final.headers, **make_framing_headers(final)})
    return final if request.method != "HEAD" else replace(final, body=b"")
