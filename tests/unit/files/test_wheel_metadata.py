"""Tests of the inspection of wheels, once for each project that lists the wheel."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO, cast

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from assay.caching.notices import LocalNotices
from assay.files.wheel_metadata import WheelMetadata
from assay.indexes import IndexSettings
from assay.ports import EVERYTHING, Notice, NoticeTopic, RecordStore
from assay.simple.model import CoreMetadata, Distribution, File, Kind, Sha256
from tests.unit.provenance.factories import MemoryRecords
from tests.world.index.distributions import wheel

INDEX = IndexSettings.model_validate({"name": "test", "url": "https://index.example/simple/"})
BUILT = wheel("foo")
FOO = canonicalize_name("foo")


class Nothing:
    """Record store that is always empty."""

    is_shared = False

    async def get(self, _key: str) -> bytes | None:
        return None

    async def get_many(self, _keys: Sequence[str]) -> dict[str, bytes]:
        return {}

    async def put_many(self, _items: Mapping[str, bytes]) -> None:
        await asyncio.sleep(0)


def listed(project: str, metadata: str) -> File:
    name = f"{project}-1.0-py3-none-any.whl"
    distribution = Distribution(project=canonicalize_name(project), version=Version("1.0"), kind=Kind.WHEEL)
    return File(
        filename=name,
        url=f"https://index.example/{name}",
        location=f"index.example/{name}",
        route=f"index.example/{name}",
        distribution=distribution,
        sha256=Sha256(BUILT.sha256),
        core_metadata=CoreMetadata(sha256=Sha256(metadata)),
    )


async def test_two_projects_with_the_same_bytes_at_once_are_both_looked_at() -> None:
    wheels = WheelMetadata(records=cast("RecordStore", Nothing()))
    honest, lying = listed("foo", str(BUILT.metadata_sha256)), listed("bar", hashlib.sha256(b"lie").hexdigest())

    async def opener() -> BinaryIO:
        return io.BytesIO(BUILT.content)

    names = {file.filename: canonicalize_name(file.filename.partition("-")[0]) for file in (honest, lying)}
    await asyncio.gather(*(wheels.inspect(INDEX, names[file.filename], file, opener) for file in (honest, lying)))
    for file, news in ((honest, 0), (lying, 1)):
        assert await wheels.get_own_digest(INDEX, names[file.filename], file) == BUILT.metadata_sha256
        assert wheels.get_facts_version(INDEX, names[file.filename]) == news
        assert wheels.has_inspected(INDEX, names[file.filename], file)


async def test_no_version_of_a_projects_facts_comes_back() -> None:
    wheels = WheelMetadata(records=cast("RecordStore", Nothing()), max_changed_projects=2)
    lie = hashlib.sha256(b"lie").hexdigest()
    projects = [canonicalize_name(f"p{number}") for number in range(5)]

    async def opener() -> BinaryIO:
        return io.BytesIO(BUILT.content)

    before = {project: [wheels.get_facts_version(INDEX, project)] for project in projects}
    for changed in projects:
        await wheels.inspect(INDEX, changed, listed(changed, lie), opener)
        assert wheels.get_facts_version(INDEX, changed) not in before[changed]
        for project in projects:
            now = wheels.get_facts_version(INDEX, project)
            assert now == before[project][-1] or now not in before[project]
            before[project].append(now)
    assert len(wheels._facts_versions) <= 2, "bounded"


async def test_the_version_of_facts_stays_while_nothing_contradicts_a_page() -> None:
    wheels = WheelMetadata(records=cast("RecordStore", Nothing()), max_changed_projects=2)
    first, second, honest = (canonicalize_name(name) for name in ("first", "second", "honest"))

    async def opener() -> BinaryIO:
        return io.BytesIO(BUILT.content)

    for changed in (first, second):
        await wheels.inspect(INDEX, changed, listed(changed, hashlib.sha256(b"lie").hexdigest()), opener)
    before = [wheels.get_facts_version(INDEX, project) for project in (first, second, honest)]
    await wheels.inspect(INDEX, honest, listed(honest, str(BUILT.metadata_sha256)), opener)
    assert [wheels.get_facts_version(INDEX, project) for project in (first, second, honest)] == before


class ReplicaOfWheels:
    """Wheels' facts of one replica, and the notices that it hears and sends."""

    def __init__(self, records: MemoryRecords) -> None:
        self.notices = LocalNotices()
        self.sent: list[Notice] = []
        self.notices.subscribe(self.sent.append)
        self.wheels = WheelMetadata(records=records, notices=self.notices)

    async def inspect(self, file: File, content: bytes = BUILT.content) -> None:
        async def opener() -> BinaryIO:
            return io.BytesIO(content)

        await self.wheels.inspect(INDEX, FOO, file, opener)


async def test_a_sibling_hears_of_a_new_fact_and_reads_it_from_the_record() -> None:
    records = MemoryRecords(is_shared=True)
    one, two = ReplicaOfWheels(records), ReplicaOfWheels(records)
    assert await two.wheels.load_facts(INDEX, FOO) == {}
    lying = listed("foo", hashlib.sha256(b"lie").hexdigest())
    await one.inspect(lying)
    assert one.sent == [Notice(index="test", project=FOO, topic=NoticeTopic.WHEELS)]
    assert one.wheels.get_facts_version(INDEX, FOO) == 1, "its own notice costs it nothing"
    assert await two.wheels.load_facts(INDEX, FOO) == {}
    two.notices.publish(replace(one.sent[0], is_remote=True))
    assert two.wheels.get_facts_version(INDEX, FOO) == 1, "the page is judged again"
    assert await two.wheels.load_facts(INDEX, FOO) == {BUILT.sha256: BUILT.metadata_sha256}


async def test_notices_about_other_facts_and_other_projects_leave_the_facts_in_memory() -> None:
    replica = ReplicaOfWheels(MemoryRecords(is_shared=True))
    await replica.inspect(listed("foo", str(BUILT.metadata_sha256)))
    assert replica.sent == [], "the index has told the truth"
    for notice in (
        Notice(index="test", project=FOO, is_remote=True),
        Notice(index="test", project=canonicalize_name("bar"), topic=NoticeTopic.WHEELS, is_remote=True),
        Notice(index="test", project=FOO, topic=NoticeTopic.WHEELS),
    ):
        replica.notices.publish(notice)
        assert replica.wheels.get_facts_version(INDEX, FOO) == 0
    replica.notices.publish(EVERYTHING)
    assert replica.wheels.get_facts_version(INDEX, FOO) > 0


async def test_facts_that_two_replicas_find_are_all_recorded() -> None:
    records = MemoryRecords(is_shared=True)
    one, two = ReplicaOfWheels(records), ReplicaOfWheels(records)
    other = wheel("foo", "2.0")
    for replica in (one, two):
        assert await replica.wheels.load_facts(INDEX, FOO) == {}
    await one.inspect(listed("foo", str(BUILT.metadata_sha256)))
    await two.inspect(replace(listed("foo", "0" * 64), sha256=Sha256(other.sha256)), other.content)
    assert set(await WheelMetadata(records=records).load_facts(INDEX, FOO)) == {BUILT.sha256, other.sha256}


@pytest.mark.parametrize("is_shared", [True, False])
async def test_facts_without_a_notice_are_read_when_they_are_needed_if_replicas_share_them(is_shared: bool) -> None:
    records = MemoryRecords(is_shared=is_shared)
    one, two = ReplicaOfWheels(records), ReplicaOfWheels(records)
    assert await two.wheels.load_facts(INDEX, FOO) == {}
    await one.inspect(listed("foo", str(BUILT.metadata_sha256)))
    assert one.sent == [], "the index has told the truth"
    for _ in range(2):
        await two.wheels.reload_facts(INDEX, FOO)
    assert await two.wheels.load_facts(INDEX, FOO) == ({BUILT.sha256: BUILT.metadata_sha256} if is_shared else {})
    assert two.wheels.get_facts_version(INDEX, FOO) == int(is_shared), "the page is judged again, once"
