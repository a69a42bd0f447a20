"""Fixtures: a database of activity in an empty directory, and a clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.store.activity.database import ActivityDatabase
from tests.world.proxy.running_proxy import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    return tmp_path / "activity" / "activity.db"


@pytest.fixture
async def database(database_path: Path, clock: ManualClock) -> AsyncIterator[ActivityDatabase]:
    made = ActivityDatabase(database_path, clock)
    yield made
    await made.close()
