"""The embedded engines keep the contracts of hosted files in a directory and of the ledger in SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.ports import HostedStorage, Ledger
from assay.store.factory import open_storage
from assay.store.hosted.directory import HostedDirectory
from assay.store.settings import StorageSettings
from tests.contract.hosted_contract import HostedContract
from tests.contract.ledger_contract import LedgerContract


class TestHosted(HostedContract):
    @pytest.fixture
    async def hosted(self, tmp_path: Path) -> AsyncIterator[HostedStorage]:
        store = await HostedDirectory.open(tmp_path / "hosted", ["internal"])
        yield store
        await store.close()


class TestLedger(LedgerContract):
    @pytest.fixture
    async def ledger(self, tmp_path: Path) -> AsyncIterator[Ledger]:
        store = await open_storage(StorageSettings(directory=tmp_path / "storage"))
        yield store.ledger
        await store.close()
