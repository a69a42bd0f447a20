"""Mixed load of real pip and uv with injected faults, for ten seconds, or for ``SOAK_SECONDS`` with ``make soak``.

No byte is wrong, no request hangs, and memory and file descriptors do not grow.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import aiohttp
import pytest

from tests.world.clients.installers import run_client
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import Corrupt, Fault, Refuse, Reply, Reset, Truncate
from tests.world.proxy.serve_process import ServeSession, files_path, run_serve_session

FAULTS: list[Callable[[Random], Fault]] = [
    lambda random: Reset(after=random.randrange(200_000)),
    lambda random: Truncate(after=random.randrange(200_000)),
    lambda _: Corrupt(-1),
    lambda _: Reply(503),
    lambda _: Reply(429, headers={"Retry-After": "1"}),
    lambda _: Refuse(),
]


def resources(process: int) -> tuple[int, int]:
    """Return the resident memory in bytes and the number of open file descriptors."""
    status = Path(f"/proc/{process}/status").read_text("ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024, len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208 - names of descriptors, not paths


async def reading(proxy: ServeSession, listed: list[ListedFile], random: Random, over: asyncio.Event) -> int:
    """Read files until `over` is set, at least one completely; check and count the complete ones."""
    whole = 0
    while not (over.is_set() and whole):
        each = random.choice(listed)
        try:
            async with asyncio.timeout(60):
                status, body = await proxy.get(files_path(each))
        except (aiohttp.ClientError, ConnectionError):
            continue
        assert status in {200, 424, 502, 503}
        if status == 200:
            assert body == each.built.content
            whole += 1
    return whole


async def installing(tool: str, proxy: ServeSession, home: Path, random: Random, over: asyncio.Event) -> int:
    """Run an installer with an empty cache until `over` is set, at least until it succeeds; count the successes."""
    await asyncio.to_thread(home.mkdir)
    pip = (sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-deps")
    uv = (str(Path(sys.executable).parent / "uv"), "pip", "install", "--no-cache", "--no-deps")
    good = 0
    while not (over.is_set() and good):
        target = home / "site"
        await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
        index = ("--index-url", f"{proxy.origin}/simple/", "--target", str(target))
        outcome = await run_client(*(pip if tool == "pip" else uv), *index, f"p{random.randrange(5)}", home=home)
        good += outcome.status == 0
    return good


def spoil(index: Index, listed: list[ListedFile], random: Random) -> None:
    each = random.choice(listed)
    index.inject_fault(each.path, random.choice(FAULTS)(random), times=1)
    index.inject_fault(f"/simple/{each.built.project}/", Reply(503), times=1)


async def soak(directory: Path, seconds: float, seed: int) -> None:
    random = Random(seed)
    async with Index() as index:
        listed = [index.add(wheel(f"p{n % 5}", f"{n}.0", padding=random.randrange(500_000))) for n in range(200)]
        async with run_serve_session(
            index, directory, freshness="1 second", blobs="20 MiB", deadline=seconds + 120
        ) as proxy:
            over = asyncio.Event()
            clients = [reading(proxy, listed, Random(n), over) for n in range(3)]
            clients += [installing(tool, proxy, directory / tool, Random(9), over) for tool in ("pip", "uv")]
            running = [asyncio.create_task(client) for client in clients]
            samples = []
            for _ in range(round(seconds * 2)):
                spoil(index, listed, random)
                await asyncio.sleep(0.5)
                samples.append(resources(proxy.process.pid))
                assert proxy.process.returncode is None
            over.set()
            counts = await asyncio.gather(*running)
            assert all(counts), "every client succeeded at least once"
    half = len(samples) // 2
    memory, descriptors = zip(*samples, strict=True)
    assert max(memory[half:]) < max(memory[:half]) * 1.25 + 16 * 2**20
    assert max(descriptors[half:]) < max(descriptors[:half]) + 40


@pytest.mark.long
async def test_ten_seconds_of_everything(tmp_path: Path) -> None:
    await soak(tmp_path, seconds=10, seed=1)


@pytest.mark.long
@pytest.mark.skipif("SOAK_SECONDS" not in os.environ, reason="`make soak` sets SOAK_SECONDS")
async def test_as_long_as_wanted(tmp_path: Path) -> None:
    await soak(tmp_path, seconds=float(os.environ["SOAK_SECONDS"]), seed=2)
