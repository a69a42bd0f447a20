"""Records in PostgreSQL: forged rows are absent, keys are rotated, and an outage costs one deadline."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from assay.store.postgresql.database import Database, DatabaseSettings
from assay.store.postgresql.records import PostgresRecordStore, RecordLimits
from assay.store.sealing import Sealer
from tests.contract.records_contract import RecordsContract
from tests.world.engines.postgresql import PostgresServer
from tests.world.proxy.told import Told

KEY, NEXT_KEY = b"k" * 32, b"n" * 32


def make_store(database: Database, *keys: bytes, limits: RecordLimits | None = None) -> PostgresRecordStore:
    return PostgresRecordStore(database, Sealer(keys or (KEY,), "records"), limits=limits)


async def change(database: Database, statement: str, *arguments: object) -> None:
    async with database.connection() as connection:
        await connection.execute(statement, *arguments)


async def count(database: Database) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM records"))


class TestContract(RecordsContract):
    @pytest.fixture
    def records(self, database: Database) -> PostgresRecordStore:
        return make_store(database)


@pytest.fixture
async def sibling(server: PostgresServer, database_name: str) -> AsyncIterator[PostgresRecordStore]:
    """The store of another replica."""
    settings = DatabaseSettings(url=server.get_url(database_name, user="assay_app"), deadline_seconds=20)
    opened = Database(settings)
    await opened.open()
    yield make_store(opened)
    await opened.close()


@pytest.mark.parametrize("key", ["\ud800", "a\x00b", "x" * 100_000, ""])
async def test_a_hostile_key_is_a_key_like_any_other(
    database: Database, sibling: PostgresRecordStore, key: str
) -> None:
    await make_store(database).put_soon({key: b"value", "other": b"other"})
    assert await sibling.get_many([key, "other", key + "x"]) == {key: b"value", "other": b"other"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET value = substr(value, 42)",
        "UPDATE records SET value = ''",
        "UPDATE records SET value = value || 'x'",
        "UPDATE records SET value = set_byte(value, 20, get_byte(value, 20) # 1)",
        "UPDATE records SET value = other.value FROM records other WHERE other.key <> records.key",
    ],
)
async def test_a_row_that_another_program_wrote_is_absent_and_removed(database: Database, statement: str) -> None:
    forged, unavailable = Told("record-forged"), Told("records-unavailable")
    store = make_store(database)
    await store.put_many({"a": b"value of a", "b": b"value of b"})
    assert await store.get_many(["a", "b"]) == {"a": b"value of a", "b": b"value of b"}, "own rows are accepted"
    await change(database, statement)
    assert await store.get_many(["a", "b"]) == {}
    assert [each["count"] for each in forged.events] == [2]
    assert await count(database) == 0
    assert unavailable.events == []
    await store.put("a", b"again")
    assert await store.get("a") == b"again"


async def test_keys_are_rotated_without_losing_records(database: Database) -> None:
    forged, unknown = Told("record-forged"), Told("record-key-unknown")
    before, during, after = (
        make_store(database, KEY),
        make_store(database, NEXT_KEY, KEY),
        make_store(database, NEXT_KEY),
    )
    await before.put_many({"old": b"1", "kept": b"2"})
    await during.put("new", b"3")
    assert await during.get_many(["old", "new"]) == {"old": b"1", "new": b"3"}
    await during.put("kept", b"2")
    assert await after.get_many(["old", "new", "kept"]) == {"new": b"3", "kept": b"2"}
    assert [each["count"] for each in unknown.events] == [1]
    assert forged.events == []
    assert await count(database) == 2


async def test_verification_removes_exactly_the_forged_rows(database: Database) -> None:
    store = make_store(database)
    await store.put_many({f"{number}": b"value" for number in range(250)})
    await change(
        database, "UPDATE records SET value = 'x' WHERE key IN (SELECT key FROM records ORDER BY key LIMIT 150)"
    )
    assert await store.verify() == 150
    assert await store.verify() == 0
    assert await count(database) == 100


async def test_values_are_limited_in_both_directions(database: Database) -> None:
    too_large = Told("record-too-large")
    store = make_store(database, limits=RecordLimits(max_value_bytes=1000))
    await store.put_many({"fits": bytes(1000), "large": bytes(1001)})
    assert await store.get_many(["fits", "large"]) == {"fits": bytes(1000)}
    assert [each["key"] for each in too_large.events] == ["large"]
    await make_store(database).put("large", bytes(1001))
    assert await store.get("large") is None, "another program wrote it"
    assert await make_store(database).get("large") == bytes(1001)


async def test_large_and_many_values_are_written_in_several_statements(
    database: Database, sibling: PostgresRecordStore
) -> None:
    items = {f"large-{number}": bytes([number]) * 9_000_000 for number in range(3)}
    items |= {f"small-{number}": b"x" for number in range(1200)}
    await make_store(database).put_many(items)
    assert await sibling.get_many(list(items)) == items


async def test_an_outage_costs_one_deadline_and_is_told_once(server: PostgresServer, database_name: str) -> None:
    unavailable, recovered = Told("records-unavailable"), Told("records-recovered")
    now = [0.0]
    database = Database(DatabaseSettings(url=server.get_url(database_name, user="assay_app"), deadline_seconds=1))
    await database.open()
    store = PostgresRecordStore(database, Sealer([KEY], "records"), clock=lambda: now[0])
    await store.put("a", b"1")
    tries = 0
    connect = database.connection

    def count_tries() -> object:
        nonlocal tries
        tries += 1
        return connect()

    database.connection = count_tries  # type: ignore[method-assign, assignment]
    server.process.pause()
    try:
        for _ in range(5):
            assert await store.get("a") is None
            await store.put_many({"a": b"2"})
            await store.delete("a")
            assert (await store.stats()).count == 0
            assert await store.verify() == 0
        assert tries == 1
        now[0] += 3
        assert await asyncio.gather(*(store.get("a") for _ in range(5))) == [None] * 5
        assert tries == 2, "one call tries it again"
    finally:
        server.process.resume()
    now[0] += 3
    assert await store.get("a") == b"1"
    assert (len(unavailable.events), len(recovered.events)) == (1, 1)
    await database.close()


async def test_a_database_without_the_table_is_no_record_and_no_error(server: PostgresServer) -> None:
    unavailable = Told("records-unavailable")
    database = Database(DatabaseSettings(url=server.get_url(server.create_database()), deadline_seconds=20))
    await database.open()
    store = make_store(database)
    await store.put("a", b"1")
    assert await store.get("a") is None
    assert len(unavailable.events) == 1
    await database.close()


async def test_a_record_that_is_read_is_kept(database: Database) -> None:
    store = make_store(database, limits=RecordLimits(max_age=timedelta(days=30), sweep_batch=2))
    await store.put_many(dict.fromkeys(("read", "unread-1", "unread-2", "unread-3", "young"), b"x"))
    await change(database, "UPDATE records SET stored = now() - interval '31 days'")
    await store.put("young", b"x")
    assert await store.get("read") == b"x"
    assert await store.sweep() == 3
    assert await store.get_many(["read", "unread-1", "young"]) == {"read": b"x", "young": b"x"}


async def test_one_replica_removes_at_a_time(database: Database) -> None:
    store = make_store(database)
    await store.put("old", b"x")
    await change(database, "UPDATE records SET stored = now() - interval '31 days'")
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(1634956129, 1)")
        assert await store.sweep() == 0
    assert await store.sweep() == 1


async def test_the_oldest_records_are_removed_if_there_are_too_many_bytes(database: Database) -> None:
    store = make_store(database, limits=RecordLimits(max_bytes=1_000_000, sweep_batch=1))
    items = {f"{number}": random.Random(number).randbytes(100_000) for number in range(15)}
    for key, value in items.items():
        await store.put(key, value)
    assert await store.sweep() == 6
    assert await store.get_many(list(items)) == dict(list(items.items())[6:])
    assert await store.sweep() == 0


async def test_old_records_are_removed_in_the_background(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "assay")
    removed = Told("records-removed")
    store = make_store(database, limits=RecordLimits(max_age=timedelta(0), sweep_interval=timedelta(seconds=0.01)))
    await store.put("a", b"x")
    store.start()
    await removed.wait()
    await store.close()
    assert removed.events[0]["count"] == 1
