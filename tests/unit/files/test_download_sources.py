"""Tests of a download from several sources: their order, and the use of their bytes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Self

import pytest

from assay.errors import (
    AssayError,
    DigestMismatchError,
    InvalidResponseError,
    StorageError,
    UpstreamAccessDeniedError,
    UpstreamError,
    UpstreamGoneError,
    UpstreamUnavailableError,
)
from assay.files.download import WITHHELD_TAIL_BYTES, Download
from assay.files.download_registry import DownloadRegistry
from assay.files.source_plan import ListedSources, plan_in_order
from assay.ports import ExpectedFile, FileBody, Source
from assay.simple.model import Sha256
from assay.store.blobs import DiskBlobStore
from tests.unit.files.sources import CONTENT, DIGEST, Served, followed, released, sends, wanted

WRONG = bytes(byte ^ 0xFF for byte in CONTENT)
SMALL, SMALL_WRONG = CONTENT[:60_000], WRONG[:60_000]
"""Content so small that all of it is withheld until it is verified."""
SMALL_DIGEST = Sha256(hashlib.sha256(SMALL).hexdigest())


@dataclass
class Refusing(AbstractAsyncContextManager[FileBody]):
    """Source that fails before its first byte."""

    error: AssayError
    asked: int = 0

    def contents(self, file: ExpectedFile, start: int) -> Self:  # noqa: ARG002 - as the protocol names them
        self.asked += 1
        return self

    def get_retry_delay(self, attempt: int, retry_after: float | None) -> float | None:  # noqa: ARG002 - likewise
        return 0.0 if retry_after is None else None

    async def __aenter__(self) -> FileBody:
        raise self.error

    async def __aexit__(self, *_: object) -> None:
        pass


async def fetch(download: Download) -> bytes | AssayError:
    """Return the bytes, or the error, that a follower got who joined before the first byte."""

    async def follow() -> bytes | AssayError:
        try:
            return await followed(download)
        except AssayError as error:
            return error

    got, _ = await asyncio.gather(follow(), download.run())
    return got


async def is_kept(blobs: DiskBlobStore, sha256: Sha256) -> bool:
    blob = await blobs.open(sha256)
    if blob is None:
        return False
    await blob.close()
    return True


async def test_the_sources_are_asked_in_order_and_none_after_the_one_that_has_the_file(blobs: DiskBlobStore) -> None:
    absent, second, third = Refusing(UpstreamGoneError("absent")), Served([sends()]), Served([sends()])
    assert await fetch(Download(wanted(), ListedSources([absent, second, third]), blobs)) == CONTENT
    assert (absent.asked, second.starts, third.starts) == (1, [0], [])


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (UpstreamGoneError("absent"), 1),
        (InvalidResponseError("nonsense"), 1),
        (UpstreamAccessDeniedError("no"), 1),
        (DigestMismatchError("other bytes"), 1),
        (UpstreamUnavailableError("reset"), 4),
        (UpstreamUnavailableError("busy", retry_after=60), 1),
    ],
)
async def test_a_source_that_fails_before_the_first_byte_lets_the_next_be_tried(
    blobs: DiskBlobStore, error: UpstreamError, asked: int
) -> None:
    failing = Refusing(error)
    assert await fetch(Download(wanted(), ListedSources([failing, Served([sends()])]), blobs)) == CONTENT
    assert failing.asked == asked
    # For comparison: as the only source, its error is the result.
    got = await fetch(Download(wanted(), ListedSources([Refusing(error)]), blobs))
    assert isinstance(got, type(error))
    assert str(got) == str(error)


async def test_the_last_source_says_why_there_is_nothing(blobs: DiskBlobStore) -> None:
    sources = [Refusing(UpstreamUnavailableError("first")), Refusing(UpstreamGoneError("last"))]
    assert str(await fetch(Download(wanted(), ListedSources(sources), blobs))) == "last"


async def test_the_next_source_goes_on_where_a_broken_one_stopped(blobs: DiskBlobStore) -> None:
    breaking, whole = Served([sends(breaks_after=100_000)]), Served([sends()])
    assert await fetch(Download(wanted(), ListedSources([breaking, whole]), blobs)) == CONTENT
    assert breaking.starts == [0, 100_000, 100_000, 100_000]
    assert whole.starts == [100_000]


async def test_wrong_bytes_of_which_none_was_released_are_dropped_and_the_next_source_begins_anew(
    blobs: DiskBlobStore, caplog: pytest.LogCaptureFixture
) -> None:
    wrong, right = Served([sends(SMALL_WRONG)], len(SMALL)), Served([sends(SMALL)], len(SMALL))
    assert await fetch(Download(wanted(len(SMALL), SMALL_DIGEST), ListedSources([wrong, right]), blobs)) == SMALL
    assert (wrong.starts, right.starts) == ([0], [0])
    assert await is_kept(blobs, SMALL_DIGEST)
    assert caplog.messages.count("digest-mismatch") == 1, (
        "wrong bytes are logged even if another source has the right ones"
    )
    assert (await blobs.stats()).unfinished == 0


async def test_of_a_large_file_that_nobody_follows_yet_wrong_bytes_are_dropped_too(blobs: DiskBlobStore) -> None:
    download = Download(wanted(), ListedSources([Served([sends(WRONG)]), Served([sends()])]), blobs)
    running = asyncio.create_task(download.run())
    await download.wait_until_verified()
    download.add_follower()
    moves = download.move_count
    assert moves == 1, "a reader from before would read the dropped bytes"
    reader = await download.open_reader()
    assert reader.read() == CONTENT
    reader.close()
    download.remove_follower()
    await running
    assert await is_kept(blobs, DIGEST)


async def test_wrong_bytes_of_which_some_were_released_end_the_download(blobs: DiskBlobStore) -> None:
    right = Served([sends()])
    download = Download(wanted(), ListedSources([Served([sends(WRONG)]), right]), blobs)
    given, _ = await asyncio.gather(released(download), download.run())
    assert 0 < given[0] <= len(CONTENT) - WITHHELD_TAIL_BYTES
    assert isinstance(given[1], DigestMismatchError)
    assert right.starts == [], "a response that began with wrong bytes must not end with right ones"
    assert not await is_kept(blobs, DIGEST)


async def test_who_was_told_that_bytes_may_be_sent_is_not_given_another_file(blobs: DiskBlobStore) -> None:
    """A response's head is out then, with the length that the first source gave."""
    go_on = asyncio.Event()

    async def stalls(start: int) -> AsyncIterator[bytes]:
        yield WRONG[start:200_000]
        await go_on.wait()
        yield WRONG[200_000:]

    right = Served([sends()])
    download = Download(wanted(), ListedSources([Served([stalls]), right]), blobs)
    run = asyncio.create_task(download.run())
    await download.wait_until_sendable()
    go_on.set()
    await run
    assert download.has_failed
    assert right.starts == []


async def test_a_source_whose_bytes_complete_those_of_a_lying_one_is_tried_again_by_itself(
    blobs: DiskBlobStore,
) -> None:
    lying = Served([sends(SMALL_WRONG, breaks_after=30_000)], len(SMALL))
    right = Served([sends(SMALL)], len(SMALL))
    download = Download(wanted(len(SMALL), SMALL_DIGEST), ListedSources([lying, right]), blobs)
    assert await fetch(download) == SMALL
    assert right.starts == [30_000, 0]


async def test_the_length_that_a_source_without_bytes_gave_does_not_bind_the_next(blobs: DiskBlobStore) -> None:
    short = Served([sends(breaks_after=0)], 1000)
    assert await fetch(Download(wanted(None), ListedSources([short, Served([sends()])]), blobs)) == CONTENT


async def test_a_disk_that_takes_no_more_is_no_fault_of_the_source(tmp_path: Path) -> None:
    blobs = DiskBlobStore(tmp_path / "small", 100_000)
    await blobs.scan()
    second = Served([sends()])
    assert isinstance(await fetch(Download(wanted(), ListedSources([Served([sends()]), second]), blobs)), StorageError)
    assert second.starts == []
    await blobs.close()


async def test_a_registry_downloads_from_its_sources_in_order(blobs: DiskBlobStore) -> None:
    absent, second = Refusing(UpstreamGoneError("absent")), Served([sends()])
    downloads = DownloadRegistry(blobs, plan_in_order(absent, second))
    download = downloads.join(wanted())
    assert await followed(download) == CONTENT
    downloads.leave(download)
    await downloads.close()
    assert (absent.asked, second.starts) == (1, [0])


def make_sources(half: int) -> dict[str, Source]:
    size = len(SMALL)
    return {
        "absent": Refusing(UpstreamGoneError("absent")),
        "down": Refusing(UpstreamUnavailableError("down")),
        "breaks": Served([sends(SMALL, breaks_after=half)], size),
        "wrong": Served([sends(SMALL_WRONG)], size),
        "wrong and breaks": Served([sends(SMALL_WRONG, breaks_after=half)], size),
        "wrong length": Served([sends(SMALL + b"x")], size + 1),
        "right": Served([sends(SMALL)], size),
        "right without ranges": Served([sends(SMALL)], size, ignores_range=True),
    }


@pytest.mark.parametrize("size", [len(SMALL), None])
async def test_the_law_whatever_the_others_do_one_source_with_the_right_bytes_is_enough_and_needed(
    blobs: DiskBlobStore, size: int | None
) -> None:
    names = list(make_sources(0))
    for chosen in (*product(names), *product(names, names), *product(names, names, ["right", "absent"])):
        sources = [make_sources(30_000)[name] for name in chosen]
        got = await fetch(Download(wanted(size, SMALL_DIGEST), ListedSources(sources), blobs))
        if any(name.startswith("right") for name in chosen):
            assert got == SMALL, chosen
            assert await is_kept(blobs, SMALL_DIGEST), chosen
        else:
            assert isinstance(got, AssayError), chosen
            assert not await is_kept(blobs, SMALL_DIGEST), chosen
        await blobs.remove(SMALL_DIGEST)
