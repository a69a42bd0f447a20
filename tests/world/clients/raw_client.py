"""Client connections on which a test writes single bytes, from an address that the test chooses."""

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
    """Connection from an address that the test chooses in 127.0.0.0/8."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def get(self, path: str) -> tuple[int, bytes]:
        """Send a GET request; return status and head, with status 0 if the connection is cut."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.writer.write(encode_get(path))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                head = await self.reader.readuntil(END_OF_HEAD)
                length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
                await self.reader.readexactly(int(length.split(b":")[1]))
                return int(head.split(b" ")[1]), head
        return 0, b""

    async def is_closed(self) -> bool:
        """Return whether the server closed the connection; valid only if no data is left to read."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


class RawClients:
    """Set of connections that are closed at the end."""

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
