"""Fixture of a blob store in a new directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.store.blobs import DiskBlobStore


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[DiskBlobStore]:
    opened = DiskBlobStore(tmp_path / "blobs", 10**9)
    await opened.scan()
    yield opened
    await opened.close()
