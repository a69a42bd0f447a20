"""A database that is restored from a backup under load: no replica takes a second digest for the first one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.scale.engines import SharedEngines
from tests.scale.observations import Client, Observations
from tests.scale.replicas import ClusterSettings, Replica, run_cluster
from tests.scale.waiting import eventually
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index

pytestmark = pytest.mark.scale

SETTINGS = ClusterSettings(freshness="1 second")


async def back_up(shared: SharedEngines, directory: Path) -> None:
    await asyncio.to_thread(shared.postgres.kill)
    await asyncio.to_thread(shared.postgres.back_up, directory)
    await asyncio.to_thread(shared.postgres.start)


async def restore(shared: SharedEngines, directory: Path) -> None:
    await asyncio.to_thread(shared.postgres.kill)
    await asyncio.to_thread(shared.postgres.restore, directory)
    await asyncio.to_thread(shared.postgres.start)


async def test_a_restored_ledger_is_noticed_and_learns_no_second_digest(tmp_path: Path, shared: SharedEngines) -> None:
    seen, over = Observations(), asyncio.Event()
    async with Index() as index, run_cluster(index, tmp_path, shared, settings=SETTINGS) as cluster:
        old, other = index.add(wheel("foo", "1.0")), index.add(wheel("bar", "1.0"))
        for replica in cluster.replicas:
            assert await replica.fetch_listed("foo") == {old.built.filename}
            assert await replica.fetch_listed("bar") == {other.built.filename}
        await back_up(shared, tmp_path / "backup")
        new = index.add(wheel("foo", "2.0"))
        first_digest = new.built.sha256

        async def lists_both(replica: Replica) -> None:
            assert await replica.fetch_listed("foo") == {old.built.filename, new.built.filename}

        for replica in cluster.replicas:
            await eventually(lists_both, replica)
        async with asyncio.TaskGroup() as tasks:
            for seed in range(4):
                client = Client(seen, [cluster, *cluster.replicas], ["foo", "bar"], seed=seed)
                tasks.create_task(client.run(over))
            await restore(shared, tmp_path / "backup")
            index.replace(new, wheel("foo", "2.0", padding=99))

            async def is_noticed() -> None:
                events = cluster.list_events("ledger-went-back")
                assert {event["level"] for event in events} == {"security"}

            await eventually(is_noticed)

            async def serves_other(replica: Replica) -> None:
                assert await replica.fetch_listed("bar") == {other.built.filename}

            for replica in cluster.replicas:
                await eventually(serves_other, replica)
            over.set()
        assert seen.wrong == []
        assert seen.digests[new.built.filename] <= {first_digest}
        assert seen.hangs == []

        # An operator confirms that the database was restored: the replicas record again what they remember.
        shared.confirm_restored()

        async def is_withheld(replica: Replica) -> None:
            assert await replica.fetch_withheld("foo") == {new.built.filename: ["digest-changed"]}
            assert await replica.fetch_listed("foo") == {old.built.filename}

        for replica in cluster.replicas:
            await eventually(is_withheld, replica)
        assert shared.read_first_digests()[new.built.filename] == first_digest
