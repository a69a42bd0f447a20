"""Blobs on a file system: eviction, limits, damage, cancellation, failing system calls."""

from __future__ import annotations

import asyncio
import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from assay.errors import StorageError
from assay.simple.model import Sha256
from assay.store.blob_directory import TOUCH_INTERVAL_SECONDS
from assay.store.blobs import DiskBlobStore, DiskPartialBlob
from tests.contract.blobs_contract import content_of, digest, publish, whole
from tests.world.proxy.blobs import (
    KIB,
    BlobsFactory,
    ManualUnixClock,
    get_blob_path,
    list_present,
    make_content,
    measure_disk_usage,
)


async def test_the_oldest_used_goes_first(blobs: DiskBlobStore) -> None:
    for number in range(3):
        await publish(blobs, make_content(number))
    assert await content_of(blobs, digest(make_content(0))) == make_content(0)
    await publish(blobs, make_content(3))
    assert await list_present(blobs, range(4)) == [0, 2, 3]


async def test_what_is_open_is_not_evicted_until_it_is_closed(blobs: DiskBlobStore) -> None:
    await publish(blobs, make_content(0))
    blob = await blobs.open(digest(make_content(0)))
    assert blob is not None
    for number in range(1, 5):
        await publish(blobs, make_content(number))
    assert await list_present(blobs, range(5)) == [0, 3, 4]
    assert whole(blob) == make_content(0)
    await blob.close()
    await publish(blobs, make_content(5))
    assert await list_present(blobs, range(6)) == [3, 4, 5]


async def test_the_order_of_use_outlives_a_restart_to_the_hour(
    make_blobs: BlobsFactory, clock: ManualUnixClock
) -> None:
    first = await make_blobs()
    for number in range(3):
        await publish(first, make_content(number))
        clock.now += 1
    for sha in map(digest, map(make_content, range(3))):
        os.utime(first.directory._get_path(sha, 3 * KIB), (clock.now, clock.now))
        clock.now += 1
    clock.now += 2 * TOUCH_INTERVAL_SECONDS
    assert await content_of(first, digest(make_content(0))) == make_content(0)
    await first.close()
    second = await make_blobs()
    await publish(second, make_content(3))
    assert await list_present(second, range(4)) == [0, 2, 3]


async def test_use_is_written_to_disk_at_most_hourly(
    blobs: DiskBlobStore, tmp_path: Path, clock: ManualUnixClock
) -> None:
    await publish(blobs, make_content(0))
    file = get_blob_path(tmp_path, make_content(0))
    os.utime(file, (clock.now, clock.now))
    written = file.stat().st_mtime
    clock.now += TOUCH_INTERVAL_SECONDS - 1
    await content_of(blobs, digest(make_content(0)))
    assert file.stat().st_mtime == written
    clock.now += 2
    await content_of(blobs, digest(make_content(0)))
    assert file.stat().st_mtime == clock.now


async def test_the_limit_holds_while_several_come_in_at_once(make_blobs: BlobsFactory, tmp_path: Path) -> None:
    blobs = await make_blobs(64 * KIB)
    for number in range(20):
        await publish(blobs, make_content(number))
    highest = 0

    async def bring(number: int) -> DiskPartialBlob:
        nonlocal highest
        partial = await blobs.create_partial()
        for _ in range(4):
            await partial.append(make_content(number, 4 * KIB))
            usage = await blobs.stats()
            highest = max(highest, usage.size + usage.unfinished)
        return partial

    partials = await asyncio.gather(*(bring(number) for number in range(100, 104)))
    assert highest == 64 * KIB
    assert measure_disk_usage(tmp_path) == 64 * KIB
    await asyncio.gather(
        *(partial.commit(digest(make_content(number, 16 * KIB))) for number, partial in enumerate(partials, start=100))
    )
    assert measure_disk_usage(tmp_path) == 64 * KIB
    usage = await blobs.stats()
    assert (usage.count, usage.size, usage.unfinished) == (4, 64 * KIB, 0)


async def test_a_file_larger_than_all_the_room_is_refused_and_leaves_nothing(
    blobs: DiskBlobStore, tmp_path: Path
) -> None:
    partial = await blobs.create_partial()
    await partial.append(bytes(10 * KIB))
    with pytest.raises(StorageError, match=r"the limit storage\.blobs \(10\.0 KiB\) is reached"):
        await partial.append(b"x")
    with pytest.raises(StorageError, match="closed for writing"):
        await partial.append(b"")
    with pytest.raises(StorageError, match="did not accept all bytes of the file"):
        await partial.commit(digest(bytes(10 * KIB)))
    assert measure_disk_usage(tmp_path) == 0
    await publish(blobs, bytes(10 * KIB))
    assert (await blobs.stats()).count == 1


async def test_a_limit_made_smaller_holds_from_the_start(make_blobs: BlobsFactory) -> None:
    first = await make_blobs()
    for number in range(3):
        await publish(first, make_content(number))
        os.utime(first.directory._get_path(digest(make_content(number)), 3 * KIB), (number, number))
    await first.close()
    second = await make_blobs(7 * KIB)
    assert await list_present(second, range(3)) == [1, 2]


async def test_pruning_leaves_what_fits(blobs: DiskBlobStore, tmp_path: Path) -> None:
    for number in range(3):
        await publish(blobs, make_content(number))
    pruned = await blobs.prune(4 * KIB)
    assert (pruned.count, pruned.size) == (2, 6 * KIB)
    assert await list_present(blobs, range(3)) == [2]
    assert measure_disk_usage(tmp_path) == 3 * KIB


async def test_the_same_content_published_again_is_counted_once(blobs: DiskBlobStore) -> None:
    for _ in range(5):
        await publish(blobs, make_content(1))
    usage = await blobs.stats()
    assert (usage.count, usage.size, usage.unfinished, usage.opened) == (1, 3 * KIB, 0, 0)


@pytest.mark.parametrize("damage", [b"", b"short", make_content(1, 3 * KIB + 1)])
async def test_a_blob_of_another_size_is_missing_and_gone_from_the_disk(
    blobs: DiskBlobStore, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(blobs, make_content(1))
    get_blob_path(tmp_path, make_content(1)).write_bytes(damage)
    assert await blobs.open(digest(make_content(1))) is None
    assert not get_blob_path(tmp_path, make_content(1)).exists()
    assert "blob-corrupt" in caplog.text
    usage = await blobs.stats()
    assert (usage.count, usage.size, usage.opened) == (0, 0, 0)
    await publish(blobs, make_content(1))
    assert await content_of(blobs, digest(make_content(1))) == make_content(1)


async def test_a_start_removes_torn_blobs_sweeps_the_unfinished_and_keeps_the_rest(
    make_blobs: BlobsFactory, tmp_path: Path
) -> None:
    first = await make_blobs()
    await publish(first, make_content(1))
    await publish(first, make_content(2))
    await first.close()
    get_blob_path(tmp_path, make_content(2)).write_bytes(b"")
    (tmp_path / "blobs/unfinished/left").write_bytes(b"half")
    stray = tmp_path / "blobs/00/notes.txt"
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("not ours")
    second = await make_blobs()
    assert await list_present(second, range(3)) == [1]
    assert not get_blob_path(tmp_path, make_content(2)).exists()
    assert list((tmp_path / "blobs/unfinished").iterdir()) == []
    assert stray.exists()


@pytest.mark.parametrize(
    "name",
    ["../../victim", "a" * 64, "a" * 64 + ".3.4", "a" * 64 + ".-3", "a" * 64 + ".03", "A" * 64 + ".3", "a" * 63 + ".3"],
)
async def test_a_name_of_another_form_is_no_blob(make_blobs: BlobsFactory, tmp_path: Path, name: str) -> None:
    (tmp_path / "blobs/aa").mkdir(parents=True)
    (tmp_path / "blobs/aa" / name.replace("/", "_")).write_bytes(b"abc")
    blobs = await make_blobs()
    assert (await blobs.stats()).count == 0


async def test_a_blob_in_the_wrong_shard_is_no_blob(make_blobs: BlobsFactory, tmp_path: Path) -> None:
    (tmp_path / "blobs/00").mkdir(parents=True)
    (tmp_path / "blobs/00" / f"{'a' * 64}.3").write_bytes(b"abc")
    assert (await (await make_blobs()).stats()).count == 0


async def test_a_blobs_directory_is_made_with_its_first_blob_and_lasts_like_it(
    make_blobs: BlobsFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, synced = os.fsync, list[str]()

    def watched(descriptor: int) -> None:
        sync(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path).parts[-1])

    blobs = await make_blobs()
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == ["unfinished"]
    monkeypatch.setattr("assay.store.blob_directory.os.fsync", watched)
    first, second = (
        make_content(1),
        next(
            make_content(number)
            for number in range(2, 256)
            if digest(make_content(number))[:2] != digest(make_content(1))[:2]
        ),
    )
    await publish(blobs, first)
    shard = digest(first)[:2]
    assert synced[-2:] == ["blobs", shard], "its own name first, then the blob's in it"
    assert {path.name for path in (tmp_path / "blobs").iterdir()} == {"unfinished", shard}
    (tmp_path / "blobs" / digest(second)[:2]).mkdir()
    synced.clear()
    await publish(blobs, second)
    assert "blobs" not in synced
    # If a process was killed before it could sync a new directory, the next process syncs it.
    synced.clear()
    again = await make_blobs()
    assert synced == ["blobs"]
    assert await content_of(again, digest(first)) == first
    assert await content_of(again, digest(second)) == second


async def test_directories_that_somebody_removed_are_made_again(blobs: DiskBlobStore, tmp_path: Path) -> None:
    await publish(blobs, make_content(1))
    partial = await blobs.create_partial()
    await partial.append(make_content(2))
    shutil.rmtree(get_blob_path(tmp_path, make_content(1)).parent)
    if (shard := get_blob_path(tmp_path, make_content(2)).parent).exists():
        shutil.rmtree(shard)
    await partial.commit(digest(make_content(2)))
    assert await content_of(blobs, digest(make_content(2))) == make_content(2)
    assert await blobs.open(digest(make_content(1))) is None


async def test_a_symbolic_link_in_a_blobs_place_is_not_followed(
    make_blobs: BlobsFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "victim").write_bytes(b"abc")
    blobs = await make_blobs()
    await publish(blobs, b"abc")
    get_blob_path(tmp_path, b"abc").unlink()
    get_blob_path(tmp_path, b"abc").symlink_to(tmp_path / "victim")
    assert await blobs.open(digest(b"abc")) is None
    assert "blob-unreadable" in caplog.text
    await blobs.close()
    again = await make_blobs()
    assert (await again.stats()).count == 0
    assert (tmp_path / "victim").read_bytes() == b"abc"


async def test_verification_removes_what_has_other_bytes_and_says_so(
    blobs: DiskBlobStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        await publish(blobs, make_content(number))
    get_blob_path(tmp_path, make_content(1)).write_bytes(make_content(9))
    steps: list[tuple[int, int]] = []
    found = await blobs.verify(lambda done, count: steps.append((done, count)))
    assert (found.checked, found.size, found.broken) == (3, 9 * KIB, (digest(make_content(1)),))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert "blob-corrupt" in caplog.text
    assert await list_present(blobs, range(3)) == [0, 2]
    assert (await blobs.verify()).broken == ()
    assert (await blobs.stats()).opened == 0


async def test_large_files_are_hashed_as_they_are(make_blobs: BlobsFactory) -> None:
    blobs = await make_blobs(2**26)
    content = os.urandom(2**20)
    expected = sha256(content * 20)
    partial = await blobs.create_partial()
    for _ in range(20):
        await partial.append(content)
    assert await partial.digest() == expected.hexdigest()
    await partial.commit(Sha256(expected.hexdigest()))
    assert (await blobs.verify()).size == 20 * 2**20


async def reopen(make_blobs: BlobsFactory, blobs: DiskBlobStore, limit: int = 2**24) -> DiskBlobStore:
    """Return the store as the next process opens it."""
    await blobs.close()
    return await make_blobs(limit)


async def is_verified(blobs: DiskBlobStore, content: bytes) -> bool | None:
    """Return whether a blob is verified when it is opened; None if it does not exist."""
    blob = await blobs.open(digest(content))
    if blob is None:
        return None
    await blob.close()
    return blob.is_verified


async def verify(blobs: DiskBlobStore, content: bytes) -> bool:
    blob = await blobs.open(digest(content))
    assert blob is not None
    try:
        return await blob.verify()
    finally:
        await blob.close()


async def test_a_blob_of_an_earlier_process_is_verified_only_when_it_was_hashed(make_blobs: BlobsFactory) -> None:
    blobs = await make_blobs()
    await publish(blobs, make_content(1))
    assert await is_verified(blobs, make_content(1)) is True
    blobs = await reopen(make_blobs, blobs)
    assert await is_verified(blobs, make_content(1)) is False
    assert await verify(blobs, make_content(1)) is True
    assert await is_verified(blobs, make_content(1)) is True


@pytest.mark.parametrize("size", [1, 3 * KIB, 200_000, 5 * 2**20])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
async def test_a_rotten_byte_is_found_wherever_it_is(
    make_blobs: BlobsFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int, place: float
) -> None:
    blobs = await make_blobs(2**24)
    content, path = make_content(1, size), get_blob_path(tmp_path, make_content(1, size))
    await publish(blobs, content, piece=2**20)
    with path.open("r+b") as file:
        file.seek(int(place * (size - 1)))
        file.write(b"x")
    assert await is_verified(blobs, content) is False
    assert await verify(blobs, content) is False
    assert ("blob-corrupt", "assay.security") in {(record.getMessage(), record.name) for record in caplog.records}
    assert not path.exists()
    usage = await blobs.stats()
    assert (usage.count, usage.size, usage.opened) == (0, 0, 0)
    await publish(blobs, content, piece=2**20)
    assert await is_verified(blobs, content) is True


@pytest.mark.parametrize("change", ["bytes", "time", "mode", "link", "replace"])
async def test_a_file_that_has_changed_is_no_longer_verified(blobs: DiskBlobStore, tmp_path: Path, change: str) -> None:
    await publish(blobs, make_content(1))
    path = get_blob_path(tmp_path, make_content(1))
    before = path.stat()
    match change:
        case "bytes":
            path.write_bytes(make_content(2))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "time":
            os.utime(path, ns=(0, 0))
        case "mode":
            path.chmod(0o400)
        case "link":
            (tmp_path / "backup").hardlink_to(path)
        case _:
            (tmp_path / "copy").write_bytes(make_content(1))
            (tmp_path / "copy").replace(path)
    assert await is_verified(blobs, make_content(1)) is False
    assert await verify(blobs, make_content(1)) is (change != "bytes")
    assert await is_verified(blobs, make_content(1)) is (None if change == "bytes" else True)


async def test_recording_the_time_of_use_leaves_a_blob_as_it_was(
    make_blobs: BlobsFactory, clock: ManualUnixClock
) -> None:
    blobs = await make_blobs()
    await publish(blobs, make_content(1))
    for _ in range(3):
        clock.now += 2 * TOUCH_INTERVAL_SECONDS
        assert await is_verified(blobs, make_content(1)) is True
    blobs = await reopen(make_blobs, blobs)
    for _ in range(3):
        clock.now += 2 * TOUCH_INTERVAL_SECONDS
        assert await is_verified(blobs, make_content(1)) is False


async def test_a_file_that_is_written_to_while_it_is_hashed_is_not_taken_for_verified(
    blobs: DiskBlobStore, tmp_path: Path
) -> None:
    await publish(blobs, make_content(1))
    blob = await blobs.open(digest(make_content(1)))
    assert blob is not None

    async def spoil(_hashed_bytes: int) -> None:
        await asyncio.to_thread(get_blob_path(tmp_path, make_content(1)).write_bytes, make_content(2))

    assert await blob.verify_paced(spoil), "these bytes were right"
    await blob.close()
    assert await is_verified(blobs, make_content(1)) is False
    assert await verify(blobs, make_content(1)) is False


async def test_a_corrupt_blob_that_was_replaced_meanwhile_is_left_alone(blobs: DiskBlobStore, tmp_path: Path) -> None:
    await publish(blobs, make_content(1))
    get_blob_path(tmp_path, make_content(1)).write_bytes(make_content(2))
    blob = await blobs.open(digest(make_content(1)))
    assert blob is not None
    await publish(blobs, make_content(1))
    assert not await blob.verify()
    await blob.close()
    assert await content_of(blobs, digest(make_content(1))) == make_content(1)
    assert await is_verified(blobs, make_content(1)) is True


async def test_a_truncated_file_is_found_while_it_is_hashed(
    make_blobs: BlobsFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blobs = await make_blobs()
    await publish(blobs, make_content(1))
    blob = await blobs.open(digest(make_content(1)))
    assert blob is not None
    os.truncate(get_blob_path(tmp_path, make_content(1)), 10)
    assert not await blob.verify()
    await blob.close()
    assert "10 bytes, expected 3072" in {getattr(record, "fields", {}).get("found") for record in caplog.records}


async def test_verification_of_all_blobs_is_no_use_of_them(
    make_blobs: BlobsFactory, tmp_path: Path, clock: ManualUnixClock
) -> None:
    blobs = await make_blobs()
    for number in range(3):
        await publish(blobs, make_content(number))
    await content_of(blobs, digest(make_content(0)))
    before = get_blob_path(tmp_path, make_content(1)).stat().st_mtime_ns
    clock.now += 2 * TOUCH_INTERVAL_SECONDS
    assert (await blobs.verify()).broken == ()
    assert get_blob_path(tmp_path, make_content(1)).stat().st_mtime_ns == before
    await publish(blobs, make_content(3))
    assert await list_present(blobs, range(4)) == [0, 2, 3]


async def test_a_warm_blob_costs_one_open_and_one_fstat(blobs: DiskBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await publish(blobs, make_content(1))
    await is_verified(blobs, make_content(1))  # records the time of use
    real, calls = os.fstat, list[int]()

    def counting(descriptor: int) -> os.stat_result:
        calls.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr("assay.store.blob_directory.os.fstat", counting)
    assert await is_verified(blobs, make_content(1)) is True
    assert len(calls) == 1


async def test_only_a_blob_that_may_exist_is_looked_for_in_a_thread(
    blobs: DiskBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise StorageError("a thread was used")

    stored, absent = await publish(blobs, b"abc"), digest(b"absent")
    with monkeypatch.context() as patched:
        patched.setattr(blobs.read_threads, "acquire", refuse)
        assert await blobs.open(absent) is None
        with pytest.raises(StorageError, match="a thread was used"):
            await blobs.open(stored)
        with blobs.directory._lock, pytest.raises(StorageError, match="a thread was used"):
            await blobs.open(absent)  # another thread uses the index: the event loop does not wait for it
    await blobs.read_threads.close()
    for wanted in (stored, absent):
        with pytest.raises(StorageError, match="closed"):
            await blobs.open(wanted)


async def test_the_first_reader_of_a_growing_file_is_ready_and_further_ones_are_opened_in_a_thread(
    blobs: DiskBlobStore,
) -> None:
    partial = await blobs.create_partial()
    await partial.append(b"abc")
    await blobs.read_threads.close()
    with await partial.open_reader() as first:
        assert first.read() == b"abc"
        await partial.append(b"def")
        assert first.read() == b"def"
    with pytest.raises(StorageError, match="closed"):
        await partial.open_reader()
    await partial.discard()


@pytest.mark.parametrize("is_taken", [True, False])
async def test_a_ready_reader_is_closed_with_its_file_unless_it_was_taken(
    blobs: DiskBlobStore, *, is_taken: bool
) -> None:
    partial = await blobs.create_partial()
    [ready] = partial._ready_readers
    if is_taken:
        assert await partial.open_reader() is ready
    await partial.discard()
    assert ready.closed is not is_taken
    ready.close()
