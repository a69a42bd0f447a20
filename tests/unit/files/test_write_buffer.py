"""Tests of the write buffer: it writes in order, and after a delay even if no further chunk arrives."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import BinaryIO

import pytest

from assay.errors import DigestMismatchError, StorageError
from assay.files.write_buffer import FlushThresholds, WriteBuffer
from assay.simple.model import Sha256

SECONDS = 10
"""Seconds after which a test has hung."""


class Written:
    """`PartialBlob` in memory whose writes can be delayed and can fail."""

    move_count = 0

    def __init__(self) -> None:
        self.lots: list[bytes] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.at_once = 0
        self.fails = False

    @property
    def bytes_written(self) -> int:
        return sum(map(len, self.lots))

    async def append(self, *pieces: bytes | bytearray | memoryview) -> None:
        self.at_once += 1
        assert self.at_once == 1, "two concurrent writes could change the order"
        await self.go_on.wait()
        self.at_once -= 1
        if self.fails:
            raise StorageError("full")
        self.lots.append(b"".join(pieces))

    async def digest(self) -> Sha256:
        raise NotImplementedError

    async def open_reader(self) -> BinaryIO:
        return BytesIO(b"".join(self.lots))

    async def commit(self, expected: Sha256) -> None:
        raise DigestMismatchError(expected)

    async def discard(self) -> None:
        self.lots.clear()


class Heard:
    """Callback that keeps the last reported number of written bytes."""

    def __init__(self) -> None:
        self.much = 0
        self.more = asyncio.Event()

    def __call__(self, written: int) -> None:
        self.much = written
        self.more.set()

    async def until(self, written: int) -> None:
        async with asyncio.timeout(SECONDS):
            while self.much < written:
                self.more.clear()
                await self.more.wait()


@pytest.fixture
async def partial() -> Written:
    return Written()


async def test_what_a_stalling_index_has_sent_is_there_after_a_moment(partial: Written) -> None:
    heard = Heard()
    taking = WriteBuffer(partial, heard)
    for number in range(1, 4):
        for piece in (b"a", b"bc", b"def"):  # the first is written at once, the others are collected
            await taking.add(piece)
        await heard.until(6 * number)
    assert b"".join(partial.lots) == b"abcdef" * 3
    await taking.flush()


async def test_what_is_only_lent_is_written_before_it_may_change(partial: Written) -> None:
    taking, buffer = WriteBuffer(partial, lambda _: None), bytearray(b"abc")
    await taking.add(b"first")
    await taking.add(memoryview(buffer))
    buffer[:] = b"xyz"
    assert b"".join(partial.lots) == b"firstabc"


async def test_after_what_was_lent_the_rest_is_there_after_a_moment_too(partial: Written) -> None:
    heard = Heard()
    taking = WriteBuffer(partial, heard)
    for piece in (b"a", b"b", memoryview(b"c"), b"d", b"e"):
        await taking.add(piece)
    await heard.until(5)
    assert b"".join(partial.lots) == b"abcde"
    await taking.flush()


async def test_on_a_fast_line_a_follower_wakes_once_a_lot(partial: Written) -> None:
    taking = WriteBuffer(partial, lambda _: None, FlushThresholds(size_bytes=10, delay_seconds=SECONDS))
    for number in range(25):
        await taking.add(bytes([number]))
    await taking.flush()
    # The first is written at once, except shortly after the machine's start, where its clock begins.
    assert [len(lot) for lot in partial.lots if len(lot) > 1] in ([10, 10, 4], [10, 10, 5])
    assert b"".join(partial.lots) == bytes(range(25))


async def test_writes_that_take_longer_than_a_moment_stay_in_order(partial: Written) -> None:
    heard = Heard()
    taking = WriteBuffer(partial, heard)
    partial.go_on.clear()
    await taking.add(b"a")
    await taking.add(b"b")
    await asyncio.sleep(FlushThresholds().delay_seconds * 2)  # the timer runs while the first write is running
    assert partial.lots == []
    partial.go_on.set()
    await heard.until(2)
    await taking.flush()
    assert partial.lots == [b"a", b"b"]


async def test_a_failed_write_is_raised_and_nothing_is_written_behind_its_back(partial: Written) -> None:
    partial.fails = True
    taking = WriteBuffer(partial, lambda _: None)
    await taking.add(b"a")
    await taking.add(b"b")
    await asyncio.sleep(FlushThresholds().delay_seconds * 3)  # the timer runs, and leaves the error to the next call
    with pytest.raises(StorageError, match="full"):
        await taking.flush()
    assert partial.lots == []
