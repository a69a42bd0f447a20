"""Tests of a download with many followers: the release of bytes, and broken, lying and slow sources."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import threading
from collections.abc import AsyncIterator
from typing import BinaryIO

import pytest

from assay.errors import (
    AssayError,
    DigestMismatchError,
    InvalidResponseError,
    StorageError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from assay.files.download import WITHHELD_TAIL_BYTES, ByteSpan, Download
from assay.files.download_registry import DownloadRegistry
from assay.files.source_plan import ListedSources, plan_in_order
from assay.simple.model import Sha256
from assay.store.blobs import DiskBlobStore, DiskPartialBlob
from assay.store.fallback_blobs import FallbackBlobStore
from assay.store.temp_blobs import TempBlobs
from tests.unit.files.sources import CONTENT, DIGEST, Served, approved, followed, released, sends, wanted


async def test_a_follower_gets_all_bytes_and_the_blob_is_published(blobs: DiskBlobStore) -> None:
    download = Download(wanted(), ListedSources([Served([sends()])]), blobs)
    run = asyncio.create_task(download.run())
    assert await followed(download) == CONTENT
    await run
    blob = await blobs.open(DIGEST)
    assert blob is not None
    assert blob.size == len(CONTENT)
    await blob.close()


@pytest.mark.parametrize("size", [len(CONTENT), None])
async def test_the_tail_is_withheld_until_the_digest_is_right(blobs: DiskBlobStore, size: int | None) -> None:
    corrupted = CONTENT[:-1] + b"x"
    download = Download(wanted(size), ListedSources([Served([sends(corrupted)])]), blobs)
    given, _ = await asyncio.gather(released(download), download.run())
    assert given[0] <= len(CONTENT) - WITHHELD_TAIL_BYTES
    assert isinstance(given[1], DigestMismatchError)
    assert await blobs.open(DIGEST) is None


async def test_who_comes_to_read_when_it_has_failed_is_told_why(blobs: DiskBlobStore) -> None:
    wrong = bytes(len(CONTENT))
    download = Download(wanted(), ListedSources([Served([sends(wrong)])]), blobs)
    running = asyncio.create_task(download.run())
    await download.wait_until_sendable()
    await running
    assert download.has_failed
    with pytest.raises(DigestMismatchError, match="SHA-256"):
        await download.open_reader()


async def test_of_a_small_file_nothing_is_released_before_its_digest_is_right(blobs: DiskBlobStore) -> None:
    content = CONTENT[:WITHHELD_TAIL_BYTES]
    digest = Sha256(hashlib.sha256(content).hexdigest())
    bad = Download(
        wanted(WITHHELD_TAIL_BYTES, digest),
        ListedSources([Served([sends(b"y" + content[1:])], WITHHELD_TAIL_BYTES)]),
        blobs,
    )
    given, _ = await asyncio.gather(released(bad), bad.run())
    assert given[0] == 0
    assert isinstance(given[1], DigestMismatchError)
    good = Download(
        wanted(WITHHELD_TAIL_BYTES, digest),
        ListedSources([Served([sends(content)], WITHHELD_TAIL_BYTES)]),
        blobs,
    )
    got, _ = await asyncio.gather(followed(good), good.run())
    assert got == content


async def test_a_withdrawn_approval_keeps_the_tail(blobs: DiskBlobStore) -> None:
    download = Download(wanted(), ListedSources([Served([sends()])]), blobs)

    async def withdrawn() -> None:
        raise InvalidResponseError("not approved any more")

    run = asyncio.create_task(download.run())
    with pytest.raises(InvalidResponseError):
        await followed(download, withdrawn)
    await run


async def test_a_broken_body_is_taken_up_where_it_broke(blobs: DiskBlobStore) -> None:
    source = Served([sends(breaks_after=100_000), sends()])
    download = Download(wanted(), ListedSources([source]), blobs)
    got, _ = await asyncio.gather(followed(download), download.run())
    assert got == CONTENT
    assert source.starts == [0, 100_000]


async def test_an_index_that_starts_again_is_followed_while_its_bytes_agree(blobs: DiskBlobStore) -> None:
    source = Served([sends(breaks_after=100_000), sends()], ignores_range=True)
    download = Download(wanted(), ListedSources([source]), blobs)
    got, _ = await asyncio.gather(followed(download), download.run())
    assert got == CONTENT


async def test_an_index_that_starts_again_with_other_bytes_is_refused(blobs: DiskBlobStore) -> None:
    # The second body as a whole has the right digest, but its beginning differs from the bytes that followers have.
    source = Served([sends(b"z" + CONTENT[1:], breaks_after=100_000), sends()], ignores_range=True)
    download = Download(wanted(), ListedSources([source]), blobs)
    given, _ = await asyncio.gather(released(download), download.run())
    assert isinstance(given[1], DigestMismatchError)
    assert await blobs.open(DIGEST) is None


async def test_a_source_that_never_gets_on_is_given_up(blobs: DiskBlobStore) -> None:
    source = Served([sends(breaks_after=0)])
    download = Download(wanted(), ListedSources([source]), blobs)
    given, _ = await asyncio.gather(released(download), download.run())
    assert isinstance(given[1], UpstreamUnavailableError)
    assert len(source.starts) == 4


async def test_a_source_that_is_silent_from_the_start_is_given_up_at_once(blobs: DiskBlobStore) -> None:
    silent, good = sends(breaks_after=0, error=UpstreamTimeoutError), Served([sends()])
    source = Served([silent, sends()])
    download = Download(wanted(), ListedSources([source]), blobs)
    given, _ = await asyncio.gather(released(download), download.run())
    assert isinstance(given[1], UpstreamTimeoutError)
    assert source.starts == [0]
    # Another source of the same file is used.
    download = Download(wanted(), ListedSources([Served([silent]), good]), blobs)
    assert (await asyncio.gather(followed(download), download.run()))[0] == CONTENT


async def test_a_source_that_stalls_after_some_bytes_is_asked_for_the_rest(blobs: DiskBlobStore) -> None:
    source = Served([sends(breaks_after=100_000, error=UpstreamTimeoutError), sends()])
    download = Download(wanted(), ListedSources([source]), blobs)
    assert (await asyncio.gather(followed(download), download.run()))[0] == CONTENT
    assert source.starts == [0, 100_000]


@pytest.mark.parametrize(
    ("length", "content", "error"),
    [
        (len(CONTENT) + 1, CONTENT + b"x", DigestMismatchError),
        (len(CONTENT) - 1, CONTENT[:-1], DigestMismatchError),
        (None, CONTENT + b"x", DigestMismatchError),
        (None, CONTENT[:-1], UpstreamUnavailableError),
    ],
)
async def test_another_length_than_the_page_says_is_refused(
    blobs: DiskBlobStore, length: int | None, content: bytes, error: type[AssayError]
) -> None:
    download = Download(wanted(), ListedSources([Served([sends(content)], length)]), blobs)
    given, _ = await asyncio.gather(released(download), download.run())
    assert isinstance(given[1], error)
    assert await blobs.open(DIGEST) is None


async def test_a_file_of_unknown_length_is_released_when_it_is_verified(blobs: DiskBlobStore) -> None:
    download = Download(wanted(None), ListedSources([Served([sends()], None)]), blobs)
    got, _ = await asyncio.gather(followed(download), download.run())
    assert got == CONTENT


async def test_a_file_over_the_limit_is_refused_and_one_at_the_limit_is_not(blobs: DiskBlobStore) -> None:
    small = Download(wanted(None, limit=1000), ListedSources([Served([sends()], None)]), blobs)
    given, _ = await asyncio.gather(released(small), small.run())
    assert isinstance(given[1], DigestMismatchError)
    exact = Download(wanted(None, limit=len(CONTENT)), ListedSources([Served([sends()], None)]), blobs)
    got, _ = await asyncio.gather(followed(exact), exact.run())
    assert got == CONTENT


async def test_many_followers_cause_one_fetch_and_a_leaving_one_harms_none(blobs: DiskBlobStore) -> None:
    source = Served([sends()])
    downloads = DownloadRegistry(blobs, plan_in_order(source))
    joined = [downloads.join(wanted()) for _ in range(10)]
    assert len({id(download) for download in joined}) == 1
    downloads.leave(joined.pop())
    results = await asyncio.gather(*(followed(download) for download in joined))
    assert set(results) == {CONTENT}
    assert source.starts == [0]
    await downloads.close()


async def test_a_client_that_comes_again_gets_the_reason_of_a_silent_download(blobs: DiskBlobStore) -> None:
    source = Served([sends(breaks_after=0, error=UpstreamTimeoutError), sends()])
    now = 1000.0
    downloads = DownloadRegistry(blobs, plan_in_order(source), clock=lambda: now)
    for _ in range(3):
        download = downloads.join(wanted())
        with pytest.raises(UpstreamTimeoutError):
            await download.wait_until_sendable()
        downloads.leave(download)
    assert source.starts == [0]
    await asyncio.gather(*(task for _, task in downloads._running.values()))
    await asyncio.sleep(0)
    now += 21
    assert await followed(downloads.join(wanted())) == CONTENT
    await downloads.close()


async def test_a_failure_other_than_silence_is_not_remembered(blobs: DiskBlobStore) -> None:
    source = Served([sends(CONTENT[:-1] + b"!"), sends()])
    downloads = DownloadRegistry(blobs, plan_in_order(source))
    with pytest.raises(DigestMismatchError):
        await followed(downloads.join(wanted()))
    assert await followed(downloads.join(wanted())) == CONTENT
    await downloads.close()


@pytest.mark.parametrize("comes_again", [True, False])
async def test_a_large_download_waits_for_its_first_byte_until_a_client_comes_again(
    blobs: DiskBlobStore, comes_again: bool
) -> None:
    begins = asyncio.Event()

    async def late(start: int) -> AsyncIterator[bytes]:
        await begins.wait()
        yield CONTENT[start:]

    large = wanted(size=100 * 2**20)
    downloads = DownloadRegistry(blobs, plan_in_order(Served([late], length=None)), rejoin_seconds=0.1)
    download = downloads.join(large)
    downloads.leave(download)
    if comes_again:
        assert downloads.join(large) is download
    await asyncio.sleep(0.3)
    assert (downloads.join(large) is download) == comes_again
    begins.set()
    await downloads.close()


async def test_closing_ends_followers_with_an_error_and_leaves_nothing(blobs: DiskBlobStore) -> None:
    started = asyncio.Event()

    async def stalls(start: int) -> AsyncIterator[bytes]:
        yield CONTENT[start:1000]
        started.set()
        await asyncio.Event().wait()

    downloads = DownloadRegistry(blobs, plan_in_order(Served([stalls])))
    download = downloads.join(wanted())
    follower = asyncio.create_task(released(download))
    await started.wait()
    await downloads.close()
    given, error = await follower
    assert isinstance(error, UpstreamUnavailableError)
    assert given <= 1000
    assert await blobs.open(DIGEST) is None


async def test_whoever_comes_to_read_what_has_failed_meanwhile_is_told_of_that_and_not_of_the_storage(
    blobs: DiskBlobStore,
) -> None:
    tampered = Served([sends(CONTENT[:-1] + b"!")])
    download = Download(wanted(), ListedSources([tampered]), blobs)
    await download.run()
    with pytest.raises(DigestMismatchError):
        await download.open_reader()
    good = Download(wanted(), ListedSources([Served([sends()])]), blobs)
    good.add_follower()
    running = asyncio.create_task(good.run())
    await good.wait_until_verified()
    (await good.open_reader()).close()
    good.remove_follower()
    await running


@pytest.mark.parametrize("is_discarded", [False, True])
async def test_a_reader_is_opened_again_if_the_bytes_move_meanwhile(
    blobs: DiskBlobStore, monkeypatch: pytest.MonkeyPatch, is_discarded: bool
) -> None:
    def fail_once(partial: DiskPartialBlob, pieces: list[memoryview]) -> None:
        if partial.bytes_written >= len(CONTENT) // 2:
            raise StorageError("cannot write: No space left on device")
        append(partial, pieces)

    append = DiskPartialBlob._append
    monkeypatch.setattr(DiskPartialBlob, "_append", fail_once)
    more, temp_blobs = asyncio.Event(), TempBlobs()

    async def chunks(start: int) -> AsyncIterator[bytes]:
        yield CONTENT[start : len(CONTENT) // 2]
        await more.wait()
        yield CONTENT[len(CONTENT) // 2 :]

    download = Download(wanted(), ListedSources([Served([chunks])]), FallbackBlobStore(blobs, temp_blobs))
    run = asyncio.create_task(download.run())
    await download.wait_until_sendable()
    opened = DiskPartialBlob.open_reader
    first: list[BinaryIO] = []

    async def open_slowly(partial: DiskPartialBlob) -> BinaryIO:
        if more.is_set():
            return await opened(partial)
        first.append(await opened(partial))
        more.set()
        await download.wait_until_verified()
        if is_discarded:
            first[0].close()
            raise StorageError("this file was discarded")
        return first[0]

    monkeypatch.setattr(DiskPartialBlob, "open_reader", open_slowly)
    download.add_follower()
    reader = await download.open_reader()
    assert download.move_count == 1
    assert reader.read() == CONTENT
    reader.close()
    assert first[0].closed
    download.remove_follower()
    await run
    await temp_blobs.close()


async def test_a_file_that_cannot_be_stored_is_downloaded_again_although_a_slow_follower_is_left(
    blobs: DiskBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_opened = threading.Event()

    def fail(_descriptor: int) -> None:
        is_opened.wait(timeout=5)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("assay.store.blobs.os.fsync", fail)
    source, temp_blobs = Served([sends()]), TempBlobs()
    store = FallbackBlobStore(blobs, temp_blobs)
    registry = DownloadRegistry(store, plan_in_order(source))
    slow = registry.join(wanted())
    reader = await _open_verified(slow)
    is_opened.set()
    await asyncio.sleep(0.2)
    is_opened.clear()
    new = registry.join(wanted())
    assert new is not slow
    (await _open_verified(new)).close()
    is_opened.set()
    assert reader.read() == CONTENT, "the slow follower keeps its bytes"
    reader.close()
    registry.leave(slow)
    registry.leave(new)
    assert source.starts == [0, 0]
    await asyncio.sleep(0.2)

    def refuse(_blobs: DiskBlobStore) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(DiskBlobStore, "_create_partial", refuse)
    kept = registry.join(wanted())
    (await _open_verified(kept)).close()
    await asyncio.sleep(0.05)
    again = registry.join(wanted())
    assert again is kept, "the twin: the bytes are in a temporary file, which new followers can read"
    (await _open_verified(again)).close()
    await registry.close()
    await temp_blobs.close()


async def _open_verified(download: Download) -> BinaryIO:
    async with asyncio.timeout(5):
        await download.wait_until_verified()
        return await download.open_reader()


@pytest.mark.parametrize("start", [0, 1, len(CONTENT) - WITHHELD_TAIL_BYTES, len(CONTENT) - 1, len(CONTENT)])
async def test_a_follower_may_begin_at_any_byte(blobs: DiskBlobStore, start: int) -> None:
    download = Download(wanted(), ListedSources([Served([sends()])]), blobs)
    spans: list[ByteSpan] = []

    async def follow() -> None:
        spans.extend([span async for span in download.follow(approved, start)])

    download.add_follower()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(download.run())
        await tasks.create_task(follow())
        download.remove_follower()
    covered = [(span.offset, span.offset + span.count) for span in spans]
    assert sum(end - begin for begin, end in covered) == len(CONTENT) - start
    assert [begin for begin, _ in covered] == [start, *(end for _, end in covered[:-1])][: len(covered)]
