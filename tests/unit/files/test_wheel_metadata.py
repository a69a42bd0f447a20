"""Tests of the inspection of wheels, once for each project that lists the wheel."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import BinaryIO, cast

from packaging.utils import canonicalize_name
from packaging.version import Version

from assay.files.wheel_metadata import WheelMetadata
from assay.indexes import IndexSettings
from assay.ports import RecordStore
from assay.simple.model import CoreMetadata, Distribution, File, Kind, Sha256
from tests.world.index.distributions import wheel

INDEX = IndexSettings.model_validate({"name": "test", "url": "https://index.example/simple/"})
BUILT = wheel("foo")


class Nothing:
    """Record store that is always empty."""

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
