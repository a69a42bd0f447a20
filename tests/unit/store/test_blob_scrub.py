"""Tests of the background verification of blobs: places in an interval, pace, and bytes changed behind all times."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from assay.simple.model import Sha256
from assay.store.blob_directory import FileIdentity
from assay.store.blob_scrub import MIN_BYTES_PER_SECOND, BlobScrub
from assay.store.blobs import DiskBlob, DiskBlobStore
from tests.contract.blobs_contract import digest, publish
from tests.world.proxy.blobs import KIB, BlobsFactory, ManualUnixClock, get_blob_path, list_present, make_content

WEEK = timedelta(days=7)
PLACE_BYTES = 8


def place_of(content: bytes) -> float:
    return int(digest(content)[: 2 * PLACE_BYTES], 16) / 2.0 ** (8 * PLACE_BYTES)


def watch(monkeypatch: pytest.MonkeyPatch) -> list[Sha256]:
    """Return the list of digests that are verified from now on."""
    verified, verify = list[Sha256](), DiskBlob.verify_paced

    async def watched(blob: DiskBlob, *arguments: object) -> bool:
        verified.append(blob.sha256)
        return await verify(blob, *arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(DiskBlob, "verify_paced", watched)
    return verified


@pytest.fixture
def scrub(blobs: DiskBlobStore, clock: ManualUnixClock) -> BlobScrub:
    return BlobScrub(blobs, WEEK, clock)


async def rot(blobs: DiskBlobStore, tmp_path: Path, content: bytes) -> None:
    """Change a byte without a trace in the times, as a disk does."""
    path = get_blob_path(tmp_path, content)
    with path.open("r+b") as file:
        file.write(b"x")
        file.flush()
        blobs.directory.mark_verified(digest(content), FileIdentity.read(file.fileno()))


async def test_bytes_that_the_disk_changed_are_found_although_the_blob_is_verified(
    blobs: DiskBlobStore, scrub: BlobScrub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        await publish(blobs, make_content(number))
    await rot(blobs, tmp_path, make_content(1))
    blob = await blobs.open(digest(make_content(1)))
    assert blob is not None
    assert blob.is_verified, "no time tells of it"
    await blob.close()
    await scrub.verify_between(0.0, 1.0)
    assert await list_present(blobs, range(3)) == [0, 2]
    assert ("blob-corrupt", "assay.security") in {(record.getMessage(), record.name) for record in caplog.records}
    assert (await blobs.stats()).opened == 0


@pytest.mark.parametrize("begin", [0.0, 0.25, 2900.7])
async def test_each_interval_verifies_every_blob_once_in_the_order_of_places(
    make_blobs: BlobsFactory, clock: ManualUnixClock, monkeypatch: pytest.MonkeyPatch, begin: float
) -> None:
    blobs = await make_blobs(100 * KIB)
    contents = [make_content(number, 100) for number in range(20)]
    for content in contents:
        await publish(blobs, content)
    verified, scrub = watch(monkeypatch), BlobScrub(blobs, WEEK, clock)
    for step in range(7):
        await scrub.verify_between(begin + step / 7, begin + (step + 1) / 7)
    expected = sorted(contents, key=lambda content: (place_of(content) - begin) % 1.0)
    assert verified == [digest(content) for content in expected]


async def test_a_step_verifies_what_is_due_in_it_and_a_missed_interval_everything_once(
    make_blobs: BlobsFactory, clock: ManualUnixClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await make_blobs(100 * KIB)
    contents = [make_content(number, 100) for number in range(20)]
    for content in contents:
        await publish(blobs, content)
    verified, scrub = watch(monkeypatch), BlobScrub(blobs, WEEK, clock)
    place = place_of(contents[3])
    await scrub.verify_between(place - 1e-9, place + 1e-9)
    assert verified == [digest(contents[3])]
    verified.clear()
    await scrub.verify_between(5.0, 9.5)
    assert sorted(verified) == sorted(digest(content) for content in contents)


async def test_it_runs_by_itself_from_the_place_of_the_wall_clock(
    blobs: DiskBlobStore, clock: ManualUnixClock, tmp_path: Path
) -> None:
    content = make_content(1)
    await publish(blobs, content)
    await rot(blobs, tmp_path, content)
    clock.now = (place_of(content) + 1000 - 0.01) * WEEK.total_seconds()
    waiting = BlobScrub(blobs, WEEK, clock)
    waiting.start()
    running = BlobScrub(blobs, timedelta(seconds=1), lambda: place_of(content) - 0.01)
    running.start()
    async with asyncio.timeout(10):
        while (await blobs.stats()).count:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0.01)
    await running.close()
    await running.close()
    await waiting.close()


async def test_it_reads_slowly_and_counts_as_no_use(
    make_blobs: BlobsFactory, clock: ManualUnixClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await make_blobs(2**24)
    content = make_content(1, 6 * 2**20)
    await publish(blobs, content, piece=2**20)
    before = get_blob_path(tmp_path, content).stat()
    clock.now += 10**6
    pauses, sleep = list[float](), asyncio.sleep

    async def record(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr("assay.store.blob_scrub.asyncio.sleep", record)
    await BlobScrub(blobs, WEEK, clock).verify_between(0.0, 1.0)
    assert sum(pauses) == pytest.approx(len(content) / MIN_BYTES_PER_SECOND)
    assert len(pauses) == 2
    assert get_blob_path(tmp_path, content).stat().st_mtime_ns == before.st_mtime_ns
    # A large store is read faster, so that the interval suffices.
    pauses.clear()
    await BlobScrub(blobs, timedelta(seconds=0.5), clock).verify_between(0.0, 1.0)
    assert sum(pauses) == pytest.approx(0.5 / 4)


async def test_a_blob_that_is_gone_or_unreadable_does_not_end_it(
    make_blobs: BlobsFactory, clock: ManualUnixClock, tmp_path: Path
) -> None:
    blobs = await make_blobs(100 * KIB)
    for number in range(4):
        await publish(blobs, make_content(number))
    get_blob_path(tmp_path, make_content(0)).unlink()
    get_blob_path(tmp_path, make_content(1)).write_bytes(b"short")
    get_blob_path(tmp_path, make_content(2)).write_bytes(make_content(9))
    await BlobScrub(blobs, WEEK, clock).verify_between(0.0, 1.0)
    assert await list_present(blobs, range(4)) == [3]
