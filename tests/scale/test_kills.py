"""kill -9 of replicas, PostgreSQL and object storage under load, while the index swaps and withdraws files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.scale.engines import SharedEngines
from tests.scale.kills import FickleIndex, Storm, Victim, list_unexcused_fetches
from tests.scale.observations import Client, Observations
from tests.scale.replicas import LOCAL, Cluster, ClusterSettings, ReplicaStorage, run_cluster
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile

pytestmark = pytest.mark.scale

CLIENTS = 6
FILES = 60
PROJECTS = [f"p{number}" for number in range(7)]
SETTINGS = ClusterSettings(freshness="1 second")


def add_files(index: Index, random: Random, count: int = FILES) -> list[ListedFile]:
    return [
        index.add(wheel(PROJECTS[number % 7], f"{number}.0", padding=random.randrange(700_000)))
        for number in range(count)
    ]


async def rage(
    index: Index, cluster: Cluster, storm: Storm, fickle: FickleIndex | None, seen: Observations, *, kills: int
) -> None:
    """Kill victims while clients request pages and files by nginx and from each replica."""
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            client = Client(seen, [cluster, *cluster.replicas], PROJECTS, seed=storm.random.randrange(10**9) + number)
            tasks.create_task(client.run(over))
        if fickle is not None:
            tasks.create_task(fickle.run(over))
        await storm.rage(kills)
        over.set()
    await index.wait_until_idle()


def list_replicas(cluster: Cluster) -> list[Victim]:
    return [Victim.from_replica(f"replica {n}", replica) for n, replica in enumerate(cluster.replicas, start=1)]


async def survive(directory: Path, shared: SharedEngines, *, kills: int, seed: int) -> None:
    random, seen = Random(seed), Observations()
    async with Index() as index:
        listed = add_files(index, random)
        async with run_cluster(index, directory, shared, settings=SETTINGS) as cluster:
            fickle = FickleIndex(index, listed, random)
            storm = Storm([*list_replicas(cluster), *shared.list_victims()], random)
            await rage(index, cluster, storm, fickle, seen, kills=kills)
            print(f"{seen}; killed {dict(storm.counts)}; {fickle.swaps} swaps, {fickle.withdrawals} withdrawals")
            assert seen.wrong == []
            assert seen.hangs == []
            assert seen.list_conflicts(shared.read_first_digests()) == []
            assert list_unexcused_fetches(index, storm, replicas=3) == []
            assert seen.whole_files > kills
            # Afterwards, the replicas agree with each other, and each file that the ledger permits is served.
            fickle.settle()
            await asyncio.sleep(1.1)  # the freshness of a page: there is no event for its end
            await check_agreement(cluster, seen)
        print(f"{seen}")


async def check_agreement(cluster: Cluster, seen: Observations) -> None:
    """Check that all replicas list the same files, most of the index's, and serve each of them."""
    count = 0
    for project in PROJECTS:
        pages = [await replica.fetch_page(project) for replica in cluster.replicas]
        entries = [seen.observe_page(page) for page in pages]
        assert entries[0] == entries[1] == entries[2]
        count += len(entries[0])
        for entry in entries[0]:
            for replica in cluster.replicas:
                answer = await replica.get(entry["url"].removeprefix("../.."))
                assert answer.status == 200, (answer.status, answer.reason)
                seen.observe_file(entry["filename"], entry["hashes"]["sha256"], answer)
    assert seen.wrong == []
    assert count > FILES // 2


async def test_fifty_kills_under_load(tmp_path: Path, shared: SharedEngines) -> None:
    await survive(tmp_path, shared, kills=50, seed=20261130)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_200_kills_under_load(tmp_path: Path, shared: SharedEngines, seed: int) -> None:
    await survive(tmp_path, shared, kills=200, seed=seed)


async def run_without_sharing(directory: Path, *, swaps: bool, storage: ReplicaStorage = LOCAL) -> Observations:
    random, seen = Random(5), Observations()
    async with Index() as index:
        listed = add_files(index, random)
        async with run_cluster(index, directory, storage, settings=SETTINGS) as cluster:
            fickle = FickleIndex(index, listed, random) if swaps else None
            await rage(index, cluster, Storm(list_replicas(cluster), random), fickle, seen, kills=6)
    print(seen)
    return seen


async def test_observations_find_that_replicas_that_share_nothing_disagree_about_swapped_files(tmp_path: Path) -> None:
    seen = await run_without_sharing(tmp_path, swaps=True)
    assert seen.wrong, "each replica has its own first digests"
    assert seen.hangs == []


async def test_observations_find_nothing_while_the_index_keeps_its_files(tmp_path: Path) -> None:
    seen = await run_without_sharing(tmp_path, swaps=False)
    assert (seen.wrong, seen.hangs) == ([], [])
    assert seen.whole_files > 20
    assert seen.broken, "of responses of killed replicas"
