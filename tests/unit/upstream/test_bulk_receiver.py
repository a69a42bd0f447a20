"""Large bodies are received in large chunks, with the same bytes and errors as small bodies by aiohttp's parser."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from assay.errors import UpstreamUnavailableError
from assay.indexes import IndexSettings
from assay.upstream import bulk_receiver
from assay.upstream.client import UpstreamClient
from tests.unit.upstream.limited_client import settings, upstream
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import (
    CannedResponse,
    Chunked,
    Drip,
    Fault,
    Reset,
    Stall,
    Truncate,
    UntilClose,
    WrongLength,
)

LOT = 2**20
PATH = "/packages/big.bin"
BODY = random.Random(1).randbytes(9 * LOT + 12_345)
SECONDS = 10
"""Timeout of a test that hangs."""


@asynccontextmanager
async def served(
    body: bytes = BODY, fault: Fault | None = None
) -> AsyncIterator[tuple[Index, UpstreamClient, IndexSettings]]:
    async with Index() as index:
        index.serve_fixed(PATH, CannedResponse(body=body, ranges=True))
        if fault is not None:
            index.inject_fault(PATH, fault, times=1)
        chosen = settings(index)
        async with upstream(chosen) as client, asyncio.timeout(SECONDS):
            yield index, client, chosen


async def pieces(client: UpstreamClient, index: IndexSettings, start: int = 0) -> list[bytes | memoryview]:
    """Return the chunks of a file: bytes from aiohttp's parser, or copies of memoryviews received in bulk."""
    url = index.url.replace("/simple/", PATH)
    async with client.open_file(index, url, start=start) as contents:
        return [memoryview(bytes(chunk)) if isinstance(chunk, memoryview) else chunk async for chunk in contents.chunks]


def lent(chunks: list[bytes | memoryview]) -> list[int]:
    return [len(chunk) for chunk in chunks if isinstance(chunk, memoryview)]


@pytest.mark.parametrize(
    ("size", "is_long"),
    [(bulk_receiver.MIN_BULK_BYTES - 1, False), (bulk_receiver.MIN_BULK_BYTES, True), (len(BODY), True)],
)
async def test_a_long_body_comes_in_lots_and_a_short_one_as_it_came(size: int, *, is_long: bool) -> None:
    async with served(BODY[:size]) as (_, client, index):
        chunks = await pieces(client, index)
        assert b"".join(chunks) == BODY[:size]
        assert bool(lent(chunks)) is is_long
        assert max(map(len, chunks)) <= bulk_receiver._CHUNK_BYTES
        assert (
            len(lent(chunks)) <= size // LOT + SECONDS
        )  # all chunks are full except the first and those of slow moments


async def test_a_part_comes_in_lots_and_only_what_is_left_of_it_counts() -> None:
    async with served() as (_, client, index):
        chunks = await pieces(client, index, start=12_345)
        assert b"".join(chunks) == BODY[12_345:]
        assert lent(chunks)
        chunks = await pieces(client, index, start=5 * LOT)
        assert b"".join(chunks) == BODY[5 * LOT :]
        assert not lent(chunks)


@pytest.mark.parametrize("fault", [Chunked(), UntilClose()], ids=repr)
async def test_a_body_of_unknown_length_comes_as_it_came(fault: Fault) -> None:
    async with served(fault=fault) as (_, client, index):
        chunks = await pieces(client, index)
        assert b"".join(chunks) == BODY
        assert not lent(chunks)


async def test_what_is_lent_holds_until_the_next_is_asked_for() -> None:
    async with served() as (index, client, chosen):
        url = f"{index.origin}{PATH}"
        whole = bytearray()
        async with client.open_file(chosen, url) as contents:
            async for chunk in contents.chunks:
                await asyncio.sleep(0.02)  # the other buffer is filled in this time
                whole += chunk
        assert bytes(whole) == BODY


async def test_a_slow_body_is_handed_on_after_a_moment() -> None:
    stall = Stall(after=3 * LOT + 5)
    async with served(fault=stall) as (index, client, chosen):
        size = 0
        async with client.open_file(chosen, f"{index.origin}{PATH}") as contents:
            async for chunk in contents.chunks:
                size += len(chunk)
                if size == 3 * LOT + 5:  # although the buffer is not full
                    stall.release.set()
        assert size == len(BODY)


async def test_a_body_in_small_pieces_is_handed_on_in_fewer() -> None:
    async with served(fault=Drip(piece=100_000, pause=0.001)) as (_, client, index):
        chunks = await pieces(client, index)
        assert b"".join(chunks) == BODY
        assert len(chunks) < len(BODY) // 100_000


@pytest.mark.parametrize("fault", [Truncate(after=4 * LOT + 99), Truncate(after=10), Reset(after=4 * LOT)], ids=repr)
async def test_what_came_of_a_broken_body_is_handed_on_first(fault: Truncate | Reset) -> None:
    async with served(fault=fault) as (index, client, chosen):
        had = bytearray()
        with pytest.raises(UpstreamUnavailableError, match=r"ended early|Connection|Payload"):  # noqa: PT012 - the loop raises
            async with client.open_file(chosen, f"{index.origin}{PATH}") as contents:
                async for chunk in contents.chunks:
                    had += chunk
        assert bytes(had) == BODY[: len(had)]
        assert isinstance(fault, Reset) or len(had) == fault.after
        assert b"".join(await pieces(client, chosen, start=len(had))) == BODY[len(had) :]


async def test_a_body_that_stalls_is_given_up_after_the_time_limit_of_the_index() -> None:
    async with served(fault=Stall(after=2 * LOT)) as (index, client, chosen):
        size = 0
        with pytest.raises(UpstreamUnavailableError, match="timed out"):  # noqa: PT012 - the loop raises
            async with client.open_file(chosen, f"{index.origin}{PATH}") as contents:
                async for chunk in contents.chunks:
                    size += len(chunk)
        assert size == 2 * LOT
        assert b"".join(await pieces(client, chosen)) == BODY


async def test_who_takes_his_time_stalls_nothing() -> None:
    async with served() as (index, client, chosen):
        size = 0
        async with client.open_file(chosen, f"{index.origin}{PATH}") as contents:
            async for chunk in contents.chunks:
                if not size:
                    await asyncio.sleep(1.2)  # longer than the index's read timeout of 1 s
                size += len(chunk)
        assert size == len(BODY)


async def test_bytes_beyond_the_body_are_not_taken() -> None:
    async with served(BODY + b"HTTP/1.1 200 OK\r\n", WrongLength(len(BODY))) as (_, client, index):
        chunks = await pieces(client, index)
        assert lent(chunks)
        assert b"".join(chunks) == BODY


@pytest.mark.parametrize("excess", [b"", b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfake"])
async def test_a_connection_is_kept_only_if_no_byte_follows_the_body(excess: bytes) -> None:
    connections = list[asyncio.Task[None] | None]()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(head + BODY + excess)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server, asyncio.timeout(SECONDS):
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        index = IndexSettings(name="test", url=f"{origin}/simple/")
        async with upstream(index) as client:
            for _ in range(3):
                assert b"".join(await pieces(client, index)) == BODY
        await asyncio.wait([task for task in connections if task is not None])
    assert len(connections) == (3 if excess else 1)


@pytest.mark.parametrize("size", [bulk_receiver.MIN_BULK_BYTES - 1, len(BODY)])
async def test_a_connection_is_kept_after_a_body_that_was_read_to_its_end(size: int) -> None:
    async with served(BODY[:size]) as (index, client, chosen):
        for _ in range(3):
            chunks = await pieces(client, chosen)
            assert b"".join(chunks) == BODY[:size]
            assert bool(lent(chunks)) is (size == len(BODY))
        assert index.connections == 1


async def test_a_connection_is_closed_after_a_body_that_was_not_read_to_its_end() -> None:
    async with served() as (index, client, chosen):
        for _ in range(2):
            async with client.open_file(chosen, f"{index.origin}{PATH}") as contents:
                async for _chunk in contents.chunks:
                    break
        assert b"".join(await pieces(client, chosen)) == BODY
        assert index.connections == 3


async def test_who_leaves_in_the_middle_leaves_no_connection_behind() -> None:
    async with served() as (index, client, chosen):
        for _ in range(3):
            async with client.open_file(chosen, f"{index.origin}{PATH}") as contents:
                async for _chunk in contents.chunks:
                    break
        await index.wait_until_idle()  # a connection that was left open would still be written to
