"""Records are the same whether diskcache's private names and tables have changed or not."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from diskcache.core import MODE_RAW

from assay.store import diskcache_private
from assay.store import records as records_module
from assay.store.records import DiskcacheRecordStore

EVENT = "private-api-changed"
OTHER_TABLE = diskcache_private._UPSERT_ROW.replace("INTO Cache", "INTO Entries")
OTHER_COLUMN = diskcache_private._UPSERT_ROW.replace("value)", "content)")
OTHER_ROW = diskcache_private._UPSERT_ROW.replace("VALUES (?, 1,", "VALUES (? || 'x', 1,")


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[[], DiskcacheRecordStore]]:
    made: list[DiskcacheRecordStore] = []

    def begin() -> DiskcacheRecordStore:
        made.append(DiskcacheRecordStore(tmp_path / "records", 2**20))
        return made[-1]

    yield begin
    for records in made:
        await records.close()


@pytest.fixture(params=["as read", "no connection", "another table", "another column", "another row"])
def change(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Change one detail of diskcache that the record store relies on, and return the name of the change."""

    def write_nowhere(cache: Any, rows: object) -> None:
        cache._connection.executemany("", rows)

    match request.param:
        case "no connection":
            monkeypatch.setattr(diskcache_private, "write_rows", write_nowhere)
        case "another table":
            monkeypatch.setattr(diskcache_private, "_UPSERT_ROW", OTHER_TABLE)
        case "another column":
            monkeypatch.setattr(diskcache_private, "_UPSERT_ROW", OTHER_COLUMN)
        case "another row":
            monkeypatch.setattr(diskcache_private, "_UPSERT_ROW", OTHER_ROW)
        case _:
            pass
    return str(request.param)


async def test_records_are_kept_either_way_and_a_change_is_said_once(
    make: Callable[[], DiskcacheRecordStore], change: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = make()
    items = {f"key {number}": bytes([number]) * 1000 for number in range(20)}
    await records.put_many(items)
    await records.put_many({"key 0": b"new", "key 20": b""})
    expected = items | {"key 0": b"new", "key 20": b""}
    assert await records.get_many(list(expected)) == expected
    assert (await records.stats()).count == 21
    await records.delete("key 0")
    assert await records.verify() == 0
    await records.close()
    again = make()
    assert await again.get_many(list(expected)) == {key: expected[key] for key in expected if key != "key 0"}
    assert caplog.messages == ([] if change == "as read" else [EVENT])


async def test_settings_that_are_not_found_begin_a_new_database(
    make: Callable[[], DiskcacheRecordStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    records = make()
    await records.put("key", b"value")
    await records.close()
    monkeypatch.setattr(diskcache_private, "find_settings_change", lambda *_: "the table Settings: changed")
    again = make()
    assert await again.get("key") is None
    await again.put("key", b"other")
    assert await again.get("key") == b"other"
    assert caplog.messages == [EVENT]


def test_a_settings_table_of_another_name_or_content_is_a_change(tmp_path: Path) -> None:
    class Opened:
        size_limit = 5

        def __len__(self) -> int:
            return 0

    database = tmp_path / "cache.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        assert "no such table" in str(diskcache_private.find_settings_change(Opened(), database))
        connection.execute("CREATE TABLE Settings (key, value)")
        connection.commit()
        assert "not found" in str(diskcache_private.find_settings_change(Opened(), database))
        connection.execute("INSERT INTO Settings VALUES ('size_limit', 5), ('count', 0)")
        connection.commit()
        assert diskcache_private.find_settings_change(Opened(), database) is None


async def test_a_disk_that_is_full_at_the_self_test_is_no_change(
    make: Callable[[], DiskcacheRecordStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    records = make()
    with monkeypatch.context() as patch:
        patch.setattr(diskcache_private, "write_rows", full)
        await records.put("key", b"value")
        assert await records.get("key") is None
    assert caplog.messages == ["records-unavailable"]
    records._failed_at = None
    await records.put("key", b"value")
    assert (await records.get("key"), records._writes_rows) == (b"value", True)


def test_the_mode_of_a_row_is_the_one_that_diskcache_writes() -> None:
    assert records_module._RAW_MODE == MODE_RAW
