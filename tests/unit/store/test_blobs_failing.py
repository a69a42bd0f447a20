"""Blobs while system calls fail, stall or write only a part, and while callers are cancelled."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from assay.errors import StorageError
from assay.simple.model import Sha256
from assay.store.blob_directory import TOUCH_INTERVAL_SECONDS, BlobDirectory
from assay.store.blobs import DiskBlobStore
from tests.contract.blobs_contract import content_of, digest, publish
from tests.world.proxy.blobs import (
    KIB,
    BlobsFactory,
    ManualUnixClock,
    list_present,
    make_content,
    measure_disk_usage,
)


def fail(call: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_arguments: object, **_named: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(call, failing)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
async def test_a_failing_write_is_said_and_nothing_is_left(
    blobs: DiskBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    partial = await blobs.create_partial()
    await partial.append(b"abc")
    with monkeypatch.context() as broken:
        fail("assay.store.blob_directory.os.writev", number, broken)
        with pytest.raises(StorageError, match=os.strerror(number)):
            await partial.append(b"def")
    assert partial.bytes_written == 3
    with pytest.raises(StorageError):
        await partial.commit(digest(b"abc"))
    assert measure_disk_usage(tmp_path) == 0
    assert (await blobs.stats()).unfinished == 0


async def test_a_failing_sync_publishes_nothing(
    blobs: DiskBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = await blobs.create_partial()
    await partial.append(b"abc")
    with monkeypatch.context() as broken:
        fail("assay.store.blobs.os.fsync", errno.EIO, broken)
        with pytest.raises(StorageError, match="cannot sync"):
            await partial.commit(digest(b"abc"))
    assert await blobs.open(digest(b"abc")) is None
    assert measure_disk_usage(tmp_path) == 0


async def test_a_failing_rename_publishes_nothing(
    blobs: DiskBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = await blobs.create_partial()
    await partial.append(b"abc")
    with monkeypatch.context() as broken:
        fail("assay.store.blob_directory.Path.replace", errno.EROFS, broken)
        with pytest.raises(StorageError, match="cannot publish"):
            await partial.commit(digest(b"abc"))
    assert await blobs.open(digest(b"abc")) is None
    assert measure_disk_usage(tmp_path) == 0
    assert (await blobs.stats()).unfinished == 0


async def test_a_disk_that_lets_nothing_go_takes_nothing_more_and_says_so(
    blobs: DiskBlobStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        await publish(blobs, make_content(number))
    partial = await blobs.create_partial()
    with monkeypatch.context() as broken:
        fail("assay.store.blob_directory.Path.unlink", errno.EROFS, broken)
        with pytest.raises(StorageError, match="is reached"):
            await partial.append(make_content(3))
        with pytest.raises(StorageError, match="cannot remove"):
            await blobs.remove(digest(make_content(0)))
    assert "blob-eviction-failed" in caplog.text
    assert await list_present(blobs, range(4)) == [1, 2]


async def test_a_disk_that_cannot_be_written_still_gives_what_it_has(
    blobs: DiskBlobStore, monkeypatch: pytest.MonkeyPatch, clock: ManualUnixClock, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(blobs, make_content(0))
    clock.now = time.time() + 2 * TOUCH_INTERVAL_SECONDS
    fail("assay.store.blob_directory.os.utime", errno.EROFS, monkeypatch)
    assert await content_of(blobs, digest(make_content(0))) == make_content(0)
    assert "blob-touch-failed" in caplog.text


async def test_a_name_that_cannot_be_synced_is_said_and_the_blob_is_there(
    blobs: DiskBlobStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sync, synced = os.fsync, list[int]()

    def second_fails(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr("assay.store.blob_directory.os.fsync", second_fails)
    await publish(blobs, make_content(0))
    assert "directory-sync-failed" in caplog.text
    assert await content_of(blobs, digest(make_content(0))) == make_content(0)


@pytest.mark.parametrize("change", ["evicted", "replaced"])
async def test_a_reader_after_publication_gets_the_right_bytes_whatever_is_at_the_path(
    blobs: DiskBlobStore, change: str
) -> None:
    partial = await blobs.create_partial()
    await partial.append(b"abc")
    await partial.commit(digest(b"abc"))
    if change == "evicted":
        await blobs.prune(0)
    else:
        published = await blobs.open(digest(b"abc"))
        assert published is not None
        path = Path(str(published.file.name))
        await published.close()
        (path.parent / "other").write_bytes(b"xyz")
        (path.parent / "other").replace(path)
    reader = await partial.open_reader()
    assert reader.read() == b"abc"
    reader.close()
    await partial.discard()
    with pytest.raises(StorageError, match="was discarded"):
        await partial.open_reader()


async def test_short_writes_are_completed(blobs: DiskBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def short(descriptor: int, pieces: Sequence[memoryview]) -> int:
        return write(descriptor, pieces[0][:7])

    monkeypatch.setattr("assay.store.blob_directory.os.writev", short)
    content = os.urandom(1000)
    await publish(blobs, content)
    assert await content_of(blobs, digest(content)) == content


async def test_an_append_whose_caller_is_gone_ends_before_its_file_is_closed(
    blobs: DiskBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, entered, release = os.write, threading.Event(), threading.Event()

    def stalled(descriptor: int, pieces: Sequence[memoryview]) -> int:
        entered.set()
        assert release.wait(10)
        return write(descriptor, b"".join(pieces))

    monkeypatch.setattr("assay.store.blob_directory.os.writev", stalled)
    partial = await blobs.create_partial()
    appending = asyncio.create_task(partial.append(b"abc"))
    assert await asyncio.to_thread(entered.wait, 10)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    discarding = asyncio.create_task(partial.discard())
    await asyncio.sleep(0)
    assert not discarding.done()
    release.set()
    await discarding
    assert partial.bytes_written == 3
    assert measure_disk_usage(tmp_path) == 0


async def test_a_blob_whose_opener_is_gone_is_let_go_of(blobs: DiskBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await publish(blobs, b"abc")
    look, entered, release = BlobDirectory.open, threading.Event(), threading.Event()

    def stalled(shelf: BlobDirectory, sha: Sha256, *, is_use: bool) -> object:
        found = look(shelf, sha, is_use=is_use)
        entered.set()
        assert release.wait(10)
        return found

    monkeypatch.setattr(BlobDirectory, "open", stalled)
    opening = asyncio.create_task(blobs.open(digest(b"abc")))
    assert await asyncio.to_thread(entered.wait, 10)
    assert (await blobs.stats()).opened == 1
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    release.set()
    await blobs.read_threads.close()
    assert (await asyncio.to_thread(blobs.directory.usage)).opened == 0


async def test_a_file_whose_beginner_is_gone_is_removed(
    blobs: DiskBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, entered, release = BlobDirectory.create_unfinished, threading.Event(), threading.Event()

    def stalled(shelf: BlobDirectory) -> object:
        found = begin(shelf)
        entered.set()
        assert release.wait(10)
        return found

    monkeypatch.setattr(BlobDirectory, "create_unfinished", stalled)
    beginning = asyncio.create_task(blobs.create_partial())
    assert await asyncio.to_thread(entered.wait, 10)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    release.set()
    await blobs.write_threads.close()
    assert list((tmp_path / "blobs/unfinished").iterdir()) == []
    assert blobs.unfinished == set()


async def test_what_is_being_published_is_not_evicted_by_another(
    make_blobs: BlobsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await make_blobs(4 * KIB)
    entered, release = threading.Event(), threading.Event()

    def stalled(directory: Path) -> None:
        if directory.name != "blobs":  # the blob is renamed, and its directory is not synced yet
            entered.set()
            assert release.wait(10)

    monkeypatch.setattr("assay.store.blob_directory.sync_directory", stalled)
    publishing = asyncio.create_task(publish(blobs, make_content(1)))
    assert await asyncio.to_thread(entered.wait, 10)
    other = await blobs.create_partial()
    with pytest.raises(StorageError, match="is reached"):
        await other.append(make_content(2))
    assert await list_present(blobs, range(3)) == [1]
    release.set()
    await publishing
    await other.discard()
    await publish(blobs, make_content(2))
    assert await list_present(blobs, range(3)) == [2]


async def test_a_new_file_that_cannot_be_read_is_removed(
    blobs: DiskBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        fail("assay.store.blobs.reopen", errno.EMFILE, broken)
        with pytest.raises(StorageError, match=os.strerror(errno.EMFILE)):
            await blobs.create_partial()
    assert list((tmp_path / "blobs/unfinished").iterdir()) == []
    assert blobs.unfinished == set()
    await (await blobs.create_partial()).discard()
