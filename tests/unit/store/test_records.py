"""Records in diskcache: hostile rows, damage, limits, a failing database."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest

from assay.store.records import DiskcacheRecordStore

MEBIBYTE = 2**20
RAW, BINARY, TEXT, PICKLE = 1, 2, 3, 4  # diskcache.core.MODE_*


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Bomb:
    """Object that creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "records" / "cache.db"


@pytest.fixture
async def make(tmp_path: Path, clock: Clock) -> AsyncIterator[Callable[..., DiskcacheRecordStore]]:
    made: list[DiskcacheRecordStore] = []

    def begin(limit: int = 16 * MEBIBYTE) -> DiskcacheRecordStore:
        made.append(DiskcacheRecordStore(tmp_path / "records", limit, clock))
        return made[-1]

    yield begin
    for records in made:
        await records.close()


@pytest.fixture
async def records(make: Callable[..., DiskcacheRecordStore]) -> DiskcacheRecordStore:
    found = make()
    await found.put("other", b"good")
    return found


def sql(database: Path, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(database, timeout=10, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def insert(database: Path, **row: object) -> None:
    full = {"key": "k", "raw": 1, "store_time": 1.0, "size": 0, "mode": RAW, "filename": None, "value": b"x"} | row
    columns, marks = ", ".join(full), ", ".join("?" * len(full))
    sql(database, f"INSERT INTO Cache ({columns}) VALUES ({marks})", *full.values())  # noqa: S608 - the names come from this test


def overwrite(file: Path, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.write(content)
        opened.truncate()


def size_of(file: Path) -> int:
    return file.stat().st_size


def count(database: Path, key: str = "k") -> int:
    found: int = sql(database, "SELECT count(*) FROM Cache WHERE key = ?", key)[0][0]
    return found


async def test_a_pickle_in_the_database_is_removed_and_never_loaded(
    records: DiskcacheRecordStore, database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trace = tmp_path / "exploded"
    insert(database, mode=PICKLE, value=pickle.dumps(Bomb(trace)))
    assert await records.get("k") is None
    assert await records.get_many(["k", "other"]) == {"other": b"good"}
    assert not trace.exists()
    assert count(database) == 0
    assert "record-rejected" in caplog.text


async def test_the_same_pickle_explodes_in_diskcache_as_it_comes(records: DiskcacheRecordStore, database: Path) -> None:
    # Counterpart of the test above: shows that loading this pickle would create the file.
    trace = database.parent.parent / "exploded"
    await records.close()
    insert(database, mode=PICKLE, value=pickle.dumps(Bomb(trace)))
    with diskcache.Cache(str(database.parent)) as cache:
        cache.get("k")
    assert trace.exists()


async def test_a_pickle_in_a_file_is_not_loaded_either(
    records: DiskcacheRecordStore, database: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "exploded"
    (tmp_path / "bomb.val").write_bytes(pickle.dumps(Bomb(trace)))
    insert(database, mode=PICKLE, filename="../bomb.val", value=None)
    assert await records.get("k") is None
    assert not trace.exists()
    assert (tmp_path / "bomb.val").exists()


async def test_a_pickled_key_is_never_loaded(records: DiskcacheRecordStore, database: Path, tmp_path: Path) -> None:
    trace = tmp_path / "exploded"
    insert(database, key=pickle.dumps(Bomb(trace)), raw=0)
    await records.verify()
    await records.prune(0)
    assert not trace.exists()


@pytest.mark.parametrize("mode", [BINARY, TEXT, PICKLE, 0, 77])
async def test_a_row_that_names_a_file_neither_reads_nor_removes_it(
    records: DiskcacheRecordStore, database: Path, tmp_path: Path, mode: int
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    insert(database, mode=mode, filename="../victim", value=None)
    assert await records.get("k") is None
    assert count(database) == 0
    insert(database, mode=mode, filename="../victim", value=None)
    await records.put("k", b"mine")
    assert await records.get("k") == b"mine"
    insert(database, key="k2", mode=mode, filename="../victim", value=None)
    await records.prune(0)
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("value", ["text", 7, 7.5, None, b"", b"short", b"x" * 100])
async def test_a_row_that_we_did_not_write_is_removed(
    records: DiskcacheRecordStore, database: Path, value: object
) -> None:
    insert(database, value=value)
    assert await records.get("k") is None
    assert count(database) == 0
    assert await records.get("other") == b"good"


@pytest.mark.parametrize("position", [0, 15, 16, 23, 24, 30])
async def test_one_changed_byte_is_noticed(
    records: DiskcacheRecordStore, database: Path, position: int, caplog: pytest.LogCaptureFixture
) -> None:
    await records.put("k", b"value of k")
    ((stored,),) = sql(database, "SELECT value FROM Cache WHERE key = 'k'")
    changed = bytearray(stored)
    changed[position] ^= 1
    sql(database, "UPDATE Cache SET value = ? WHERE key = 'k'", bytes(changed))
    assert await records.get("k") is None
    assert count(database) == 0
    assert "record-corrupt" in caplog.text


async def test_a_value_under_another_key_is_noticed(records: DiskcacheRecordStore, database: Path) -> None:
    await records.put("k", b"approved")
    sql(database, "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = 'k') WHERE key = 'other'")
    assert await records.get_many(["k", "other"]) == {"k": b"approved"}


async def test_settings_in_the_database_are_not_obeyed(
    make: Callable[..., DiskcacheRecordStore], records: DiskcacheRecordStore, database: Path
) -> None:
    await records.close()
    for key, value in (
        ("sqlite_user_version", 77),
        ("disk_min_file_size", -1),
        ("size", 10**18),
        ("sqlite_synchronous = OFF; --", 0),
    ):
        sql(database, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, value)
    sql(database, "UPDATE Settings SET value = 'none' WHERE key = 'eviction_policy'")
    again = make()
    assert await again.get("other") == b"good"
    assert (await again.stats()).size < MEBIBYTE
    await again.close()
    assert sql(database, "PRAGMA user_version") == [(0,)]
    assert sql(database, "SELECT value FROM Settings WHERE key = 'eviction_policy'") == [("least-recently-stored",)]


@pytest.mark.parametrize("damage", [b"garbage" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_database_that_is_none_is_set_aside_and_begun_anew_loudly(
    make: Callable[..., DiskcacheRecordStore],
    records: DiskcacheRecordStore,
    database: Path,
    damage: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await records.close()
    overwrite(database, damage)
    again = make()
    assert await again.get("other") is None
    await again.put("k", b"new")
    assert await again.get("k") == b"new"
    assert database.with_suffix(".broken").read_bytes() == damage
    (said,) = [record for record in caplog.records if record.getMessage() == "records-corrupt"]
    assert said.name == "assay.security"


async def test_a_database_that_breaks_while_it_is_used_is_begun_anew(
    records: DiskcacheRecordStore, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await records.put_many({f"key {number}": bytes(3000) for number in range(200)})
    sql(database, "PRAGMA wal_checkpoint(TRUNCATE)")
    overwrite(database, b"\xff" * size_of(database))
    for number in range(200):
        await records.get(f"key {number}")
    await records.put("k", b"new")
    assert await records.get("k") == b"new"
    assert "records-corrupt" in caplog.text


async def test_a_locked_database_is_said_once_and_used_again_when_it_is_free(
    records: DiskcacheRecordStore, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await records.put("k", b"lost")
        await records.put("k", b"lost")
        other.execute("ROLLBACK")
    assert caplog.text.count("records-unavailable") == 1
    assert await records.get("k") is None
    await records.put("k", b"kept")
    assert await records.get("k") == b"kept"


async def test_a_directory_that_cannot_be_used_costs_records_and_is_tried_again_after_a_pause(
    make: Callable[..., DiskcacheRecordStore], tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "records").write_text("in the way")
    records = make()
    await records.put("k", b"lost")
    assert await records.get("k") is None
    assert (await records.stats()).count == 0
    assert caplog.text.count("records-unavailable") == 1
    (tmp_path / "records").unlink()
    assert await records.get("k") is None
    assert not (tmp_path / "records").exists()
    clock.now += 6
    await records.put("k", b"kept")
    assert await records.get("k") == b"kept"


async def test_the_limit_holds_and_the_least_recently_stored_go_first(
    make: Callable[..., DiskcacheRecordStore], database: Path
) -> None:
    records = make(4 * MEBIBYTE)
    for number in range(120):
        await records.put(f"key {number}", bytes([number]) * 100_000)
        assert (await records.stats()).size <= 4 * MEBIBYTE
    await records.close()
    assert size_of(database) <= 4 * MEBIBYTE
    again = make(4 * MEBIBYTE)
    kept = [number for number in range(120) if await again.get(f"key {number}") == bytes([number]) * 100_000]
    assert kept
    assert kept == list(range(kept[0], 120))


async def test_a_value_that_would_push_out_all_others_is_not_kept(
    make: Callable[..., DiskcacheRecordStore], caplog: pytest.LogCaptureFixture
) -> None:
    records = make(4 * MEBIBYTE)
    await records.put("small", b"value")
    await records.put_many({"large": bytes(MEBIBYTE + 1), "also small": b"value"})
    assert await records.get_many(["small", "large", "also small"]) == {"small": b"value", "also small": b"value"}
    assert "record-too-large" in caplog.text
    await records.put("fits", bytes(MEBIBYTE))
    assert await records.get("fits") == bytes(MEBIBYTE)


async def test_reading_counts_as_storing_at_most_hourly(
    make: Callable[..., DiskcacheRecordStore], database: Path, clock: Clock
) -> None:
    records = make()
    await records.put("k", b"value")
    stored = sql(database, "SELECT store_time, value FROM Cache WHERE key = 'k'")
    clock.now += 3600
    assert await records.get("k") == b"value"
    assert sql(database, "SELECT store_time, value FROM Cache WHERE key = 'k'") == stored
    clock.now += 1
    assert await records.get("k") == b"value"
    assert sql(database, "SELECT store_time, value FROM Cache WHERE key = 'k'") != stored
    assert await records.get("k") == b"value"


async def test_verification_reads_all_and_removes_the_broken(records: DiskcacheRecordStore, database: Path) -> None:
    await records.put_many({f"key {number}": b"value" for number in range(250)})
    sql(database, "UPDATE Cache SET value = X'00' WHERE key IN ('key 7', 'key 200')")
    steps: list[tuple[int, int]] = []
    assert await records.verify(lambda done, of: steps.append((done, of))) == 2
    assert steps == [(100, 251), (200, 251), (251, 251)]
    assert await records.verify() == 0
    assert (await records.stats()).count == 249


async def test_pruning_forgets_the_least_recently_stored(make: Callable[..., DiskcacheRecordStore]) -> None:
    records = make()
    for number in range(40):
        await records.put(f"key {number}", bytes(100_000))
    forgotten = await records.prune(2 * MEBIBYTE)
    usage = await records.stats()
    assert forgotten == 40 - usage.count
    assert usage.size <= 2 * MEBIBYTE
    assert usage.limit == 16 * MEBIBYTE
    assert await records.get("key 39") is not None
    assert await records.get("key 0") is None


async def test_only_the_owner_may_read_the_database(records: DiskcacheRecordStore, database: Path) -> None:
    await records.put("k", b"value")
    assert {path.stat().st_mode & 0o777 for path in database.parent.iterdir()} == {0o600}


async def test_what_replaces_a_hostile_row_leaves_its_file_alone(
    make: Callable[..., DiskcacheRecordStore], database: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"of others")
    records = make()
    await records.put("a", b"1")
    await records.close()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE Cache SET filename = ?, mode = ?, size = 9, value = NULL", (str(precious), BINARY))
    records = make()
    await records.put("a", b"2")
    assert await records.get("a") == b"2"
    assert precious.read_bytes() == b"of others"
    assert (await records.stats()).count == 1
