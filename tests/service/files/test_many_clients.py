"""Test of many clients of one cold file: one upstream request, correct bytes, and bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import aiohttp
import pytest

from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.serve_process import run_serve_process

MEGABYTE = 10**6


@pytest.mark.parametrize(
    ("clients", "size"),
    [pytest.param(50, 16 * MEGABYTE, id="short"), pytest.param(50, 100 * MEGABYTE, id="long", marks=pytest.mark.long)],
)
async def test_memory_stays_flat_while_many_clients_take_one_cold_file(tmp_path: Path, clients: int, size: int) -> None:
    async with Index() as index, run_serve_process(index, tmp_path) as proxy:
        small = index.add(wheel("small", "1.0"))
        listed = index.add(wheel("big", "1.0", padding=size))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), read_bufsize=MEGABYTE) as session:

            async def digest(path: str) -> str:
                async with session.get(f"{proxy.origin}/files/{index.files_host}{path}") as response:
                    assert response.status == 200
                    hashed = hashlib.sha256()
                    async for chunk in response.content.iter_any():
                        hashed.update(chunk)
                    return hashed.hexdigest()

            assert await digest(small.path) == small.built.sha256
            before = proxy.read_memory("VmRSS")
            digests = await asyncio.gather(*(digest(listed.path) for _ in range(clients)))
            grown = proxy.read_memory("VmHWM") - before
        assert set(digests) == {listed.built.sha256}
        assert index.count(listed.path) == 1
        assert grown < 64 * MEGABYTE
        print(f"{clients} clients of {size // MEGABYTE} MB: memory grew by {grown / MEGABYTE:.1f} MB")
