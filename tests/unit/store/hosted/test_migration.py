"""A hosted index is copied from a directory to another storage with everything that it has, also in two parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from packaging.utils import NormalizedName

from assay.errors import StorageError
from assay.ports import HostedStorage
from assay.store.hosted.directory import HostedDirectory
from assay.store.hosted.migration import CopiedFiles, copy_index
from assay.store.hosted.shared import SharedHosted
from tests.contract.hosted_contract import ACME, CONTENT, INDEX, make_file, publish, read_file
from tests.world.engines.memory_bucket import MemoryBucket
from tests.world.engines.shared_hosted import open_replica

FIRST, LATE = make_file(), make_file("acme-1.0.tar.gz", uploaded=datetime(2026, 11, 9, tzinfo=UTC))
OTHER = NormalizedName("other")
MIDDLE = make_file("other-1.0.tar.gz", uploaded=datetime(2026, 11, 5, tzinfo=UTC), metadata_sha256=None)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[HostedDirectory]:
    store = await HostedDirectory.open(tmp_path / "source", [INDEX])
    for project, file in ((ACME, LATE), (OTHER, MIDDLE), (ACME, FIRST)):
        await publish(store, file, project=project)
    await store.set_yanked(INDEX, ACME, [FIRST.filename], "broken")
    await store.set_status(INDEX, OTHER, "archived", "old")
    yield store
    await store.close()


@pytest.fixture
async def target(url: str, bucket: MemoryBucket, tmp_path: Path) -> AsyncIterator[SharedHosted]:
    async with open_replica(url, bucket, tmp_path / "target") as replica:
        yield replica


def list_projects(storage: HostedStorage) -> list[object]:
    return [storage.find_project(INDEX, name) for name in storage.list_projects(INDEX)]


async def test_an_index_is_copied_whole_and_a_second_copy_changes_nothing(
    source: HostedDirectory, target: SharedHosted
) -> None:
    names: list[str] = []
    assert await copy_index(source, target, INDEX, names.append) == CopiedFiles(copied=3, present=0)
    assert names == [FIRST.filename, MIDDLE.filename, LATE.filename]
    assert list_projects(target) == list_projects(source)
    assert await read_file(target, LATE.filename) == CONTENT
    assert await target.read_document(INDEX, ACME, LATE.filename, "provenance") == b"provenance"
    assert await target.read_document(INDEX, OTHER, MIDDLE.filename, "metadata") is None
    assert await copy_index(source, target, INDEX, names.append) == CopiedFiles(copied=0, present=3)
    assert list_projects(target) == list_projects(source)


async def test_an_interrupted_copy_is_completed(source: HostedDirectory, target: SharedHosted) -> None:
    class CopyStoppedError(Exception):
        pass

    def interrupt(_: str) -> None:
        raise CopyStoppedError

    with pytest.raises(CopyStoppedError):
        await copy_index(source, target, INDEX, interrupt)
    assert await copy_index(source, target, INDEX, lambda _: None) == CopiedFiles(copied=2, present=1)
    assert list_projects(target) == list_projects(source)


async def test_other_bytes_under_a_name_stop_the_copy(source: HostedDirectory, target: SharedHosted) -> None:
    await publish(target, make_file(content=b"other" * 1000), b"other" * 1000)
    with pytest.raises(StorageError, match="has other bytes in the target"):
        await copy_index(source, target, INDEX, lambda _: None)


async def test_changed_bytes_are_not_copied(source: HostedDirectory, target: SharedHosted, tmp_path: Path) -> None:
    place = tmp_path / "source" / INDEX / "projects" / OTHER / "files" / MIDDLE.filename / "content"
    place.write_bytes(bytes(len(CONTENT)))
    with pytest.raises(StorageError, match="has changed: expected the SHA-256"):
        await copy_index(source, target, INDEX, lambda _: None)
    assert target.list_projects(INDEX) == (ACME,)
    place.write_bytes(CONTENT)
    assert await copy_index(source, target, INDEX, lambda _: None) == CopiedFiles(copied=2, present=1)


async def test_a_missing_file_stops_the_copy(source: HostedDirectory, target: SharedHosted, tmp_path: Path) -> None:
    (tmp_path / "source" / INDEX / "projects" / OTHER / "files" / MIDDLE.filename / "content").unlink()
    with pytest.raises(StorageError, match=r"cannot be read"):
        await copy_index(source, target, INDEX, lambda _: None)
