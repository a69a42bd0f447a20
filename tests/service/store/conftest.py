"""Fixtures: a storage directory, and an open store in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.store.directory import StorageDirectory
from assay.store.settings import StorageSettings


@pytest.fixture
def settings(tmp_path: Path) -> StorageSettings:
    return StorageSettings(directory=tmp_path / "storage", blobs=2**20, records=2**20)


@pytest.fixture
async def store(settings: StorageSettings) -> AsyncIterator[StorageDirectory]:
    opened = await StorageDirectory.open(settings)
    yield opened
    await opened.close()
