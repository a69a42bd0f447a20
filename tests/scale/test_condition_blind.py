"""Object storage that ignores conditions: replicas say so at their start, and share files nevertheless."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.scale.engines import SharedEngines
from tests.scale.replicas import ClusterSettings, run_cluster
from tests.scale.waiting import check_file
from tests.world.engines.object_storage import ConditionBlindServer
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index

pytestmark = pytest.mark.scale

SETTINGS = ClusterSettings(replicas=1)
WARNING = "objects-without-conditions"


async def test_a_storage_that_ignores_conditions_is_reported_and_shares_files(
    tmp_path: Path, shared: SharedEngines
) -> None:
    with ConditionBlindServer() as server:
        blind = replace(shared, endpoint=server.endpoint)
        async with Index() as index, run_cluster(index, tmp_path, blind, settings=SETTINGS) as cluster:
            listed = index.add(wheel("foo", "1.0", padding=100_000))
            (replica,) = cluster.replicas
            assert replica.list_events(WARNING)
            await check_file(replica, listed)
            await blind.wait_until_kept([listed])
            await cluster.spare.start()
            await check_file(cluster.spare, listed)
            assert index.count(listed.path) == 1


async def test_a_storage_with_conditions_is_not_reported(tmp_path: Path, shared: SharedEngines) -> None:
    async with Index() as index, run_cluster(index, tmp_path, shared, settings=SETTINGS) as cluster:
        assert cluster.list_events(WARNING) == []
