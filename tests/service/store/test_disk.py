"""Disk that vanishes, is full or truncates files: the store reports it, damages nothing, and works again afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from assay.errors import LedgerError, StorageError
from assay.ports import HistoryChanges
from assay.store.directory import StorageDirectory
from assay.store.settings import StorageSettings
from tests.contract.blobs_contract import content_of, digest, publish
from tests.contract.ledger_contract import learn
from tests.paths import ROOT
from tests.world.proxy.storage import (
    PROJECT,
    needs_root,
    use,
)


async def test_when_the_blobs_vanish_they_are_missing_and_new_ones_are_taken(
    store: StorageDirectory, settings: StorageSettings
) -> None:
    await publish(store.blobs, b"abc")
    unfinished = await store.blobs.create_partial()
    await unfinished.append(b"half")
    shutil.rmtree(settings.directory / "blobs")
    assert await store.blobs.open(digest(b"abc")) is None
    with pytest.raises(StorageError, match="cannot publish"):
        await unfinished.commit(digest(b"half"))
    await publish(store.blobs, b"abc")
    assert await content_of(store.blobs, digest(b"abc")) == b"abc"
    usage = await store.blobs.stats()
    assert (usage.count, usage.size, usage.unfinished) == (1, 3, 0)


async def test_when_the_directory_vanishes_nothing_is_written_in_its_place_until_it_is_back(
    store: StorageDirectory, settings: StorageSettings
) -> None:
    await use(store)
    away = settings.directory.with_name("away")
    settings.directory.rename(away)
    with pytest.raises(StorageError, match="cannot begin a file"):
        await store.blobs.create_partial()
    with pytest.raises(LedgerError, match="cannot be used"):
        await learn(store.ledger, "pypi", PROJECT, HistoryChanges(serial=2))
    await store.records.put("other", b"value")
    assert not settings.directory.exists()
    away.rename(settings.directory)
    await publish(store.blobs, b"def")
    await learn(store.ledger, "pypi", PROJECT, HistoryChanges(serial=3))
    assert (await store.ledger.get_history("pypi", PROJECT)).serial == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 8 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


@needs_root
async def test_a_full_disk_is_said_nothing_is_broken_and_work_goes_on_when_there_is_room(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await StorageDirectory.open(StorageSettings(directory=small_disk / "storage"))
    await use(store)
    ballast = fill(small_disk)
    partial = await store.blobs.create_partial()
    with pytest.raises(StorageError, match="No space left on device"):
        await partial.append(bytes(2**16))
    await partial.discard()
    with pytest.raises(LedgerError):
        await learn(
            store.ledger, "pypi", PROJECT, HistoryChanges(evidence={digest(str(n).encode()): "x" for n in range(5000)})
        )
    await store.records.put("large", bytes(2**18))
    assert "records-unavailable" in caplog.text
    assert await content_of(store.blobs, digest(b"abc")) == b"abc"
    assert await store.records.get("key") == b"value"
    assert (await store.ledger.get_history("pypi", PROJECT)).evidence == {}

    ballast.unlink()
    await publish(store.blobs, b"def")
    await store.records.put("large", bytes(2**18))
    assert await store.records.get("large") == bytes(2**18)
    await learn(store.ledger, "pypi", PROJECT, HistoryChanges(serial=9))
    await store.close()
    store = await StorageDirectory.open(StorageSettings(directory=small_disk / "storage"))
    assert await content_of(store.blobs, digest(b"def")) == b"def"
    assert (await store.ledger.get_history("pypi", PROJECT)).serial == 9
    await store.close()


LIMITED = """
import asyncio, resource, signal, sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from assay.errors import StorageError
from assay.store.directory import StorageDirectory
from assay.store.settings import StorageSettings

async def main():
    store = await StorageDirectory.open(StorageSettings(directory=Path(sys.argv[1])))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    partial = await store.blobs.create_partial()
    await partial.append(bytes(2**19))
    try:
        await partial.append(bytes(2**20))
    except StorageError as error:
        print(error, flush=True)
    try:
        await partial.commit(sha256(bytes(2**19)).hexdigest())
    except StorageError as error:
        print(error, flush=True)
    print(await store.blobs.stats(), flush=True)
    await store.close()

asyncio.run(main())
"""


def test_a_file_that_the_system_cuts_off_is_never_published(settings: StorageSettings) -> None:
    tried = subprocess.run(
        [sys.executable, "-c", LIMITED, str(settings.directory)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    first, second, usage = tried.stdout.splitlines()
    assert "File too large" in first
    assert "did not accept all bytes of the file" in second
    assert "count=0, size=0, unfinished=0" in usage
    assert list((settings.directory / "blobs/unfinished").iterdir()) == []
