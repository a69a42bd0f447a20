"""A small HTTP/1.1 server whose every byte on the wire can be wrong on purpose. Loopback only.

On bare asyncio streams and not on aiohttp, which would put most of these faults right again, and so that a mistake of
the library that Assay is built on does not hide on both sides.

A `Fault` stands between the right `Answer` and the connection. Those that only change the answer override `alter`;
those that misbehave on the wire override `play`. Positions are counted in the whole body for `Corrupt` and in what is
sent (after a Range) for `Reset`, `Truncate` and `Stall`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

_PIECE = 64 * 1024
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
class Answer:
    """What a well-behaved server would say; Range and conditions are applied to it afterwards."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = False
    """Whether Range is honoured."""

    def with_headers(self, **headers: str) -> Answer:
        """The same with more headers; underscores in names stand for hyphens."""
        return replace(self, headers={**self.headers, **{key.replace("_", "-"): headers[key] for key in headers}})


class Connection:
    """The wire to one client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.keep = True
        # With no buffer of our own, whoever has awaited `write` knows that the kernel has the bytes.
        writer.transport.set_write_buffer_limits(high=0)

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        reason = next((known.phrase for known in HTTPStatus if known == status), "Odd")
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        await self.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def write(self, content: bytes | memoryview) -> None:
        for place in range(0, len(content), _PIECE):
            self.writer.write(content[place : place + _PIECE])
            await self.writer.drain()

    async def send(self, request: Request, answer: Answer, *, length: int | None = None) -> None:
        """The answer as it should be; `length` is what Content-Length says instead."""
        final = _settled(request, answer)
        await self.head(final.status, {**final.headers, **_framing(final, length)})
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

    async def gone(self) -> None:
        """Until the client leaves."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(_PIECE):
                pass


def _framing(answer: Answer, stated: int | None = None) -> dict[str, str]:
    if stated is not None:
        return {"Content-Length": str(stated)}
    return {} if answer.status == HTTPStatus.NOT_MODIFIED else {"Content-Length": str(len(answer.body))}


def _settled(request: Request, answer: Answer) -> Answer:
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

    def alter(self, answer: Answer) -> Answer:
        return answer

    async def play(self, connection: Connection, request: Request, answer: Answer) -> None:
        await connection.send(request, self.alter(answer))


@dataclass(frozen=True)
class Refuse(Fault):
    """The connection breaks before any answer. (`Server.down` is a refused connection proper.)"""

    async def play(self, connection: Connection, request: Request, answer: Answer) -> None:  # noqa: ARG002 - the base's signature
        connection.reset()


@dataclass(frozen=True)
class Hang(Fault):
    """No answer, ever: until the client gives up."""

    async def play(self, connection: Connection, request: Request, answer: Answer) -> None:  # noqa: ARG002 - the base's signature
        await connection.gone()
        connection.close()


@dataclass(frozen=True)
class Drip(Fault):
    """`piece` bytes at a time, `pause` seconds apart, to the end."""

    piece: int = 1024
    pause: float = 0.01

    async def play(self, connection: Connection, request: Request, answer: Answer) -> None:
        final = await _headed(connection, request, answer)
        for place in range(0, len(final.body), self.piece):
            await connection.write(final.body[place : place + self.piece])
            await asyncio.sleep(self.pause)


@dataclass(frozen=True)
class Reset(Fault):
    """A connection reset after `after` bytes of the body (the client may see fewer)."""

    after: int

    async def play(self, connection: Connection, request: Request, answer: Answer) -> None:
        final = await _headed(connection, request, answer)
        await connection.write(final.body[: self.after])
        connection.reset()


@dataclass(frozen=True)
class Truncate(Fault):
    """A clean end after exactly `after` bytes of the body, short of the Content-Length."""

    after: int

    async def play(self, connection: Connection, request: Request, answer: Answer) -> None:
        final = await _headed(connection, request, answer)
        await connection.write(final.body[: self.after])
        connection.close()


@dataclass(frozen=True)
class Length(Fault):
    """The right body under a Content-Length of `stated`."""

    stated: int

    async def play(self, connection: Connection, request: Request, answer: Answer) -> None:
        await connection.send(request, answer, length=self.stated)


@dataclass(frozen=True)
class Chunked(Fault):
    """The right body without a Content-Length, in chunks; cut off after `cut` bytes, if given."""

    cut: int | None = None

    async def play(self, connection: Connection, request: Request, answer: Answer) -> None:
        final = _settled(request, answer)
        await connection.head(final.status, {**final.headers, "Transfer-Encoding": "chunked"})
        body = final.body[: self.cut]
        for place in range(0, len(body), _PIECE):
            piece = body[place : place + _PIECE]
            await connection.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if self.cut is None:
            await connection.write(b"0\r\n\r\n")
        else:
            connection.close()


@dataclass(frozen=True)
class UntilClose(Fault):
    """The right body without any length, ended by closing, as HTTP/1.0 does."""

    async def play(self, connection: Connection, request: Request, answer: Answer) -> None:
        final = _settled(request, answer)
        await connection.head(final.status, {**final.headers, "Connection": "close"})
        await connection.write(final.body)
        connection.close()


class Stall(Fault):
    """A hook, not a delay: sends the head and `after` bytes, sets `reached`, goes on when `release` is set.

    With ``after=None`` not even the head is sent before the release.
    """

    def __init__(self, after: int | None = None) -> None:
        self.after = after
        self.reached = asyncio.Event()
        self.release = asyncio.Event()

    async def play(self, connection: Connection, request: Request, answer: Answer) -> None:
        if self.after is None:
            self.reached.set()
            await self.release.wait()
            await connection.send(request, answer)
            return
        final = await _headed(connection, request, answer)
        await connection.write(final.body[: self.after])
        self.reached.set()
        await self.release.wait()
        await connection.write(final.body[self.after :])


async def _headed(connection: Connection, request: Request, answer: Answer) -> Answer:
    """Send the head of the right answer; what is left is its body, none for HEAD."""
    final = _settled(request, answer)
    await connection.head(final.status, {**final.headers, **_framing(final)})
    return final if request.method != "HEAD" else replace(final, body=b"")


@dataclass(frozen=True)
class Corrupt(Fault):
    """One byte of the body wrong: the one at `at`, negative from the end."""

    at: int = 0

    def alter(self, answer: Answer) -> Answer:
        body = bytearray(answer.body)
        body[self.at] ^= 0xFF
        return replace(answer, body=bytes(body))


@dataclass(frozen=True)
class Oversize(Fault):
    """`extra` bytes after the right ones, and a Content-Length that counts them."""

    extra: int = 1

    def alter(self, answer: Answer) -> Answer:
        return replace(answer, body=answer.body + b"\0" * self.extra)


@dataclass(frozen=True)
class Reply(Fault):
    """Another answer altogether: 404, 429 with Retry-After, 503, a redirect, an unasked 304, a bomb …"""

    status: int = 503
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def alter(self, answer: Answer) -> Answer:  # noqa: ARG002 - the base's signature
        return Answer(status=self.status, body=self.body, headers=self.headers)


@dataclass(frozen=True)
class Redirect(Fault):
    """To `to`, by `status`."""

    to: str
    status: int = 302

    def alter(self, answer: Answer) -> Answer:  # noqa: ARG002 - the base's signature
        return Answer(status=self.status, headers={"Location": self.to})


@dataclass(frozen=True)
class Headers(Fault):
    """The right answer with other headers; None takes one away."""

    changed: Mapping[str, str | None]

    def alter(self, answer: Answer) -> Answer:
        merged = {**answer.headers, **self.changed}
        return replace(answer, headers={name: value for name, value in merged.items() if value is not None})


@dataclass(frozen=True)
class Gzip(Fault):
    """The right body with a gzip Content-Encoding, asked for or not."""

    def alter(self, answer: Answer) -> Answer:
        packed = replace(answer, body=gzip.compress(answer.body, mtime=0), ranges=False)
        return packed.with_headers(Content_Encoding="gzip")


@dataclass(frozen=True)
class NoRange(Fault):
    """Range is ignored: 200 and everything."""

    def alter(self, answer: Answer) -> Answer:
        return replace(answer, ranges=False)


@dataclass
class _Armed:
    fault: Fault
    left: int | None
    when: Callable[[Request], bool] | None


class Server:
    """One listening port on 127.0.0.1; `respond` gives the right answers, `faults` the wrong ones."""

    def __init__(self, respond: Callable[[Request], Answer]) -> None:
        self._respond = respond
        self._armed: dict[str, list[_Armed]] = {}
        self._listening: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], Connection] = {}
        self._changed = asyncio.Condition()
        self.port = 0
        self.requests: list[Request] = []
        self.latency = 0.0
        self.active = 0
        self.peak = 0

    async def up(self) -> None:
        """Listen; after `down`, on the same port as before."""
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Close the port and reset every connection: from now on, connections are refused."""
        if self._listening is None:
            return
        self._listening.close()
        tasks = list(self._open)
        for task, connection in self._open.items():
            connection.reset()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._listening.wait_closed()
        self._listening = None

    def arm(self, path: str, fault: Fault, times: int | None, when: Callable[[Request], bool] | None) -> None:
        self._armed.setdefault(path, []).append(_Armed(fault, times, when))

    def heal(self, path: str | None) -> None:
        if path is None:
            self._armed.clear()
        else:
            self._armed.pop(path, None)

    async def until(self, true: Callable[[], bool]) -> None:
        """Until `true()` is; it is asked after every request that arrives and every answer that ends."""
        async with self._changed:
            await self._changed.wait_for(true)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = connection
        try:
            while connection.keep and (request := await self._read(reader)) is not None:
                await self._answer(connection, request)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or `down` was called: either way there is nobody to answer
        finally:
            del self._open[task]
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return None
        line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _ = line.split(" ")
        pairs = (entry.partition(":") for entry in fields)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        await reader.readexactly(int(headers.get("content-length", "0")))
        path, _, query = target.partition("?")
        return Request(method=method, path=path, query=query, headers=headers, port=self.port)

    async def _answer(self, connection: Connection, request: Request) -> None:
        self.active += 1
        self.peak = max(self.peak, self.active)
        self.requests.append(request)
        await self._tell()
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            fault = self._fault(request)
            await fault.play(connection, request, self._respond(request))
        finally:
            self.active -= 1
            await self._tell()

    def _fault(self, request: Request) -> Fault:
        candidates: list[_Armed] = [*self._armed.get(request.path, ()), *self._armed.get("*", ())]
        for armed in candidates:
            if armed.left == 0 or (armed.when is not None and not armed.when(request)):
                continue
            if armed.left is not None:
                armed.left -= 1
            return armed.fault
        return Fault()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
