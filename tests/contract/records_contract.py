"""Contract of every engine for records. A test class of an engine inherits `RecordsContract` and gives `records`."""

from __future__ import annotations

import asyncio

import pytest

from assay.ports import RecordStore


class RecordsContract:
    @pytest.fixture
    def records(self) -> RecordStore:
        raise NotImplementedError

    async def test_what_was_never_put_is_missing(self, records: RecordStore) -> None:
        assert await records.get("a") is None
        assert await records.get_many(["a", "b"]) == {}

    @pytest.mark.parametrize("value", [b"", b"x", bytes(range(256)) * 1000, b"\x80\x04K\x01."])
    async def test_what_was_put_comes_back_as_it_was(self, records: RecordStore, value: bytes) -> None:
        await records.put("a", value)
        assert await records.get("a") == value

    async def test_a_later_value_replaces_an_earlier_one(self, records: RecordStore) -> None:
        await records.put("a", b"1")
        await records.put("a", b"2")
        assert await records.get("a") == b"2"

    @pytest.mark.parametrize("key", ["../../etc/passwd", "a/b", "a\x00b", "ключ", "'; DROP TABLE x; --", "x" * 2000])
    async def test_a_key_is_any_text_and_nothing_but_a_key(self, records: RecordStore, key: str) -> None:
        await records.put("a", b"other")
        await records.put(key, b"value")
        assert await records.get_many([key, "a"]) == {key: b"value", "a": b"other"}

    async def test_several_come_in_one_hop_without_those_that_are_missing(self, records: RecordStore) -> None:
        await records.put_many({"a": b"1", "b": b"2"})
        assert await records.get_many(["b", "missing", "a"]) == {"a": b"1", "b": b"2"}

    async def test_it_says_whether_other_replicas_write_too(self, records: RecordStore) -> None:
        assert isinstance(records.is_shared, bool)

    async def test_what_is_put_soon_is_there_for_whoever_reads_later(self, records: RecordStore) -> None:
        for number in range(20):
            await records.put_soon({"a": b"%d" % number, f"b{number}": bytes(100_000)})
            assert await records.get("a") == b"%d" % number
        assert len(await records.get_many([f"b{number}" for number in range(20)])) == 20

    async def test_nothing_put_and_nothing_asked_is_no_error(self, records: RecordStore) -> None:
        await records.put_many({})
        assert await records.get_many([]) == {}

    async def test_a_deleted_key_is_missing_and_its_neighbour_stays(self, records: RecordStore) -> None:
        await records.put_many({"a": b"1", "b": b"2"})
        await records.delete("a")
        await records.delete("never-there")
        assert await records.get_many(["a", "b"]) == {"b": b"2"}

    async def test_how_full_it_is_can_be_asked(self, records: RecordStore) -> None:
        before = await records.stats()
        await records.put_many({"a": b"1", "b": b"2"})
        now = await records.stats()
        assert (now.count, now.limit) == (before.count + 2, before.limit)
        assert now.limit > now.size > 0

    async def test_whole_records_pass_verification_and_it_says_how_far_it_is(self, records: RecordStore) -> None:
        await records.put_many({f"{number}": b"value" for number in range(250)})
        told: list[tuple[int, int]] = []
        assert await records.verify(lambda done, total: told.append((done, total))) == 0
        assert told[-1] == (250, 250)
        assert len(await records.get_many([f"{number}" for number in range(250)])) == 250

    async def test_many_writers_and_readers_at_once_see_whole_values(self, records: RecordStore) -> None:
        values = [bytes([number]) * 5000 for number in range(8)]

        async def write(value: bytes) -> None:
            for _ in range(5):
                await records.put("shared", value)

        async def read() -> None:
            for _ in range(10):
                found = await records.get("shared")
                assert found is None or found in values

        await asyncio.gather(*(write(value) for value in values), *(read() for _ in range(4)))
        assert await records.get("shared") in values
