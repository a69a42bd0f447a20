"""Contract of the objects of finished files, over a directory and over SeaweedFS."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from assay.ports import Objects
from assay.simple.model import Sha256
from assay.store.objects.blobs import BlobObjects
from assay.store.objects.bucket import Bucket
from tests.contract.objects_contract import ObjectsContract, digest, keep


class MemoryUses:
    """Record of uses in memory (`assay.store.objects.blobs.ObjectUses`)."""

    def __init__(self, begin: date | None) -> None:
        self.begin = begin
        self.days: dict[Sha256, date] = {}
        self.forgotten: list[Sha256] = []

    async def record(self, used: Collection[Sha256], day: date) -> None:
        self.days |= dict.fromkeys(used, day)

    async def get_begin(self) -> date | None:
        return self.begin

    async def find_used(self, objects: Sequence[Sha256], since: date) -> set[Sha256]:
        return {sha256 for sha256 in objects if sha256 in self.days and self.days[sha256] >= since}

    async def forget(self, objects: Sequence[Sha256], before: date) -> None:
        assert all(self.days.get(sha256, before) <= before for sha256 in objects)
        self.forgotten += objects


class BucketContract(ObjectsContract):
    bucket: Bucket

    async def overwrite(self, objects: Objects, sha256: Sha256, content: bytes) -> None:  # noqa: ARG002 - the contract
        await self.bucket.put(f"blobs/{sha256[:2]}/{sha256}", content)

    async def test_only_old_objects_that_were_not_used_are_removed(self, objects: BlobObjects, tmp_path: Path) -> None:
        used, unused = [await keep(objects, tmp_path, content) for content in (b"used", b"unused")]
        others = ("blobs/zz/abc", f"blobs/00/{digest(b'x')}", f"hosted/{unused[:2]}/{unused}")
        for key in others:
            await self.bucket.put(key, b"abc")
        today = datetime.now(UTC).date()
        assert await objects.remove_unused(today + timedelta(days=500)) == 0, "without a record of uses"
        uses = MemoryUses(begin=today)
        objects = BlobObjects(self.bucket, uses, max_age=timedelta(days=90))
        await objects.record_uses([used], today + timedelta(days=10))
        assert await objects.remove_unused(today + timedelta(days=90)) == 0, "the objects are too young"
        assert await objects.remove_unused(today + timedelta(days=100)) == 1
        assert [await objects.has(sha256) for sha256 in (used, unused)] == [True, False]
        assert uses.forgotten == [unused]
        assert [await self.bucket.find_size(key) for key in others] == [3, 3, 3]
        assert await objects.remove_unused(today + timedelta(days=101)) == 1
        assert not await objects.has(used)

    async def test_nothing_is_removed_before_uses_were_recorded_long_enough(
        self, objects: BlobObjects, tmp_path: Path
    ) -> None:
        sha256 = await keep(objects, tmp_path, b"abc")
        later = datetime.now(UTC).date() + timedelta(days=500)
        for begin in (None, later - timedelta(days=89)):
            young = BlobObjects(self.bucket, MemoryUses(begin=begin), max_age=timedelta(days=90))
            assert await young.remove_unused(later) == 0
        forever = BlobObjects(self.bucket, MemoryUses(begin=date(2000, 1, 1)), max_age=timedelta(0))
        assert await forever.remove_unused(later) == 0
        assert await objects.has(sha256)
        old = BlobObjects(self.bucket, MemoryUses(begin=later - timedelta(days=90)), max_age=timedelta(days=90))
        assert await old.remove_unused(later) == 1


class TestDirectory(BucketContract):
    @pytest.fixture
    def objects(self, directory_bucket: Bucket) -> BlobObjects:
        self.bucket = directory_bucket
        return BlobObjects(directory_bucket)


class TestS3(BucketContract):
    @pytest.fixture
    def objects(self, s3_bucket: Bucket) -> BlobObjects:
        self.bucket = s3_bucket
        return BlobObjects(s3_bucket)
