"""Small HTTP/1.1 server on loopback that can send wrong bytes on purpose.

The server uses asyncio streams instead of aiohttp. aiohttp would correct most of these faults, and a mistake in it
could stay hidden if both sides of a test used it, since Assay is built on it.

A `Fault` is applied between the correct `CannedResponse` and the connection. Faults that only change the response
override `alter`, and those that misbehave on the wire override `play`. `Corrupt` counts positions in the whole body;
`Reset`, `Truncate` and `Stall` count them in the bytes that are sent, after a Range.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tests.world.index.faults import (
    ChangeHeaders,
    Chunked,
    Corrupt,
    Drip,
    Gzip,
    Hang,
    NoRange,
    Oversize,
    Redirect,
    Refuse,
    Reply,
    Reset,
    Stall,
    Truncate,
    UntilClose,
    WrongLength,
)
from tests.world.index.wire_connection import CannedResponse, Fault, Request, WireConnection

__all__ = [
    "CannedResponse",
    "ChangeHeaders",
    "Chunked",
    "Corrupt",
    "Drip",
    "Fault",
    "FaultyServer",
    "Gzip",
    "Hang",
    "NoRange",
    "Oversize",
    "Redirect",
    "Refuse",
    "Reply",
    "Request",
    "Reset",
    "Stall",
    "Truncate",
    "UntilClose",
    "WireConnection",
    "WrongLength",
]


@dataclass
class _ArmedFault:
    fault: Fault
    left: int | None
    when: Callable[[Request], bool] | None


class FaultyServer:
    """Server on one port of 127.0.0.1; `respond` returns the correct responses, and faults change them."""

    def __init__(self, respond: Callable[[Request], CannedResponse]) -> None:
        self._respond = respond
        self._armed: dict[str, list[_ArmedFault]] = {}
        self._listening: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], WireConnection] = {}
        self._changed = asyncio.Condition()
        self.port = 0
        self.requests: list[Request] = []
        self.connections = 0
        self.latency = 0.0
        self.active = 0
        self.peak = 0

    async def up(self) -> None:
        """Listen on a free port, and after `down` on the same port as before."""
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Close the port and reset every connection, so that new connections are refused."""
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

    def inject_fault(self, path: str, fault: Fault, times: int | None, when: Callable[[Request], bool] | None) -> None:
        self._armed.setdefault(path, []).append(_ArmedFault(fault, times, when))

    def clear_faults(self, path: str | None) -> None:
        if path is None:
            self._armed.clear()
        else:
            self._armed.pop(path, None)

    async def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait until `true()` returns True; it is called after each received request and each finished response."""
        async with self._changed:
            await self._changed.wait_for(true)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = WireConnection(reader, writer)
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = connection
        try:
            while connection.keep and (request := await self._read(reader)) is not None:
                await self._respond_to(connection, request)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The client left, or `down` was called, so no response is possible.
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
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path, _, query = target.partition("?")
        return Request(method=method, path=path, query=query, headers=headers, port=self.port, body=body)

    async def _respond_to(self, connection: WireConnection, request: Request) -> None:
        self.active += 1
        self.peak = max(self.peak, self.active)
        self.requests.append(request)
        await self._notify_waiters()
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            fault = self._choose_fault(request)
            await fault.play(connection, request, self._respond(request))
        finally:
            self.active -= 1
            await self._notify_waiters()

    def _choose_fault(self, request: Request) -> Fault:
        candidates: list[_ArmedFault] = [*self._armed.get(request.path, ()), *self._armed.get("*", ())]
        for armed in candidates:
            if armed.left == 0 or (armed.when is not None and not armed.when(request)):
                continue
            if armed.left is not None:
                armed.left -= 1
            return armed.fault
        return Fault()

    async def _notify_waiters(self) -> None:
        async with self._changed:
            self._changed.notify_all()
