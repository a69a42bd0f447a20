"""A small HTTP/1.1 server whose every byte on the wire can be wrong on purpose. Loopback only.

On bare asyncio streams and not on aiohttp, which would put most of these faults right again, and so that a mistake of
the library that Assay is built on does not hide on both sides.

A `Fault` stands between the right `CannedResponse` and the connection. Those that only change the answer override
`alter`; those that misbehave on the wire override `play`. Positions are counted in the whole body for `Corrupt` and in
what is sent (after a Range) for `Reset`, `Truncate` and `Stall`.
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
    """One listening port on 127.0.0.1; `respond` gives the right answers, `faults` the wrong ones."""

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

    def inject_fault(self, path: str, fault: Fault, times: int | None, when: Callable[[Request], bool] | None) -> None:
        self._armed.setdefault(path, []).append(_ArmedFault(fault, times, when))

    def clear_faults(self, path: str | None) -> None:
        if path is None:
            self._armed.clear()
        else:
            self._armed.pop(path, None)

    async def wait_until(self, true: Callable[[], bool]) -> None:
        """Until `true()` is; it is asked after every request that arrives and every answer that ends."""
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
