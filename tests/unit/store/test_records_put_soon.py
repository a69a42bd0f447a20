"""Records that are stored in the background: a few at a time, and before the database is closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from assay.errors import StorageError
from assay.store import records as records_module
from assay.store.records import DiskcacheRecordStore


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[[], DiskcacheRecordStore]]:
    made: list[DiskcacheRecordStore] = []

    def begin() -> DiskcacheRecordStore:
        made.append(DiskcacheRecordStore(tmp_path / "records", 2**24))
        return made[-1]

    yield begin
    for records in made:
        await records.close()


async def test_what_is_put_soon_is_kept_before_the_database_is_closed(make: Callable[[], DiskcacheRecordStore]) -> None:
    records = make()
    for number in range(20):
        await records.put_soon({f"key {number}": bytes(10_000)})
    await records.close()
    assert (await make().stats()).count == 20


async def test_who_puts_soon_waits_for_room_and_for_nothing_else(make: Callable[[], DiskcacheRecordStore]) -> None:
    records, held = make(), threading.Event()
    blocked = records._thread.submit(held.wait, 10)
    for number in range(records_module._MAX_PENDING_WRITES):
        await records.put_soon({f"key {number}": b"value"})
    late = asyncio.create_task(records.put_soon({"late": b"value"}))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not late.done()
    held.set()
    await blocked
    await late
    assert await records.get("late") == b"value"


async def test_nothing_is_put_soon_into_records_that_are_closed(make: Callable[[], DiskcacheRecordStore]) -> None:
    records = make()
    await records.close()
    for _ in range(2 * records_module._MAX_PENDING_WRITES):  # each call must release its place in the queue
        with pytest.raises(StorageError):
            await records.put_soon({"a": b"1"})
