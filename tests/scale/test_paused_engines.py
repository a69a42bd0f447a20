"""PostgreSQL or object storage that hangs (SIGSTOP): replicas answer within their deadlines, and recover."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.scale.engines import SharedEngines
from tests.scale.replicas import Cluster, ClusterSettings, Replica, run_cluster
from tests.scale.waiting import eventually
from tests.world.engines.processes import EngineProcess
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile

pytestmark = pytest.mark.scale

ANSWER_SECONDS = 25
"""Limit on each response; the deadlines of the engines are `DEADLINE_SECONDS`."""
DEADLINE_SECONDS = 2
SHORT_FRESHNESS = ClusterSettings(freshness="1 second")


def impatient(shared: SharedEngines) -> SharedEngines:
    return replace(shared, deadline_seconds=DEADLINE_SECONDS)


@contextmanager
def paused(process: EngineProcess) -> Iterator[None]:
    process.pause()
    try:
        yield
    finally:
        process.resume()


async def get_status(replica: Replica, path: str) -> int:
    async with asyncio.timeout(ANSWER_SECONDS):
        return (await replica.get(path)).status


async def warm_up(index: Index, cluster: Cluster) -> tuple[ListedFile, ListedFile]:
    """Let each replica serve a page and one of its two files; return this file and the other."""
    warm, cold = index.add(wheel("hot", "1.0", padding=200_000)), index.add(wheel("hot", "2.0", padding=200_000))
    index.add(wheel("cold", "1.0"))
    for replica in cluster.replicas:
        assert await replica.fetch_listed("hot") == {warm.built.filename, cold.built.filename}
        assert (await replica.get(replica.files_path(warm))).body == warm.built.content
    return warm, cold


async def fetch_degraded(replica: Replica) -> list[str]:
    """Return the engines that a replica misses, and check that it is ready."""
    async with asyncio.timeout(ANSWER_SECONDS):
        answer = await replica.get("/readyz")
    assert answer.status == 200, "without these engines, no replica would be ready"
    degraded: list[str] = answer.json().get("degraded", [])
    return degraded


async def test_known_pages_and_files_are_served_while_postgresql_hangs(tmp_path: Path, shared: SharedEngines) -> None:
    async with Index() as index, run_cluster(index, tmp_path, impatient(shared), settings=SHORT_FRESHNESS) as cluster:
        warm, cold = await warm_up(index, cluster)
        await shared.wait_until_kept([warm])
        with paused(shared.postgres.process):
            for replica in cluster.replicas:
                # Both before and after the end of the page's freshness, which there is no event for.
                for _ in range(3):
                    assert await get_status(replica, "/simple/hot/") == 200
                    await asyncio.sleep(0.5)
                assert await get_status(replica, replica.files_path(warm)) == 200
                assert await get_status(replica, replica.files_path(cold)) == 200
                assert await get_status(replica, "/simple/cold/") == 503, "nothing is known about this project"
                assert await fetch_degraded(replica) == ["ledger"]

        async def is_well(replica: Replica) -> None:
            assert await get_status(replica, "/simple/cold/") == 200
            assert await fetch_degraded(replica) == []

        for replica in cluster.replicas:
            await eventually(is_well, replica)


async def test_a_new_digest_is_not_learned_while_postgresql_hangs(tmp_path: Path, shared: SharedEngines) -> None:
    async with Index() as index, run_cluster(index, tmp_path, impatient(shared), settings=SHORT_FRESHNESS) as cluster:
        warm, cold = await warm_up(index, cluster)
        with paused(shared.postgres.process):
            swapped = index.add(wheel("hot", "3.0"))
            index.replace(cold, wheel("hot", "2.0", padding=50))
            for replica in cluster.replicas:
                for _ in range(3):
                    async with asyncio.timeout(ANSWER_SECONDS):
                        answer = await replica.get("/simple/hot/", {"Accept": "application/vnd.pypi.simple.v1+json"})
                    assert answer.status in {200, 503}
                    if answer.status == 200:
                        listed = {entry["filename"]: entry["hashes"]["sha256"] for entry in answer.json()["files"]}
                        assert swapped.built.filename not in listed, "its first digest cannot be recorded"
                        assert cold.built.sha256 not in listed.values()
                    await asyncio.sleep(0.5)

        async def is_judged(replica: Replica) -> None:
            assert await replica.fetch_withheld("hot") == {cold.built.filename: ["digest-changed"]}
            assert await replica.fetch_listed("hot") == {warm.built.filename, swapped.built.filename}

        for replica in cluster.replicas:
            await eventually(is_judged, replica)


@pytest.mark.long
async def test_everything_is_served_while_object_storage_hangs(tmp_path: Path, shared: SharedEngines) -> None:
    async with Index() as index, run_cluster(index, tmp_path, impatient(shared)) as cluster:
        warm, cold = await warm_up(index, cluster)
        await shared.wait_until_kept([warm])
        with paused(shared.s3.process):
            for replica in cluster.replicas:
                assert await get_status(replica, "/simple/hot/") == 200
                assert await get_status(replica, replica.files_path(warm)) == 200
                assert await get_status(replica, replica.files_path(cold)) == 200, "from the index"
                assert await get_status(replica, "/simple/cold/") == 200
            assert index.count(cold.path) >= 1
            assert "objects" in {name for replica in cluster.replicas for name in await fetch_degraded(replica)}

        async def is_kept() -> None:
            # A file that could not be kept meanwhile is kept at the latest when a replica serves it again.
            for replica in cluster.replicas:
                assert await get_status(replica, replica.files_path(cold)) == 200
                assert await fetch_degraded(replica) == []

        await eventually(is_kept)
        await shared.wait_until_kept([cold])
