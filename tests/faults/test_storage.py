"""Failing storage: files are served without being cached, and are cached again after the storage recovers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.errors import DigestMismatchError, StorageError
from assay.simple.model import Sha256
from assay.store.blob_directory import BlobDirectory
from assay.store.blobs import DiskBlobStore, DiskPartialBlob
from assay.store.fallback_blobs import FallbackBlobStore
from assay.store.temp_blobs import TempBlobs
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, run_test_proxy, wait_for_refreshes

BIG = 1_000_000


class Disk:
    """Disk with free space for `room` further bytes; None: unlimited. `begins` is False if no file can be created."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self.begins = True
        append, begin = DiskPartialBlob._append, BlobDirectory.create_unfinished

        def limited(partial: DiskPartialBlob, pieces: list[memoryview]) -> None:
            if self.room is not None:
                if sum(map(len, pieces)) > self.room:
                    raise StorageError("cannot write: No space left on device")
                self.room -= sum(map(len, pieces))
            append(partial, pieces)

        def begun(shelf: BlobDirectory) -> tuple[Path, int]:
            if not self.begins:
                raise StorageError("cannot begin a file: Read-only file system")
            return begin(shelf)

        monkeypatch.setattr(DiskPartialBlob, "_append", limited)
        monkeypatch.setattr(BlobDirectory, "create_unfinished", begun)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def told(log: pytest.LogCaptureFixture) -> set[str]:
    return {record.getMessage() for record in log.records}


async def over(proxy: RunningProxy) -> None:
    """Wait until no download runs."""
    downloads = proxy.assembly.gate.resources.files.cache._downloads
    while running_now := [task for _, task in downloads._running.values()]:
        await asyncio.wait(running_now)


@pytest.mark.parametrize("room", [None, 0, 1, 70_000, 600_000])
async def test_a_disk_without_room_costs_the_cache_and_not_the_download(
    tmp_path: Path, disk: Disk, room: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", padding=BIG))
        disk.begins, disk.room = room is not None, room
        stall = index.stall(listed.path, after=BIG // 2)
        path = proxy.files_path(listed)
        clients = [asyncio.create_task(proxy.get(path, headers)) for headers in ({}, {}, {"Range": "bytes=10-99"})]
        await stall.reached.wait()
        stall.release.set()
        whole, also, part = await asyncio.gather(*clients)
        assert whole.body == also.body == listed.built.content
        assert (part.status, part.body) == (206, listed.built.content[10:100])
        assert index.count(listed.path) == 1
        assert {"storage-bypassed", "blob-write-failed"} <= told(caplog)
        await over(proxy)
        disk.room = 0
        assert (await proxy.get("/readyz")).status == 503
        # After the disk recovers, files are cached again.
        disk.begins, disk.room = True, None
        assert (await proxy.get(path)).body == listed.built.content
        await proxy.wait_until_stored(listed)
        assert index.count(listed.path) == 2
        assert (await proxy.get("/readyz")).status == 200
        assert (await proxy.assembly.store.blobs.stats()).unfinished == 0


async def test_a_storage_directory_that_vanishes(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        warm, cold = index.add(wheel("foo", padding=BIG)), index.add(wheel("foo", "2.0", padding=BIG))
        assert (await proxy.get(proxy.files_path(warm))).status == 200
        await proxy.wait_until_stored(warm)
        shutil.rmtree(tmp_path / "assay")
        for listed in (warm, cold):
            assert (await proxy.get(proxy.files_path(listed))).body == listed.built.content
        await over(proxy)
        await wait_for_refreshes(proxy)
        assert not (tmp_path / "assay" / "blobs").exists(), "nothing is written to a mount point that has vanished"
        (tmp_path / "assay").mkdir(mode=0o700)
        assert (await proxy.get(proxy.files_path(cold))).body == listed.built.content
        await proxy.wait_until_stored(cold)


async def test_a_wrong_file_is_no_better_without_a_disk(tmp_path: Path, disk: Disk) -> None:
    from tests.world.index.faulty_server import Corrupt  # noqa: PLC0415 - used only here
    from tests.world.proxy.running_proxy import fetch_body_or_none  # noqa: PLC0415 - used only here

    async with Index() as index, run_test_proxy(index, tmp_path) as proxy:
        listed = index.add(wheel("foo", padding=BIG))
        disk.room = 600_000
        index.inject_fault(listed.path, Corrupt(-1), times=1)
        assert await fetch_body_or_none(proxy, proxy.files_path(listed)) is None
        assert await fetch_body_or_none(proxy, proxy.files_path(listed)) == listed.built.content


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[DiskBlobStore]:
    opened = DiskBlobStore(tmp_path / "blobs", 10**9)
    await opened.scan()
    yield opened
    await opened.close()


async def test_what_is_beside_the_disk_is_bounded_and_given_back(blobs: DiskBlobStore, disk: Disk) -> None:
    disk.begins = False
    spares = TempBlobs(max_disk_bytes=1000)
    sturdy = FallbackBlobStore(blobs, spares)
    first, second = await sturdy.create_partial(), await sturdy.create_partial()
    await first.append(b"x" * 600)
    with pytest.raises(StorageError, match="have reached their limit"):
        await second.append(b"x" * 600)
    await first.discard()
    await first.discard()
    third = await sturdy.create_partial()
    await third.append(b"x" * 1000)
    for partial in (second, third):
        await partial.discard()
    assert spares._used == {False: 0, True: 0}
    await spares.close()


async def test_where_there_is_no_temporary_directory_memory_serves_within_narrow_bounds(
    blobs: DiskBlobStore, disk: Disk, tmp_path: Path
) -> None:
    disk.begins = False
    spares = TempBlobs(directory=str(tmp_path / "nowhere"), max_memory_bytes=1000)
    partial = await FallbackBlobStore(blobs, spares).create_partial()
    await partial.append(b"x" * 900)
    reader = await partial.open_reader()
    await partial.append(b"y" * 100)
    with pytest.raises(StorageError):
        await partial.append(b"z")
    with pytest.raises(StorageError, match="served but not stored"):
        await partial.commit(await partial.digest())
    await partial.discard()
    assert reader.read() == b"x" * 900 + b"y" * 100, "an open reader can finish"
    reader.close()
    with pytest.raises(StorageError):
        await partial.open_reader()
    await spares.close()


async def test_a_move_carries_every_byte_along_or_is_none(blobs: DiskBlobStore, disk: Disk) -> None:
    spares = TempBlobs()
    sturdy = FallbackBlobStore(blobs, spares)
    disk.room = 3_000_000
    partial = await sturdy.create_partial()
    await partial.append(b"a" * 3_000_000)
    old = await partial.open_reader()
    await partial.append(b"b" * 10)
    assert (partial.move_count, partial.bytes_written) == (1, 3_000_010)
    with await partial.open_reader() as reader:
        assert reader.read() == b"a" * 3_000_000 + b"b" * 10
    assert old.read() == b"a" * 3_000_000
    old.close()
    await partial.discard()
    # If the written bytes have changed, the download cannot move to another file.
    disk.room = 100
    torn = await sturdy.create_partial()
    await torn.append(b"a" * 100)
    inner = torn._current
    assert isinstance(inner, DiskPartialBlob)
    assert inner._path is not None
    inner._path.write_bytes(b"c" * 100)
    with pytest.raises(StorageError, match="No space"):
        await torn.append(b"b")
    assert torn.move_count == 0
    await torn.discard()
    await spares.close()


async def test_a_disk_that_works_is_used(blobs: DiskBlobStore) -> None:
    spares = TempBlobs()
    sturdy = FallbackBlobStore(blobs, spares)
    partial = await sturdy.create_partial()
    await partial.append(b"good")
    with pytest.raises(DigestMismatchError):
        await partial.commit(Sha256("0" * 64))
    good = await sturdy.create_partial()
    await good.append(b"good")
    digest = await good.digest()
    await good.commit(digest)
    blob = await sturdy.open(digest)
    assert blob is not None
    assert blob.file.read() == b"good"
    await blob.close()
    await sturdy.remove(digest)
    assert await sturdy.open(digest) is None
    await spares.close()
    await blobs.close()
    assert await sturdy.open(digest) is None, "a closed store returns no blobs"
