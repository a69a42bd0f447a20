"""Tests of downloads whose bytes are stored but not verified: the stored bytes first, then the sources."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from assay.errors import StorageError
from assay.files.download import WITHHELD_TAIL_BYTES, Download
from assay.files.download_registry import DownloadRegistry
from assay.files.source_plan import ListedSources, plan_in_order
from assay.ports import Blob
from assay.simple.model import Sha256
from assay.store.blobs import DiskBlobStore
from tests.contract.blobs_contract import publish
from tests.unit.files.sources import Served, followed, released, sends, wanted

SMALL = bytes(range(256)) * 1024
LARGE = bytes(range(256)) * 40 * 1024  # 10 MiB, more than is held back


def digest_of(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


async def store(blobs: DiskBlobStore, tmp_path: Path, content: bytes, rotten: int | None = None) -> Blob:
    """Return the unverified blob of `content`, with a changed byte at the offset `rotten`."""
    sha = await publish(blobs, content, piece=2**20)
    path = next((tmp_path / "blobs").glob(f"*/{sha}.*"))
    with path.open("r+b") as file:
        file.seek(rotten or 0)
        byte = file.read(1)
        file.seek(rotten or 0)
        file.write(byte if rotten is None else bytes([byte[0] ^ 1]))
    path.chmod(0o400)
    blob = await blobs.open(sha)
    assert blob is not None
    assert not blob.is_verified
    return blob


def source(content: bytes) -> Served:
    return Served([sends(content, step=2**20)], len(content))


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_intact_bytes_are_released_and_no_source_is_asked(
    blobs: DiskBlobStore, tmp_path: Path, content: bytes
) -> None:
    stored, index = await store(blobs, tmp_path, content), source(content)
    download = Download(wanted(len(content), digest_of(content)), ListedSources([index]), blobs, stored)
    download.add_follower()
    run = asyncio.create_task(download.run())
    assert await followed(download) == content
    assert download.is_verified
    assert not run.done(), "its readers may still open the stored file"
    reader = await download.open_reader()
    reader.close()
    download.remove_follower()
    await run
    assert download.is_useless
    assert index.starts == []
    assert stored.file.closed
    again = await blobs.open(stored.sha256)
    assert again is not None
    assert again.is_verified
    await again.close()


@pytest.mark.parametrize("rotten", [0, len(SMALL) // 2, len(SMALL) - 1])
async def test_wrong_bytes_of_a_file_that_is_held_back_are_replaced_unnoticed(
    blobs: DiskBlobStore, tmp_path: Path, rotten: int
) -> None:
    stored, index = await store(blobs, tmp_path, SMALL, rotten), source(SMALL)
    download = Download(wanted(len(SMALL), digest_of(SMALL)), ListedSources([index]), blobs, stored)
    run = asyncio.create_task(download.run())
    assert await followed(download) == SMALL
    await run
    assert index.starts == [0]
    assert stored.file.closed
    again = await blobs.open(stored.sha256)
    assert again is not None
    assert again.is_verified
    await again.close()


@pytest.mark.parametrize("rotten", [0, len(LARGE) // 2, len(LARGE) - 1])
async def test_wrong_bytes_that_may_have_been_sent_fail_before_the_tail(
    blobs: DiskBlobStore, tmp_path: Path, rotten: int
) -> None:
    stored, index = await store(blobs, tmp_path, LARGE, rotten), source(LARGE)
    download = Download(wanted(len(LARGE), digest_of(LARGE)), ListedSources([index]), blobs, stored)
    (given, error), _ = await asyncio.gather(released(download), download.run())
    assert 0 < given <= len(LARGE) - WITHHELD_TAIL_BYTES
    assert isinstance(error, StorageError)
    assert index.starts == []
    assert stored.file.closed
    assert await blobs.open(stored.sha256) is None


async def test_wrong_bytes_of_which_none_was_sent_are_replaced(blobs: DiskBlobStore, tmp_path: Path) -> None:
    stored, index = await store(blobs, tmp_path, LARGE, 5), source(LARGE)
    download = Download(wanted(len(LARGE), digest_of(LARGE)), ListedSources([index]), blobs, stored)
    run = asyncio.create_task(download.run())
    await download.wait_until_verified()
    reader = await download.open_reader()
    assert reader.read() == LARGE
    reader.close()
    await run
    assert index.starts == [0]


async def test_a_page_with_another_size_does_not_matter_to_intact_bytes(blobs: DiskBlobStore, tmp_path: Path) -> None:
    stored = await store(blobs, tmp_path, SMALL)
    download = Download(wanted(None, digest_of(SMALL)), ListedSources([source(SMALL)]), blobs, stored)
    download.add_follower()
    run = asyncio.create_task(download.run())
    assert await followed(download) == SMALL
    assert download.length == len(SMALL)
    download.remove_follower()
    await run


async def test_followers_share_one_check_and_an_abandoned_one_ends(blobs: DiskBlobStore, tmp_path: Path) -> None:
    stored, other = await store(blobs, tmp_path, LARGE), await blobs.open(digest_of(LARGE))
    assert other is not None
    registry, expected = DownloadRegistry(blobs, plan_in_order(source(LARGE))), wanted(len(LARGE), digest_of(LARGE))
    first, second = registry.join(expected, stored), registry.join(expected, other)
    assert first is second
    assert second.stored is stored
    await other.close()
    assert await followed(first) == LARGE
    registry.leave(first)
    assert not stored.file.closed
    registry.leave(second)
    await registry.close()
    assert stored.file.closed


async def test_a_check_that_all_followers_left_is_finished_for_the_next_use(
    blobs: DiskBlobStore, tmp_path: Path
) -> None:
    stored = await store(blobs, tmp_path, LARGE * 4)
    registry = DownloadRegistry(blobs, plan_in_order(source(LARGE)))
    registry.leave(registry.join(wanted(len(LARGE) * 4, digest_of(LARGE * 4)), stored))
    while not stored.file.closed:  # noqa: ASYNC110 - there is no event to await
        await asyncio.sleep(0.01)
    assert stored.is_verified
    await registry.close()


async def test_a_registry_that_is_closed_at_once_closes_the_stored_blob(blobs: DiskBlobStore, tmp_path: Path) -> None:
    stored = await store(blobs, tmp_path, SMALL)
    registry = DownloadRegistry(blobs, plan_in_order(source(SMALL)))
    registry.join(wanted(len(SMALL), digest_of(SMALL)), stored)
    await registry.close()
    assert stored.file.closed
