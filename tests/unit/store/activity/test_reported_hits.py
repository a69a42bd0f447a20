"""Reported hits: they outlive the process, and the oldest ones are removed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from packaging.utils import NormalizedName

from assay.store.activity.database import ActivityDatabase
from assay.store.activity.reported_hits import ReportedHitRecord
from tests.world.proxy.running_proxy import ManualClock

HITS = [(f"MAL-{number}", NormalizedName("foo")) for number in range(5)]


async def test_they_outlive_the_process(database: ActivityDatabase, database_path: Path, clock: ManualClock) -> None:
    await ReportedHitRecord(database).add(HITS[:2])
    await database.close()
    again = ActivityDatabase(database_path, clock)
    assert await ReportedHitRecord(again).select_new(HITS) == HITS[2:]
    await again.close()


async def test_the_oldest_are_removed(database: ActivityDatabase) -> None:
    record = ReportedHitRecord(database, max_hits=2)
    for hit in HITS:
        await record.add([hit])
    assert await ReportedHitRecord(database).select_new(HITS) == HITS[:3]


async def test_without_the_disk_memory_counts(database: ActivityDatabase, database_path: Path) -> None:
    await asyncio.to_thread(database_path.mkdir, parents=True)
    record = ReportedHitRecord(database)
    assert await record.select_new(HITS) == HITS
    await record.add(HITS[:2])
    assert await record.select_new(HITS) == HITS[2:]
