"""Contract of every engine for blobs. A test class of an engine inherits `BlobsContract` and gives `blobs`."""

from __future__ import annotations

import asyncio
import os
from hashlib import sha256

import pytest

from assay.errors import DigestMismatchError, StorageError
from assay.ports import Blob, BlobStore
from assay.simple.model import Sha256


def digest(content: bytes) -> Sha256:
    return Sha256(sha256(content).hexdigest())


async def publish(blobs: BlobStore, content: bytes, *, piece: int = 65536) -> Sha256:
    partial = await blobs.create_partial()
    for start in range(0, len(content), piece):
        await partial.append(content[start : start + piece])
    await partial.commit(digest(content))
    return digest(content)


async def content_of(blobs: BlobStore, sha: Sha256) -> bytes | None:
    blob = await blobs.open(sha)
    if blob is None:
        return None
    try:
        return whole(blob)
    finally:
        await blob.close()


def whole(blob: Blob) -> bytes:
    return os.pread(blob.file.fileno(), blob.size + 1, 0)


class BlobsContract:
    @pytest.fixture
    def blobs(self) -> BlobStore:
        raise NotImplementedError

    async def test_what_was_never_published_is_missing(self, blobs: BlobStore) -> None:
        assert await blobs.open(digest(b"x")) is None

    @pytest.mark.parametrize("size", [0, 1, 65536, 200_001])
    async def test_a_published_file_is_there_under_its_digest(self, blobs: BlobStore, size: int) -> None:
        content = os.urandom(size)
        sha = await publish(blobs, content)
        blob = await blobs.open(sha)
        assert blob is not None
        assert (blob.sha256, blob.size, whole(blob)) == (sha, size, content)
        await blob.close()
        await blob.close()

    @pytest.mark.parametrize("convert", [bytes, bytearray, memoryview])
    async def test_pieces_are_any_kind_of_bytes(self, blobs: BlobStore, convert: type) -> None:
        partial = await blobs.create_partial()
        await partial.append(convert(b"abc"))
        await partial.append(convert(b""))
        await partial.append(convert(b"def"))
        assert partial.bytes_written == 6
        assert await partial.digest() == digest(b"abcdef")
        await partial.commit(digest(b"abcdef"))
        assert await content_of(blobs, digest(b"abcdef")) == b"abcdef"

    async def test_what_is_not_yet_published_is_missing(self, blobs: BlobStore) -> None:
        partial = await blobs.create_partial()
        await partial.append(b"abc")
        assert await blobs.open(digest(b"abc")) is None
        await partial.discard()

    async def test_another_digest_is_refused_and_nothing_is_published(self, blobs: BlobStore) -> None:
        partial = await blobs.create_partial()
        await partial.append(b"abc")
        with pytest.raises(DigestMismatchError):
            await partial.commit(digest(b"abd"))
        assert await blobs.open(digest(b"abc")) is None
        assert await blobs.open(digest(b"abd")) is None
        await partial.discard()

    async def test_after_discarding_nothing_is_added_or_published(self, blobs: BlobStore) -> None:
        partial = await blobs.create_partial()
        await partial.append(b"abc")
        await partial.discard()
        await partial.discard()
        with pytest.raises(StorageError):
            await partial.append(b"d")
        with pytest.raises(StorageError):
            await partial.commit(digest(b"abc"))
        with pytest.raises(StorageError):
            await partial.open_reader()
        assert await blobs.open(digest(b"abc")) is None

    async def test_after_publishing_nothing_is_added_and_discarding_takes_nothing_back(self, blobs: BlobStore) -> None:
        partial = await blobs.create_partial()
        await partial.append(b"abc")
        await partial.commit(digest(b"abc"))
        with pytest.raises(StorageError):
            await partial.append(b"d")
        with pytest.raises(StorageError):
            await partial.commit(digest(b"abc"))
        await partial.discard()
        assert await content_of(blobs, digest(b"abc")) == b"abc"

    async def test_a_reader_follows_a_growing_file_and_outlives_its_publication(self, blobs: BlobStore) -> None:
        partial = await blobs.create_partial()
        await partial.append(b"abc")
        moves = partial.move_count
        early = await partial.open_reader()
        assert os.pread(early.fileno(), 10, 0) == b"abc"
        await partial.append(b"def")
        assert os.pread(early.fileno(), 10, 3) == b"def"
        assert partial.move_count == moves, "a reader is good as long as this stays"
        await partial.commit(digest(b"abcdef"))
        late = await partial.open_reader()
        await blobs.remove(digest(b"abcdef"))
        for reader in (early, late):
            assert os.pread(reader.fileno(), 10, 0) == b"abcdef"
            reader.close()

    async def test_a_reader_outlives_the_discarding_of_its_file(self, blobs: BlobStore) -> None:
        partial = await blobs.create_partial()
        await partial.append(b"abc")
        reader = await partial.open_reader()
        await partial.discard()
        assert os.pread(reader.fileno(), 10, 0) == b"abc"
        reader.close()

    async def test_one_file_published_twice_at_once_is_one_blob(self, blobs: BlobStore) -> None:
        content = os.urandom(100_000)
        await asyncio.gather(*(publish(blobs, content) for _ in range(4)))
        assert await content_of(blobs, digest(content)) == content

    async def test_a_removed_blob_is_missing_and_those_who_have_it_open_keep_it(self, blobs: BlobStore) -> None:
        sha = await publish(blobs, b"abc")
        blob = await blobs.open(sha)
        assert blob is not None
        await blobs.remove(sha)
        await blobs.remove(sha)
        assert await blobs.open(sha) is None
        assert whole(blob) == b"abc"
        await blob.close()
        await publish(blobs, b"abc")
        assert await content_of(blobs, sha) == b"abc"

    async def test_a_blob_that_was_published_is_verified_and_can_be_verified_again(self, blobs: BlobStore) -> None:
        sha = await publish(blobs, b"abc")
        blob = await blobs.open(sha)
        assert blob is not None
        assert blob.is_verified
        told: list[int] = []
        assert await blob.verify(told.append)
        assert told == [3]
        assert await blob.verify()
        await blob.close()

    async def test_a_reader_of_a_blob_has_its_own_position_and_outlives_it(self, blobs: BlobStore) -> None:
        blob = await blobs.open(await publish(blobs, b"abcdef"))
        assert blob is not None
        first, second = await blob.open_reader(), await blob.open_reader()
        assert first.read(3) == b"abc"
        assert second.read(2) == b"ab"
        await blobs.remove(blob.sha256)
        late = await blob.open_reader()
        await blob.close()
        assert (first.read(3), second.read(4), late.read(6)) == (b"def", b"cdef", b"abcdef")
        for reader in (first, second, late):
            reader.close()
        with pytest.raises(StorageError):
            await blob.open_reader()

    async def test_how_full_it_is_can_be_asked(self, blobs: BlobStore) -> None:
        before = await blobs.stats()
        await publish(blobs, b"abc")
        partial = await blobs.create_partial()
        await partial.append(b"defg")
        blob = await blobs.open(digest(b"abc"))
        assert blob is not None
        now = await blobs.stats()
        assert (now.count, now.size, now.unfinished, now.opened) == (before.count + 1, before.size + 3, 4, 1)
        assert now.limit == before.limit > 0
        await blob.close()
        await partial.discard()

    async def test_it_can_be_pruned_to_a_size_oldest_first(self, blobs: BlobStore) -> None:
        old, new = await publish(blobs, b"old"), await publish(blobs, b"new!")
        pruned = await blobs.prune(4)
        assert (pruned.count, pruned.size) == (1, 3)
        assert (await content_of(blobs, old), await content_of(blobs, new)) == (None, b"new!")
        assert (await blobs.prune(4)).count == 0

    async def test_a_look_without_use_does_not_delay_eviction(self, blobs: BlobStore) -> None:
        old, new = await publish(blobs, b"old"), await publish(blobs, b"new!")
        blob = await blobs.open_unused(old)
        assert blob is not None
        assert whole(blob) == b"old"
        await blob.close()
        await blobs.prune(4)
        assert (await content_of(blobs, old), await content_of(blobs, new)) == (None, b"new!")
        assert await blobs.open_unused(old) is None

    async def test_blobs_that_are_not_kept_elsewhere_are_evicted_last(self, blobs: BlobStore) -> None:
        blobs.spare_unkept()
        first, second, third = [await publish(blobs, content) for content in (b"one", b"two", b"three")]
        await blobs.mark_kept(second)
        await blobs.mark_kept(digest(b"absent"))
        assert await blobs.list_unkept() == [first, third]
        await blobs.prune(8)
        assert [await content_of(blobs, sha) for sha in (first, second, third)] == [b"one", None, b"three"]
        await blobs.prune(5)
        assert await blobs.list_unkept() == [third], "the limit holds in any case, and the oldest goes first"
        assert await publish(blobs, b"two") == second
        assert await blobs.list_unkept() == [third, second], "a blob that comes back is not kept"

    async def test_whole_blobs_pass_verification_and_it_says_how_far_it_is(self, blobs: BlobStore) -> None:
        for content in (b"abc", b"defg"):
            await publish(blobs, content)
        told: list[tuple[int, int]] = []
        found = await blobs.verify(lambda done, total: told.append((done, total)))
        assert (found.checked, found.size, found.broken) == (2, 7, ())
        assert told[-1] == (2, 2)
        assert (await blobs.verify()).checked == 2

    @pytest.mark.parametrize("name", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "/x", "/" * 64, "é" * 64])
    async def test_what_is_no_digest_names_nothing(self, blobs: BlobStore, name: str) -> None:
        assert await blobs.open(Sha256(name)) is None
        await blobs.remove(Sha256(name))
        partial = await blobs.create_partial()
        with pytest.raises(DigestMismatchError):
            await partial.commit(Sha256(name))
