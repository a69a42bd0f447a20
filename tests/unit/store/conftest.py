"""Fixtures: blobs with a manual clock, a ledger, each in an empty directory, and a database with Assay's tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.store.blobs import DiskBlobStore
from assay.store.ledger.ledger import SqliteLedger
from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.postgresql import PostgresServer
from tests.world.proxy.blobs import KIB, BlobsFactory, ManualUnixClock
from tests.world.proxy.ledgers import LedgerFactory


@pytest.fixture
def clock() -> ManualUnixClock:
    return ManualUnixClock()


@pytest.fixture
async def make_blobs(tmp_path: Path, clock: ManualUnixClock) -> AsyncIterator[BlobsFactory]:
    made: list[DiskBlobStore] = []

    async def begin(limit: int = 10 * KIB) -> DiskBlobStore:
        blobs = DiskBlobStore(tmp_path / "blobs", limit, clock)
        made.append(blobs)
        await blobs.scan()
        return blobs

    yield begin
    for blobs in made:
        await blobs.close()


@pytest.fixture
async def blobs(make_blobs: BlobsFactory) -> DiskBlobStore:
    return await make_blobs()


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
async def make_ledger(ledger_path: Path) -> AsyncIterator[LedgerFactory]:
    made: list[SqliteLedger] = []

    async def begin(place: Path = ledger_path, *, fresh: bool = True, max_cached_facts: int = 60_000) -> SqliteLedger:
        made.append(SqliteLedger(place, may_create=fresh, max_cached_facts=max_cached_facts))
        await made[-1].open()
        return made[-1]

    yield begin
    for ledger in made:
        await ledger.close()


@pytest.fixture
async def ledger(make_ledger: LedgerFactory) -> SqliteLedger:
    return await make_ledger()


@pytest.fixture
async def database_name(server: PostgresServer) -> str:
    return await create_assay_database(server)
