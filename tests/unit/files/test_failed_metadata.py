"""Failed promises of METADATA, in one process and in replicas that share records."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from packaging.utils import canonicalize_name

from assay.caching.notices import LocalNotices
from assay.files.failed_metadata import FailedMetadata
from assay.ports import EVERYTHING, Notice, NoticeTopic
from assay.simple.model import CoreMetadata, File, Sha256
from tests.unit.policy.factories import a_file, a_project
from tests.unit.provenance.factories import INDEX, MemoryRecords

WIDGET = canonicalize_name("widget")
NEWS = Notice(index="test", project=WIDGET, topic=NoticeTopic.WHEELS)


def promise(version: str, digest: str = "d") -> File:
    return a_file(version, core_metadata=CoreMetadata(sha256=Sha256(digest * 64)))


ONE, TWO = promise("1.0"), promise("2.0")
PROJECT = a_project(ONE, TWO)


class Replica:
    """Failures of one replica, and the notices that it sends."""

    def __init__(self, records: MemoryRecords) -> None:
        self.now = 1_000_000.0
        self.notices = LocalNotices()
        self.sent: list[Notice] = []
        self.notices.subscribe(self.sent.append)
        self.failed = FailedMetadata(records=records, notices=self.notices, clock=lambda: self.now)

    async def list_kept(self) -> list[str]:
        """Return the files whose promise stays on the page, like a judgement of the page does."""
        await self.failed.load(INDEX, WIDGET)
        return [file.filename for file in self.failed.withdraw(INDEX, PROJECT).files if file.core_metadata is not None]


async def test_only_the_promise_that_failed_is_withdrawn() -> None:
    replica = Replica(MemoryRecords())
    assert await replica.list_kept() == [ONE.filename, TWO.filename]
    await replica.failed.record(INDEX, WIDGET, ONE)
    assert await replica.list_kept() == [TWO.filename]
    again = promise("1.0", "e")
    assert replica.failed.withdraw(INDEX, a_project(again)).files == (again,), "a changed promise is a new one"


async def test_one_process_keeps_its_failures_in_memory_only() -> None:
    records = MemoryRecords()
    replica = Replica(records)
    await replica.failed.record(INDEX, WIDGET, ONE)
    assert (records.items, replica.sent) == ({}, [])
    assert replica.failed.get_version(INDEX, WIDGET) == 1
    replica.notices.publish(replace(NEWS, is_remote=True))
    assert replica.failed.get_version(INDEX, WIDGET) == 1


async def test_another_replica_hears_of_a_failure_and_withdraws_the_promise_too() -> None:
    records = MemoryRecords(is_shared=True)
    one, two = Replica(records), Replica(records)
    assert await two.list_kept() == [ONE.filename, TWO.filename]
    await one.failed.record(INDEX, WIDGET, ONE)
    assert one.sent == [NEWS]
    before = two.failed.get_version(INDEX, WIDGET)
    two.notices.publish(replace(NEWS, is_remote=True))
    assert two.failed.get_version(INDEX, WIDGET) > before, "the page is judged again"
    assert await two.list_kept() == [TWO.filename]
    await two.failed.record(INDEX, WIDGET, TWO)
    assert await Replica(records).list_kept() == [], "neither has overwritten the other"


async def test_after_lost_notices_the_record_is_read_again() -> None:
    records = MemoryRecords(is_shared=True)
    one, two = Replica(records), Replica(records)
    assert await two.list_kept() == [ONE.filename, TWO.filename]
    await one.failed.record(INDEX, WIDGET, ONE)
    for notice in (NEWS, replace(NEWS, topic=NoticeTopic.PROJECT, is_remote=True)):
        two.notices.publish(notice)
        assert await two.list_kept() == [ONE.filename, TWO.filename], "this notice is of something else"
    two.notices.publish(EVERYTHING)
    assert await two.list_kept() == [TWO.filename]


async def test_a_recorded_failure_ends_after_a_day() -> None:
    records = MemoryRecords(is_shared=True)
    one, two, three = (Replica(records) for _ in range(3))
    await one.failed.record(INDEX, WIDGET, ONE)
    two.now += timedelta(hours=23).total_seconds()
    three.now += timedelta(hours=25).total_seconds()
    assert await two.list_kept() == [TWO.filename]
    assert await three.list_kept() == [ONE.filename, TWO.filename]


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_failure_is_forgotten_once_and_the_others_stay(is_shared: bool) -> None:
    records = MemoryRecords(is_shared=is_shared)
    one, two = Replica(records), Replica(records)
    for file in (ONE, TWO):
        await one.failed.record(INDEX, WIDGET, file)
    one.sent.clear()
    before = one.failed.get_version(INDEX, WIDGET)
    await one.failed.forget(INDEX, WIDGET, promise("1.0", "e"))
    assert (one.sent, one.failed.get_version(INDEX, WIDGET)) == ([], before), "this promise has not failed"
    for _ in range(2):
        await one.failed.forget(INDEX, WIDGET, ONE)
    assert await one.list_kept() == [ONE.filename]
    assert one.failed.get_version(INDEX, WIDGET) == before + 1, "the page is judged again, once"
    assert one.sent == ([NEWS] if is_shared else [])
    assert await two.list_kept() == ([ONE.filename] if is_shared else [ONE.filename, TWO.filename])


@pytest.mark.parametrize("record", [b"{", b"[]", b'{"x": "y"}', b'{"x": NaN}', b'{"x": 1e999}', b'{"x": true}'])
async def test_an_invalid_record_withdraws_nothing(record: bytes) -> None:
    records = MemoryRecords(is_shared=True)
    records.items["failed-metadata:test:widget"] = record
    assert await Replica(records).list_kept() == [ONE.filename, TWO.filename]
