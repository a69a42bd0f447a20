"""Tests of connections to an index that clients share: slow downloads of one delay no page or file of another."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import make_configuration, run_test_proxy

CONNECTIONS = 4
GREEDY_REQUESTS = 20
PROMPT_SECONDS = 5.0
"""Time in seconds within which another client must be answered, even on a busy machine; a held-up one waits 10."""


@pytest.mark.parametrize("greedy_address", ["127.0.0.2", "127.0.0.1"])
async def test_slow_downloads_of_one_client_hold_up_no_other(tmp_path: Path, greedy_address: str) -> None:
    async with Index() as index:
        configuration = make_configuration(index, tmp_path / "assay", limits={"connections": CONNECTIONS})
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            slow = [index.add(wheel("slow", f"{number}.0", padding=300_000)) for number in range(GREEDY_REQUESTS)]
            ordinary = index.add(wheel("ordinary", padding=300_000))
            stalls = [index.stall(listed.path, after=1000) for listed in slow]
            connector = aiohttp.TCPConnector(local_addr=(greedy_address, 0), limit=0)
            async with aiohttp.ClientSession(connector=connector) as greedy:

                async def download(path: str) -> bytes:
                    async with greedy.get(URL(f"{proxy.origin}{path}", encoded=True)) as answer:
                        return await answer.read()

                downloads = [asyncio.create_task(download(proxy.files_path(listed))) for listed in slow]
                await asyncio.gather(*(stall.reached.wait() for stall in stalls[:1]))
                while sum(stall.reached.is_set() for stall in stalls) < CONNECTIONS:  # noqa: ASYNC110 - several events
                    await asyncio.sleep(0.01)
                started = time.monotonic()
                assert await proxy.fetch_listed("ordinary") == {ordinary.built.filename}
                if greedy_address != "127.0.0.1":
                    assert (await proxy.get(proxy.files_path(ordinary))).body == ordinary.built.content
                assert time.monotonic() - started < PROMPT_SECONDS
                assert sum(stall.reached.is_set() for stall in stalls) == CONNECTIONS, "the limit holds for one client"
                for stall in stalls:
                    stall.release.set()
                bodies = await asyncio.gather(*downloads)
            assert bodies == [listed.built.content for listed in slow]
