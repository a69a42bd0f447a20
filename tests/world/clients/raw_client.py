"""Connections that a test writes to byte by byte, from an address of its choice."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from tests.world.proxy.running_proxy import RunningProxy

TIMEOUT_SECONDS = 10
END_OF_HEAD = b"\r\n\r\n"


def encode_get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers)).encode() + END_OF_HEAD


class RawClient:
    """One connection from an address of the test's choice (all of 127.0.0.0/8 is this machine)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and head; 0 for a connection that is cut."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.writer.write(encode_get(path))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                head = await self.reader.readuntil(END_OF_HEAD)
                length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
                await self.reader.readexactly(int(length.split(b":")[1]))
                return int(head.split(b" ")[1]), head
        return 0, b""

    async def is_closed(self) -> bool:
        """Whether the other side closed it; to be asked where nothing more is to be read."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


class RawClients:
    """Connections, closed at the end."""

    def __init__(self, proxy: RunningProxy) -> None:
        self._address = urlsplit(proxy.origin)
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, source: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> RawClient:
        reader, writer = await asyncio.open_connection(
            self._address.hostname, self._address.port, local_addr=(source, 0), ssl=context
        )
        self._writers.append(writer)
        return RawClient(reader, writer)

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


@contextlib.asynccontextmanager
async def open_clients(proxy: RunningProxy) -> AsyncIterator[RawClients]:
    clients = RawClients(proxy)
    try:
        yield clients
    finally:
        await clients.close()
