"""The first digest of a file counts for all replicas, whichever of them saw it first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.scale.engines import SharedEngines
from tests.scale.replicas import ClusterSettings, Replica, run_cluster
from tests.scale.waiting import eventually
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index

pytestmark = pytest.mark.scale

SETTINGS = ClusterSettings(freshness="1 second")


async def test_replicas_agree_about_a_file_that_the_index_swaps(tmp_path: Path, shared: SharedEngines) -> None:
    async with Index() as index, run_cluster(index, tmp_path, shared, settings=SETTINGS) as cluster:
        listed, kept = index.add(wheel("foo", "1.0")), index.add(wheel("foo", "2.0"))
        first, *others = cluster.replicas
        assert await first.fetch_listed("foo") == {listed.built.filename, kept.built.filename}
        index.replace(listed, wheel("foo", "1.0", padding=1000))

        async def is_withheld(replica: Replica) -> None:
            assert await replica.fetch_withheld("foo") == {listed.built.filename: ["digest-changed"]}

        for replica in (*others, first):
            await eventually(is_withheld, replica)
            answer = await replica.get(replica.files_path(listed))
            assert (answer.status, [each["code"] for each in answer.json()["reasons"]]) == (403, ["digest-changed"])
            assert (await replica.get(replica.files_path(kept))).body == kept.built.content, (
                "the others are not affected"
            )


async def test_of_replicas_that_see_different_files_at_once_all_keep_one(tmp_path: Path, shared: SharedEngines) -> None:
    """Half of the answers of the index have another digest; each project is asked about by all replicas at once."""
    seen: dict[str, set[str]] = {}
    async with Index() as index, run_cluster(index, tmp_path, shared, settings=SETTINGS) as cluster:
        for number in range(20):
            listed = index.add(wheel(f"p{number}", "1.0"))
            other = wheel(f"p{number}", "1.0", padding=500)
            asked = [asyncio.create_task(replica.fetch_page(f"p{number}")) for replica in cluster.replicas]
            await index.wait_for_requests(index.page_path(f"p{number}"))
            index.replace(listed, other)
            for page in await asyncio.gather(*asked):
                digests = {entry["hashes"]["sha256"] for entry in page["files"] if "?withheld" not in entry["url"]}
                seen.setdefault(listed.built.filename, set()).update(digests)
    assert {filename: len(digests) for filename, digests in seen.items()} == dict.fromkeys(seen, 1)
    assert {filename: {digest} for filename, digest in shared.read_first_digests().items()} == seen
