"""kill -9 of the real proxy under load: after each restart, all bytes are right, and no finished file is lost."""

from __future__ import annotations

import asyncio
import contextlib
from hashlib import sha256
from pathlib import Path
from random import Random

import aiohttp
import pytest

from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import Reply, Reset
from tests.world.proxy.serve_process import ServeSession, files_path, run_serve_session


def finished(directory: Path) -> dict[str, int]:
    """Return size by digest of each blob; check that its bytes are right."""
    found = {}
    for path in (directory / "storage" / "blobs").glob("??/*.*"):
        digest, _, size = path.name.partition(".")
        content = path.read_bytes()
        assert (sha256(content).hexdigest(), len(content)) == (digest, int(size)), path
        found[digest] = int(size)
    return found


async def ask(proxy: ServeSession, listed: ListedFile) -> bool:
    """Request a file and return whether its response was complete; check the bytes."""
    try:
        status, body = await proxy.get(files_path(listed))
    except (aiohttp.ClientError, ConnectionError):
        return False
    assert status in {200, 424, 502, 503}
    assert status != 200 or body == listed.built.content
    return status == 200


async def round_of(index: Index, directory: Path, listed: list[ListedFile], random: Random) -> set[str]:
    """Put load on a proxy, kill it at a random moment, and return the digests of the finished files."""
    async with run_serve_session(index, directory) as proxy:

        async def client(seed: int) -> None:
            own = Random(seed)
            while proxy.process.returncode is None:
                await ask(proxy, own.choice(listed))
                with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                    await proxy.get(f"/simple/{own.choice(listed).built.project}/")

        clients = [asyncio.create_task(client(random.randrange(10**9))) for _ in range(6)]
        await asyncio.sleep(random.uniform(0.0, 1.0))  # a random moment for the kill
        proxy.process.kill()
        await proxy.ended()
        await asyncio.gather(*clients)
    return set(finished(directory))


async def crash(directory: Path, rounds: int, seed: int) -> None:
    random = Random(seed)
    async with Index() as index:
        listed = [index.add(wheel(f"p{n % 7}", f"{n}.0", padding=random.randrange(1_500_000))) for n in range(80)]
        for each in random.sample(listed, 20):
            index.inject_fault(each.path, Reset(after=random.randrange(each.built.size)), times=2)
            index.inject_fault(each.path, Reply(503), times=1)
        kept: set[str] = set()
        for number in range(rounds):
            now = await round_of(index, directory, listed, random)
            assert kept <= now, f"round {number}: a finished blob is lost"
            kept = now
        async with run_serve_session(index, directory) as proxy:
            index.clear_faults()
            index.reset_log()
            for each in listed:
                assert await ask(proxy, each)
            again = {each.built.sha256 for each in listed if index.count(each.path)}
            assert not again & kept, "what was finished is not fetched again"
        assert kept


async def test_a_few_kills_under_load(tmp_path: Path) -> None:
    await crash(tmp_path, rounds=3, seed=20261121)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_hundreds_of_kills_under_load(tmp_path: Path, seed: int) -> None:
    await crash(tmp_path, rounds=50, seed=seed)
