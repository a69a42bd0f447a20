"""Contract of every object storage. A test class of a service inherits `ObjectsContract` and gives `objects`."""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import date
from io import FileIO
from pathlib import Path

import pytest

from assay.errors import InvalidResponseError, StorageError, UpstreamGoneError
from assay.ports import Objects
from assay.simple.model import Sha256

SIZES = [0, 1, 8 * 2**20, 8 * 2**20 + 1, 20_000_001]
"""Sizes around the limit from which on a file is uploaded in parts."""

NO_DIGESTS = ["", "..", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"]


def digest(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


class WatchedReader(FileIO):
    """Reader that tells when it is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.end = asyncio.Event()

    def close(self) -> None:
        super().close()
        if hasattr(self, "end"):
            self.end.set()


def write(directory: Path, content: bytes) -> WatchedReader:
    path = directory / digest(content)
    if not path.exists():
        path.write_bytes(content)
    return WatchedReader(path)


async def keep(objects: Objects, directory: Path, content: bytes) -> Sha256:
    reader = await asyncio.to_thread(write, directory, content)
    await objects.keep(digest(content), reader)
    assert reader.closed
    return digest(content)


async def read(objects: Objects, sha256: Sha256, start: int = 0) -> bytes:
    async with objects.contents(sha256, start) as body:
        assert body.start == start
        return b"".join([chunk async for chunk in body.chunks])


class ObjectsContract:
    @pytest.fixture
    def objects(self) -> Objects:
        raise NotImplementedError

    async def test_what_was_never_kept_is_missing(self, objects: Objects) -> None:
        assert not await objects.has(digest(b"x"))
        for start in (0, 1):
            with pytest.raises(UpstreamGoneError):
                await read(objects, digest(b"x"), start)
        await objects.remove(digest(b"x"))

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_kept_file_is_there_until_it_is_removed(self, objects: Objects, tmp_path: Path, size: int) -> None:
        content = os.urandom(size)
        sha256 = await keep(objects, tmp_path, content)
        assert await objects.has(sha256)
        assert await read(objects, sha256) == content
        async with objects.contents(sha256, 0) as body:
            assert body.length == size
        await objects.remove(sha256)
        assert not await objects.has(sha256)

    @pytest.mark.parametrize("start", [1, 65536, 199_999])
    async def test_a_file_is_read_from_any_byte_on(self, objects: Objects, tmp_path: Path, start: int) -> None:
        content = os.urandom(200_000)
        assert await read(objects, await keep(objects, tmp_path, content), start) == content[start:]

    @pytest.mark.parametrize("start", [3, 4, 2**40, 2**63 - 1, 2**63, 2**64, -1])
    async def test_no_byte_past_the_end_is_read(self, objects: Objects, tmp_path: Path, start: int) -> None:
        sha256 = await keep(objects, tmp_path, b"abc")
        with pytest.raises(InvalidResponseError):
            await read(objects, sha256, start)
        assert await read(objects, sha256, 2) == b"c"

    @pytest.mark.parametrize("size", [10, 20_000_000])
    async def test_other_bytes_than_those_of_the_digest_are_not_kept(
        self, objects: Objects, tmp_path: Path, size: int
    ) -> None:
        content = os.urandom(size)
        for kept, sha256 in ((b"X" + content[1:], digest(content)), (content[:-1], digest(content))):
            reader = await asyncio.to_thread(write, tmp_path, kept)
            with pytest.raises(StorageError, match="corrupt"):
                await objects.keep(sha256, reader)
            assert reader.closed
            assert not await objects.has(sha256)
        assert await read(objects, await keep(objects, tmp_path, content)) == content

    async def test_an_object_of_another_size_is_replaced(self, objects: Objects, tmp_path: Path) -> None:
        content = b"0123456789"
        await keep(objects, tmp_path, content)
        await self.overwrite(objects, digest(content), content[:4])
        assert await read(objects, await keep(objects, tmp_path, content)) == content

    async def test_many_keep_one_file_at_once(self, objects: Objects, tmp_path: Path) -> None:
        content = os.urandom(100_000)
        (await asyncio.to_thread(write, tmp_path, content)).close()
        await asyncio.gather(*(keep(objects, tmp_path, content) for _ in range(8)))
        assert await read(objects, digest(content)) == content

    @pytest.mark.parametrize("size", [10, 20_000_000])
    async def test_the_end_of_the_caller_is_not_the_end_of_the_transfer(
        self, objects: Objects, tmp_path: Path, size: int
    ) -> None:
        content = os.urandom(size)
        reader = await asyncio.to_thread(write, tmp_path, content)
        caller = asyncio.create_task(objects.keep(digest(content), reader))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        async with asyncio.timeout(60):
            await reader.end.wait()
        assert await read(objects, digest(content)) == content

    async def test_without_a_record_of_uses_nothing_is_removed(self, objects: Objects, tmp_path: Path) -> None:
        sha256 = await keep(objects, tmp_path, b"abc")
        await objects.record_uses([sha256], date(2026, 1, 1))
        assert await objects.remove_unused(date(2100, 1, 1)) == 0
        assert await objects.has(sha256)

    @pytest.mark.parametrize("name", NO_DIGESTS)
    async def test_only_a_digest_is_a_name(self, objects: Objects, name: str) -> None:
        with pytest.raises(StorageError):
            await objects.has(Sha256(name))

    async def overwrite(self, objects: Objects, sha256: Sha256, content: bytes) -> None:
        """Replace an object's bytes behind the storage's back."""
        raise NotImplementedError
