"""A storage directory and a store opened on it: fixtures of the tests that use and break one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from assay.ports import HistoryChanges
from assay.store.directory import StorageDirectory
from assay.store.settings import StorageSettings
from tests.contract.blobs_contract import publish

PROJECT = canonicalize_name("a")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others, or mount")


@pytest.fixture
def settings(tmp_path: Path) -> StorageSettings:
    return StorageSettings(directory=tmp_path / "storage", blobs=2**20, records=2**20)


@pytest.fixture
async def store(settings: StorageSettings) -> AsyncIterator[StorageDirectory]:
    opened = await StorageDirectory.open(settings)
    yield opened
    await opened.close()


async def use(store: StorageDirectory) -> None:
    await publish(store.blobs, b"abc")
    await store.records.put("key", b"value")
    await store.ledger.record("pypi", PROJECT, HistoryChanges(serial=1))
