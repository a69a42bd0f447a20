"""Object storage in memory, which fails on request."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

from assay.errors import StorageError, UpstreamGoneError, UpstreamUnavailableError
from assay.ports import BodyStream, FileBody
from assay.simple.model import Sha256

_CHUNK_BYTES = 64 * 1024


class MemoryBucket:
    """Objects by key, in a dictionary that a test may change."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.is_away = False
        self.puts = 0
        """Number of objects that were written."""

    @asynccontextmanager
    async def open(self, key: str, start: int = 0) -> AsyncIterator[FileBody]:
        if self.is_away:
            raise UpstreamUnavailableError("the bucket is away")
        if key not in self.objects:
            raise UpstreamGoneError(f"no object {key}")
        content = self.objects[key]

        async def read() -> AsyncIterator[bytes]:
            for offset in range(start, len(content), _CHUNK_BYTES):
                yield content[offset : offset + _CHUNK_BYTES]

        yield BodyStream(start=start, length=len(content), chunks=read(), content_type="", url=key)

    async def read(self, key: str, max_bytes: int) -> bytes | None:
        if self.is_away:
            raise UpstreamUnavailableError("the bucket is away")
        found = self.objects.get(key)
        assert found is None or len(found) <= max_bytes
        return found

    async def put(self, key: str, body: bytes) -> bool:
        if self.is_away:
            raise StorageError("the bucket is away")
        self.objects[key] = body
        self.puts += 1
        return True

    async def put_file(self, key: str, reader: BinaryIO, sha256: Sha256) -> None:
        content = await asyncio.to_thread(reader.read)
        await asyncio.to_thread(reader.close)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StorageError("the file has other bytes")
        if self.is_away or len(self.objects.get(key, b"")) != len(content):
            await self.put(key, content)

    async def remove(self, key: str) -> None:
        if self.is_away:
            raise StorageError("the bucket is away")
        self.objects.pop(key, None)
