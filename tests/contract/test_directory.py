"""The embedded engine, a directory, keeps the contracts of the storage, its records, blobs and ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.ports import BlobStore, HostedStorage, Ledger, RecordStore, Refusals, ReportedHits, Storage, Usage
from assay.store.factory import open_storage
from assay.store.hosted.directory import HostedDirectory
from assay.store.settings import StorageSettings
from tests.contract.blobs_contract import BlobsContract
from tests.contract.hosted_contract import HostedContract
from tests.contract.ledger_contract import LedgerContract
from tests.contract.records_contract import RecordsContract
from tests.contract.refusals_contract import RefusalsContract
from tests.contract.reported_hits_contract import ReportedHitsContract
from tests.contract.storage_contract import StorageContract
from tests.contract.usage_contract import UsageContract


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    store = await open_storage(StorageSettings(directory=tmp_path / "storage"))
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


class TestHosted(HostedContract):
    @pytest.fixture
    async def hosted(self, tmp_path: Path) -> AsyncIterator[HostedStorage]:
        store = await HostedDirectory.open(tmp_path / "hosted", ["internal"])
        yield store
        await store.close()


class TestLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, storage: Storage) -> Ledger:
        return storage.ledger


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
