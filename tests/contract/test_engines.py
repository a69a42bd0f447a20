"""Each engine, a directory and that of several replicas, keeps the contracts of the storage and of its parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.ports import BlobStore, RecordStore, Refusals, ReportedHits, Storage, Usage
from assay.store.factory import open_storage
from assay.store.settings import StorageSettings
from tests.contract.blobs_contract import BlobsContract
from tests.contract.records_contract import RecordsContract
from tests.contract.refusals_contract import RefusalsContract
from tests.contract.reported_hits_contract import ReportedHitsContract
from tests.contract.storage_contract import StorageContract
from tests.contract.usage_contract import UsageContract
from tests.world.engines.assay_database import empty_assay_database
from tests.world.engines.postgresql import PostgresServer
from tests.world.engines.shared_storage import make_replica_settings


@pytest.fixture(params=["directory", "replicas"])
def shared(request: pytest.FixtureRequest) -> tuple[PostgresServer, str] | None:
    """Server and database of the engine of several replicas; None for the engine that is a directory."""
    if request.param == "directory":
        return None
    return request.getfixturevalue("server"), request.getfixturevalue("database_name")


@pytest.fixture
async def storage(shared: tuple[PostgresServer, str] | None, tmp_path: Path) -> AsyncIterator[Storage]:
    if shared is None:
        settings = StorageSettings(directory=tmp_path / "storage")
    else:
        await empty_assay_database(*shared)
        settings = make_replica_settings(*shared, tmp_path)
    store = await open_storage(settings)
    yield store
    await store.close()


class TestStorage(StorageContract):
    @pytest.fixture
    def storage(self, storage: Storage) -> Storage:  # the module's
        return storage


class TestRecords(RecordsContract):
    @pytest.fixture
    def records(self, storage: Storage) -> RecordStore:
        return storage.records


class TestBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self, storage: Storage) -> BlobStore:
        return storage.blobs


class TestUsage(UsageContract):
    @pytest.fixture
    def usage(self, storage: Storage) -> Usage:
        return storage.usage


class TestReportedHits(ReportedHitsContract):
    @pytest.fixture
    def reported(self, storage: Storage) -> ReportedHits:
        return storage.reported_hits


class TestRefusals(RefusalsContract):
    @pytest.fixture
    def refusals(self, storage: Storage) -> Refusals:
        return storage.refusals
