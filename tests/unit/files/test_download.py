"""One fetch, many followers: what is released when, and what a broken, lying or slow source leads to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from assay.errors import AssayError, DigestMismatchError, InvalidResponseError, UpstreamUnavailableError
from assay.files.download import WITHHELD_TAIL_BYTES, Download
from assay.files.download_registry import DownloadRegistry
from assay.simple.model import Sha256
from assay.store.blobs import DiskBlobStore
from tests.unit.files.sources import CONTENT, DIGEST, Served, followed, released, sends, wanted


async def test_a_follower_gets_all_bytes_and_the_blob_is_published(blobs: DiskBlobStore) -> None:
    download = Download(wanted(), [Served([sends()])], blobs)
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
    download = Download(wanted(size), [Served([sends(corrupted)])], blobs)
    given, _ = await asyncio.gather(released(download), download.run())
    assert given[0] <= len(CONTENT) - WITHHELD_TAIL_BYTES
    assert isinstance(given[1], DigestMismatchError)
    assert await blobs.open(DIGEST) is None


async def test_who_comes_to_read_when_it_has_failed_is_told_why(blobs: DiskBlobStore) -> None:
    wrong = bytes(len(CONTENT))
    download = Download(wanted(), [Served([sends(wrong)])], blobs)
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
        [Served([sends(b"y" + content[1:])], WITHHELD_TAIL_BYTES)],
        blobs,
    )
    given, _ = await asyncio.gather(released(bad), bad.run())
    assert given[0] == 0
    assert isinstance(given[1], DigestMismatchError)
    good = Download(
        wanted(WITHHELD_TAIL_BYTES, digest),
        [Served([sends(content)], WITHHELD_TAIL_BYTES)],
        blobs,
    )
    got, _ = await asyncio.gather(followed(good), good.run())
    assert got == content


async def test_a_withdrawn_approval_keeps_the_tail(blobs: DiskBlobStore) -> None:
    download = Download(wanted(), [Served([sends()])], blobs)

    async def withdrawn() -> None:
        raise InvalidResponseError("not approved any more")

    run = asyncio.create_task(download.run())
    with pytest.raises(InvalidResponseError):
        await followed(download, withdrawn)
    await run


async def test_a_broken_body_is_taken_up_where_it_broke(blobs: DiskBlobStore) -> None:
    source = Served([sends(breaks_after=100_000), sends()])
    download = Download(wanted(), [source], blobs)
    got, _ = await asyncio.gather(followed(download), download.run())
    assert got == CONTENT
    assert source.starts == [0, 100_000]


async def test_an_index_that_starts_again_is_followed_while_its_bytes_agree(blobs: DiskBlobStore) -> None:
    source = Served([sends(breaks_after=100_000), sends()], ignores_range=True)
    download = Download(wanted(), [source], blobs)
    got, _ = await asyncio.gather(followed(download), download.run())
    assert got == CONTENT


async def test_an_index_that_starts_again_with_other_bytes_is_refused(blobs: DiskBlobStore) -> None:
    # The whole second body has the right digest, but its beginning is not what followers already have.
    source = Served([sends(b"z" + CONTENT[1:], breaks_after=100_000), sends()], ignores_range=True)
    download = Download(wanted(), [source], blobs)
    given, _ = await asyncio.gather(released(download), download.run())
    assert isinstance(given[1], DigestMismatchError)
    assert await blobs.open(DIGEST) is None


async def test_a_source_that_never_gets_on_is_given_up(blobs: DiskBlobStore) -> None:
    source = Served([sends(breaks_after=0)])
    download = Download(wanted(), [source], blobs)
    given, _ = await asyncio.gather(released(download), download.run())
    assert isinstance(given[1], UpstreamUnavailableError)
    assert len(source.starts) == 4


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
    download = Download(wanted(), [Served([sends(content)], length)], blobs)
    given, _ = await asyncio.gather(released(download), download.run())
    assert isinstance(given[1], error)
    assert await blobs.open(DIGEST) is None


async def test_a_file_of_unknown_length_is_released_when_it_is_verified(blobs: DiskBlobStore) -> None:
    download = Download(wanted(None), [Served([sends()], None)], blobs)
    got, _ = await asyncio.gather(followed(download), download.run())
    assert got == CONTENT


async def test_a_file_over_the_limit_is_refused_and_one_at_the_limit_is_not(blobs: DiskBlobStore) -> None:
    small = Download(wanted(None, limit=1000), [Served([sends()], None)], blobs)
    given, _ = await asyncio.gather(released(small), small.run())
    assert isinstance(given[1], DigestMismatchError)
    exact = Download(wanted(None, limit=len(CONTENT)), [Served([sends()], None)], blobs)
    got, _ = await asyncio.gather(followed(exact), exact.run())
    assert got == CONTENT


async def test_many_followers_cause_one_fetch_and_a_leaving_one_harms_none(blobs: DiskBlobStore) -> None:
    source = Served([sends()])
    downloads = DownloadRegistry(blobs, [source])
    joined = [downloads.join(wanted()) for _ in range(10)]
    assert len({id(download) for download in joined}) == 1
    downloads.leave(joined.pop())
    results = await asyncio.gather(*(followed(download) for download in joined))
    assert set(results) == {CONTENT}
    assert source.starts == [0]
    await downloads.close()


async def test_closing_ends_followers_with_an_error_and_leaves_nothing(blobs: DiskBlobStore) -> None:
    started = asyncio.Event()

    async def stalls(start: int) -> AsyncIterator[bytes]:
        yield CONTENT[start:1000]
        started.set()
        await asyncio.Event().wait()

    downloads = DownloadRegistry(blobs, [Served([stalls])])
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
    download = Download(wanted(), [tampered], blobs)
    await download.run()
    with pytest.raises(DigestMismatchError):
        await download.open_reader()
    good = Download(wanted(), [Served([sends()])], blobs)
    await good.run()
    (await good.open_reader()).close()
