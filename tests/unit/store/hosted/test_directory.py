"""Directory of hosted files: its lock, damaged entries, interrupted uploads, and failures of the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from assay.errors import StorageError, StorageInUseError
from assay.store.hosted.directory import HostedDirectory
from tests.contract.hosted_contract import ACME, CONTENT, INDEX, make_file, publish, read_file
from tests.world.proxy.told import Told

FILE = make_file()


def get_place(directory: Path) -> Path:
    return directory / INDEX / "projects" / ACME / "files" / FILE.filename


async def fill(directory: Path) -> Path:
    """Publish a file, close the storage, and return the directory of the file."""
    storage = await HostedDirectory.open(directory, [INDEX])
    await publish(storage, FILE)
    await storage.close()
    return get_place(directory)


async def test_only_one_process_uses_the_directory_and_others_may_read_it(tmp_path: Path) -> None:
    await fill(tmp_path)
    storage = await HostedDirectory.open(tmp_path, [INDEX])
    with pytest.raises(StorageInUseError):
        await HostedDirectory.open(tmp_path, [INDEX])
    reader = await HostedDirectory.open(tmp_path, [INDEX], read_only=True)
    assert reader.list_projects(INDEX) == (ACME,)
    await reader.close()
    await storage.close()


async def test_reading_creates_nothing(tmp_path: Path) -> None:
    reader = await HostedDirectory.open(tmp_path / "missing", [INDEX], read_only=True)
    assert reader.list_projects(INDEX) == ()
    await reader.close()
    assert not (tmp_path / "missing").exists()


async def test_uploads_in_progress_are_removed_at_the_next_start(tmp_path: Path) -> None:
    await fill(tmp_path)
    left = tmp_path / INDEX / "incoming" / "left"
    left.mkdir()
    (left / "content").write_bytes(b"half")
    storage = await HostedDirectory.open(tmp_path, [INDEX])
    assert list((tmp_path / INDEX / "incoming").iterdir()) == []
    assert await read_file(storage, FILE.filename) == CONTENT
    await storage.close()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"schema": 2}', b'{"schema": 1}'])
async def test_a_file_with_a_damaged_entry_is_not_listed_and_its_project_takes_no_uploads(
    damage: bytes, tmp_path: Path
) -> None:
    place, told = await fill(tmp_path), Told("hosted-entry-unusable")
    (place / "entry.json").write_bytes(damage)
    storage = await HostedDirectory.open(tmp_path, [INDEX])
    await told.wait()
    assert storage.find_project(INDEX, ACME) is None
    with pytest.raises(StorageError, match="is damaged, so its owner, versions and names cannot be checked"):
        await publish(storage, FILE)
    await storage.close()


async def test_a_file_of_another_size_is_not_listed(tmp_path: Path) -> None:
    place, told = await fill(tmp_path), Told("hosted-entry-unusable")
    (place / "content").write_bytes(CONTENT[:-1])
    storage = await HostedDirectory.open(tmp_path, [INDEX])
    await told.wait()
    assert storage.find_project(INDEX, ACME) is None
    await storage.close()


async def test_a_changed_document_is_not_served(tmp_path: Path) -> None:
    place, told = await fill(tmp_path), Told("hosted-document-changed")
    (place / "provenance").write_bytes(b"other")
    storage = await HostedDirectory.open(tmp_path, [INDEX])
    with pytest.raises(StorageError, match="has changed on the disk"):
        await storage.read_document(INDEX, ACME, FILE.filename, "provenance")
    await told.wait()
    assert await storage.read_document(INDEX, ACME, FILE.filename, "metadata") == b"metadata"
    await storage.close()


async def test_a_damaged_state_stops_the_start(tmp_path: Path) -> None:
    place = await fill(tmp_path)
    (place.parent.parent / "state.json").write_bytes(b"{")
    with pytest.raises(StorageError, match="restore it from a backup"):
        await HostedDirectory.open(tmp_path, [INDEX])


async def test_a_failure_of_the_disk_publishes_nothing(tmp_path: Path) -> None:
    storage = await HostedDirectory.open(tmp_path, [INDEX])
    shutil.rmtree(tmp_path / INDEX / "incoming")
    with pytest.raises(StorageError):
        await publish(storage, FILE)
    assert storage.find_project(INDEX, ACME) is None
    (tmp_path / INDEX / "incoming").mkdir()
    await publish(storage, FILE)
    assert await read_file(storage, FILE.filename) == CONTENT
    await storage.close()
