"""Attackers with access to the records, to object storage or to a replica's address: no replica serves their bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from obstore.store import S3Store

from tests.scale.engines import SharedEngines
from tests.scale.published import ATTESTED_POLICY, Publisher
from tests.scale.replicas import ClusterSettings, Replica, run_cluster
from tests.scale.waiting import check_file, eventually
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.sigstore.private_sigstore import PrivateSigstore

pytestmark = pytest.mark.scale

SETTINGS = ClusterSettings(policy=ATTESTED_POLICY)
FORGERIES = {
    "flipped byte": "UPDATE assay.records SET value = set_byte(value, length(value) / 2, get_byte(value, 0) # 1)",
    "cut": "UPDATE assay.records SET value = substr(value, 1, length(value) - 1)",
    "empty": "UPDATE assay.records SET value = ''",
    "huge": "UPDATE assay.records SET value = decode(repeat('00', 5000000), 'hex')",
    # Each record gets the value of another record, which is sealed by the right key.
    "swapped": """
        WITH numbered AS (
            SELECT key, value, row_number() OVER (ORDER BY key) AS n, count(*) OVER () AS many FROM assay.records
        )
        UPDATE assay.records SET value = other.value
        FROM numbered mine JOIN numbered other ON other.n = mine.n % mine.many + 1 WHERE records.key = mine.key
    """,
}


async def check_verdicts(replica: Replica, good: ListedFile, bad: ListedFile) -> None:
    """Check that an attested file is served, and that a file without attestations is withheld."""
    assert await replica.fetch_listed("good") == {good.built.filename}
    assert await replica.fetch_withheld("bad") == {bad.built.filename: ["unattested"]}
    answer = await replica.get(replica.files_path(good))
    assert (answer.status, answer.body) == (200, good.built.content)
    assert (await replica.get(replica.files_path(bad))).status == 403


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forged_records_are_fetched_and_verified_again(
    tmp_path: Path, shared: SharedEngines, forgery: str
) -> None:
    sigstore = PrivateSigstore()
    settings = ClusterSettings(policy=ATTESTED_POLICY, replicas=1)
    async with Index() as index, run_cluster(index, tmp_path, shared, sigstore=sigstore, settings=settings) as cluster:
        publisher = Publisher(index, sigstore)
        good, bad = publisher.publish(wheel("good")), publisher.publish(wheel("bad"), attested=False)
        (replica,) = cluster.replicas
        await check_verdicts(replica, good, bad)

        async def has_records() -> None:
            assert int(shared.sql("SELECT count(*) FROM assay.records")) >= 4

        await eventually(has_records)
        await replica.kill()
        shared.sql(FORGERIES[forgery])
        index.reset_log()
        await cluster.spare.start()
        await eventually(check_verdicts, cluster.spare, good, bad)
        assert await cluster.spare.read_metric("assay_verified_documents_total") >= 1
        assert index.count(index.page_path("good")) == 1


async def test_genuine_records_are_used_by_another_replica(tmp_path: Path, shared: SharedEngines) -> None:
    sigstore = PrivateSigstore()
    async with Index() as index, run_cluster(index, tmp_path, shared, sigstore=sigstore, settings=SETTINGS) as cluster:
        publisher = Publisher(index, sigstore)
        good, bad = publisher.publish(wheel("good")), publisher.publish(wheel("bad"), attested=False)
        await check_verdicts(cluster.replicas[0], good, bad)
        await shared.wait_until_kept([good])
        index.reset_log()
        await cluster.spare.start()
        await check_verdicts(cluster.spare, good, bad)
        assert [request.path for request in index.requests] == []


async def check_object(objects: S3Store, path: str, content: bytes) -> None:
    try:
        found = await objects.get_async(path)
    except FileNotFoundError as error:
        raise AssertionError(path) from error
    assert bytes(await found.bytes_async()) == content


@pytest.mark.parametrize("change", ["other bytes", "shorter", "longer", "empty", "gone"])
async def test_a_changed_object_is_replaced_by_the_file_of_the_index(
    tmp_path: Path, shared: SharedEngines, change: str
) -> None:
    settings = ClusterSettings(replicas=1)
    async with Index() as index, run_cluster(index, tmp_path, shared, settings=settings) as cluster:
        listed = index.add(wheel("foo", "1.0", padding=300_000))
        content = listed.built.content
        (replica,) = cluster.replicas
        await check_file(replica, listed)
        await shared.wait_until_kept([listed])
        objects, path = shared.open_objects(), shared.get_object_path(listed.built.sha256)
        changed = {
            "other bytes": content[:-1] + b"!",
            "shorter": content[:-1],
            "longer": content + b"!",
            "empty": b"",
        }
        await objects.put_async(path, changed.get(change, b""))
        if change == "gone":
            await objects.delete_async(path)
        await cluster.spare.start()
        # The first response may end early: its last bytes are withheld, because the digest is wrong.
        await eventually(check_file, cluster.spare, listed)
        assert index.count(listed.path) == 2
        if change == "other bytes":
            assert [event["level"] for event in cluster.spare.list_events("object-corrupt")] == ["security"]

        await eventually(check_object, objects, path, content)
        index.reset_log()
        await cluster.spare.kill()
        cluster.spare.wipe()
        await cluster.spare.start()
        await check_file(cluster.spare, listed)
        assert index.count(listed.path) == 0
