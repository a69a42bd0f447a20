"""Replicas over one PostgreSQL server ask an index once for a page and for each document, and hear of each other."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from assay.config import Configuration
from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.postgresql import PostgresServer
from tests.world.engines.shared_storage import make_replica_settings
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.wire_connection import CannedResponse
from tests.world.proxy.running_proxy import (
    ATTESTED_ONLY_POLICY,
    RunningProxy,
    fetch_body_or_none,
    make_configuration,
    run_test_proxy,
)
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore


@asynccontextmanager
async def run_replicas(
    server: PostgresServer, index: Index, directory: Path, sigstore: PrivateSigstore
) -> AsyncIterator[list[RunningProxy]]:
    database = await create_assay_database(server)
    async with AsyncExitStack() as stack:
        replicas = []
        for number in range(3):
            own = make_configuration(index, directory / f"replica-{number}", sigstore)
            storage = make_replica_settings(server, database, directory, name=f"replica-{number}")
            configuration: Configuration = own.model_copy(update={"storage": storage})
            replicas.append(
                await stack.enter_async_context(
                    run_test_proxy(
                        index,
                        directory / f"replica-{number}",
                        policy=ATTESTED_ONLY_POLICY,
                        configuration=configuration,
                        patience=timedelta(seconds=60),
                    )
                )
            )
        yield replicas


async def test_a_cold_project_costs_one_request_for_its_page_and_one_for_each_document(
    server: PostgresServer, tmp_path: Path
) -> None:
    sigstore, built = PrivateSigstore(seed=1), [wheel("foo", f"{number}.0") for number in range(8)]
    async with Index() as index:
        listed = [
            index.add(each, upload_time=SIGNING_TIME, provenance=sigstore.provenance(each.filename, each.sha256))
            for each in built
        ]
        async with run_replicas(server, index, tmp_path, sigstore) as replicas:
            pages = await asyncio.gather(*(each.fetch_listed("foo") for each in replicas for _ in range(4)))
            assert pages == [{each.filename for each in built}] * 12
            assert index.count(index.page_path("foo")) == 1
            assert [index.count(each.provenance_path) for each in listed] == [1] * 8
            for replica in replicas:
                replica.clock.now += timedelta(hours=1)
            for replica in replicas:
                assert await replica.fetch_listed("foo") == {each.filename for each in built}
            assert index.count(index.page_path("foo")) == 2, "the first one renews it for all"


async def test_a_wheel_that_contradicts_its_page_is_withheld_by_replicas_that_have_not_seen_it(
    server: PostgresServer, tmp_path: Path
) -> None:
    sigstore, built = PrivateSigstore(seed=1), wheel("foo", "1.0")
    lie = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\nRequires-Dist: evil\n"
    said = {"sha256": hashlib.sha256(lie).hexdigest()}
    async with Index() as index:
        listed = index.add(
            built,
            upload_time=SIGNING_TIME,
            provenance=sigstore.provenance(built.filename, built.sha256),
            entry={"core-metadata": said, "data-dist-info-metadata": said},
        )
        index.serve_fixed(listed.metadata_path, CannedResponse(body=lie))
        async with run_replicas(server, index, tmp_path, sigstore) as replicas:
            for replica in replicas:
                assert await replica.fetch_listed("foo") == {built.filename}
            assert await fetch_body_or_none(replicas[0], replicas[0].files_path(listed)) is None
            async with asyncio.timeout(60):
                for replica in replicas:
                    while await replica.fetch_listed("foo"):  # noqa: ASYNC110 - the notice arrives at any time
                        await asyncio.sleep(0.01)
                    assert await replica.fetch_withheld("foo") == {built.filename: ["metadata-mismatch"]}
        assert index.count(listed.path) == 1
