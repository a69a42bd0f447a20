"""Faults that change a correct response or break its transmission; `tests.world.index.faulty_server` uses them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.world.index.wire_connection import (
    CHUNK_BYTES,
    CannedResponse,
    Fault,
    Request,
    WireConnection,
    apply_request_headers,
    send_head,
)


@dataclass(frozen=True)
class Refuse(Fault):
    """Connection that closes before any response; `FaultyServer.down` refuses connections instead."""

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:  # noqa: ARG002 - the base's signature
        connection.reset()


@dataclass(frozen=True)
class Hang(Fault):
    """No response until the client gives up."""

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:  # noqa: ARG002 - the base's signature
        await connection.wait_closed()
        connection.close()


@dataclass(frozen=True)
class Drip(Fault):
    """Complete response in pieces of `piece` bytes, `pause` seconds apart."""

    piece: int = 1024
    pause: float = 0.01

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:
        final = await send_head(connection, request, answer)
        for place in range(0, len(final.body), self.piece):
            await connection.write(final.body[place : place + self.piece])
            await asyncio.sleep(self.pause)


@dataclass(frozen=True)
class Reset(Fault):
    """Connection reset after `after` bytes of the body; the client may receive fewer."""

    after: int

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:
        final = await send_head(connection, request, answer)
        await connection.write(final.body[: self.after])
        connection.reset()


@dataclass(frozen=True)
class Truncate(Fault):
    """Clean end of the connection after exactly `after` bytes of the body, before the Content-Length is reached."""

    after: int

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:
        final = await send_head(connection, request, answer)
        await connection.write(final.body[: self.after])
        connection.close()


@dataclass(frozen=True)
class WrongLength(Fault):
    """Correct body with a Content-Length of `stated`."""

    stated: int

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:
        await connection.send(request, answer, length=self.stated)


@dataclass(frozen=True)
class Chunked(Fault):
    """Correct body in chunked coding without a Content-Length, truncated after `cut` bytes if given."""

    cut: int | None = None

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:
        final = apply_request_headers(request, answer)
        await connection.write_head(final.status, {**final.headers, "Transfer-Encoding": "chunked"})
        body = final.body[: self.cut]
        for place in range(0, len(body), CHUNK_BYTES):
            piece = body[place : place + CHUNK_BYTES]
            await connection.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if self.cut is None:
            await connection.write(b"0\r\n\r\n")
        else:
            connection.close()


@dataclass(frozen=True)
class UntilClose(Fault):
    """Correct body, or `body` with `headers`, without a length, ended by closing the connection as in HTTP/1.0."""

    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:
        if self.body is not None:
            answer = CannedResponse(body=self.body, headers=self.headers)
        final = apply_request_headers(request, answer)
        await connection.write_head(final.status, {**final.headers, "Connection": "close"})
        await connection.write(final.body)
        connection.close()


class Stall(Fault):
    """Pause that the test controls: sends the head and `after` bytes, sets `reached`, and continues after `release`.

    With ``after=None`` not even the head is sent before the release.
    """

    def __init__(self, after: int | None = None) -> None:
        self.after = after
        self.reached = asyncio.Event()
        self.release = asyncio.Event()

    async def play(self, connection: WireConnection, request: Request, answer: CannedResponse) -> None:
        if self.after is None:
            self.reached.set()
            await self.release.wait()
            await connection.send(request, answer)
            return
        final = await send_head(connection, request, answer)
        await connection.write(final.body[: self.after])
        self.reached.set()
        await self.release.wait()
        await connection.write(final.body[self.after :])


@dataclass(frozen=True)
class Corrupt(Fault):
    """Body with one wrong byte at position `at`; a negative position counts from the end."""

    at: int = 0

    def alter(self, answer: CannedResponse) -> CannedResponse:
        body = bytearray(answer.body)
        body[self.at] ^= 0xFF
        return replace(answer, body=bytes(body))


@dataclass(frozen=True)
class Oversize(Fault):
    """Correct body followed by `extra` bytes, which the Content-Length includes."""

    extra: int = 1

    def alter(self, answer: CannedResponse) -> CannedResponse:
        return replace(answer, body=answer.body + b"\0" * self.extra)


@dataclass(frozen=True)
class Reply(Fault):
    """Different response: 404, 429 with Retry-After, 503, a redirect, an unexpected 304, a decompression bomb …"""

    status: int = 503
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def alter(self, answer: CannedResponse) -> CannedResponse:  # noqa: ARG002 - the base's signature
        return CannedResponse(status=self.status, body=self.body, headers=self.headers)


@dataclass(frozen=True)
class Redirect(Fault):
    """Redirect to the URL `to` with the status `status`."""

    to: str
    status: int = 302

    def alter(self, answer: CannedResponse) -> CannedResponse:  # noqa: ARG002 - the base's signature
        return CannedResponse(status=self.status, headers={"Location": self.to})


@dataclass(frozen=True)
class ChangeHeaders(Fault):
    """Correct response with other headers; None removes a header."""

    changed: Mapping[str, str | None]

    def alter(self, answer: CannedResponse) -> CannedResponse:
        merged = {**answer.headers, **self.changed}
        return replace(answer, headers={name: value for name, value in merged.items() if value is not None})


@dataclass(frozen=True)
class Gzip(Fault):
    """Correct body with gzip as Content-Encoding, even if the client does not accept it."""

    def alter(self, answer: CannedResponse) -> CannedResponse:
        packed = replace(answer, body=gzip.compress(answer.body, mtime=0), ranges=False)
        return packed.with_headers(Content_Encoding="gzip")


@dataclass(frozen=True)
class NoRange(Fault):
    """Response 200 with the whole body, although the request has a Range."""

    def alter(self, answer: CannedResponse) -> CannedResponse:
        return replace(answer, ranges=False)
