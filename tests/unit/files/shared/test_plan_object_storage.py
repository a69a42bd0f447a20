"""Downloads of several replicas over SeaweedFS, which hangs, dies and loses bytes."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from secrets import token_hex

import pytest

from assay.errors import DigestMismatchError
from assay.ports import ExpectedFile
from assay.simple.model import Sha256
from assay.store.objects.blobs import BlobObjects
from assay.store.objects.breaker import BREAK_SECONDS
from assay.store.objects.bucket import Bucket
from assay.store.objects.settings import ObjectStorageSettings
from tests.unit.files.shared.conftest import SlowIndex
from tests.unit.files.shared.replicas import Replica, World
from tests.unit.files.sources import CONTENT, DIGEST, Served, sends, wanted
from tests.world.engines.object_storage import S3_ENVIRONMENT, S3Server

MIB = 2**20


class Clock:
    """Monotonic clock that a test sets forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Storage:
    """Bucket of one deployment on the server, with a short deadline, and a bucket beside it with a long one."""

    def __init__(self, server: S3Server) -> None:
        self.clock = Clock()
        deployment = f"test-{token_hex(4)}"

        def locate(seconds: float) -> ObjectStorageSettings:
            return ObjectStorageSettings(
                url=f"s3://{server.bucket}",
                deployment=deployment,
                endpoint=server.endpoint,
                first_byte_seconds=seconds,
            )

        self.bucket = Bucket(locate(1), self.clock)
        self.patient = Bucket(locate(30))
        self.objects = BlobObjects(self.bucket)

    async def read(self, sha256: Sha256, max_bytes: int = 10**9) -> bytes | None:
        return await self.patient.read(f"blobs/{sha256[:2]}/{sha256}", max_bytes)

    async def overwrite(self, sha256: Sha256, content: bytes) -> None:
        await self.patient.put(f"blobs/{sha256[:2]}/{sha256}", content)


@pytest.fixture
async def storage(s3: S3Server, world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Storage]:
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    storage = Storage(s3)
    world.storage = storage.objects
    yield storage
    await world.close()
    await storage.bucket.close()
    await storage.patient.close()


def make_file(content: bytes) -> ExpectedFile:
    return wanted(len(content), Sha256(hashlib.sha256(content).hexdigest()))


async def wait_until_kept(replica: Replica, storage: Storage) -> None:
    """Wait until all files of a replica are objects. Each failure of the object storage is over at once."""
    async with asyncio.timeout(60):
        await replica.wait_until_idle()
        while True:
            replica.blobs.marked.clear()
            storage.clock.now += BREAK_SECONDS
            if not await replica.blobs.list_unkept():
                return
            with_timeout = asyncio.wait_for(replica.blobs.marked.wait(), 0.5)
            await asyncio.gather(with_timeout, return_exceptions=True)


async def test_a_file_is_fetched_once_and_read_by_a_new_replica(world: World, storage: Storage, index: Served) -> None:
    first = await world.add_replica()
    assert await first.get(wanted()) == CONTENT
    await first.wait_until_idle()
    assert await storage.read(DIGEST) == CONTENT
    second = await world.add_replica()
    assert await second.get(wanted()) == CONTENT
    assert index.starts == [0]


async def test_a_hanging_service_costs_one_deadline_and_later_gets_what_it_missed(
    world: World, storage: Storage, s3: S3Server
) -> None:
    replica = await world.add_replica(keeps=True)
    contents = [os.urandom(200_000) for _ in range(3)]
    s3.process.pause()
    try:
        for content in contents:
            world.index = replica.plans.index = Served([sends(content)], len(content))
            assert await replica.get(make_file(content)) == content
            assert not storage.bucket.is_available
    finally:
        s3.process.resume()
    await wait_until_kept(replica, storage)
    for content in contents:
        assert await storage.read(make_file(content).sha256) == content
    assert storage.bucket.is_available


@pytest.mark.long  # SeaweedFS needs 15 seconds to start again
async def test_a_service_that_dies_during_an_upload_gets_the_file_after_its_return(
    world: World, storage: Storage, s3: S3Server
) -> None:
    content = os.urandom(20 * MIB)
    world.index = Served([sends(content, step=MIB)], len(content))
    replica = await world.add_replica(keeps=True)
    file = make_file(content)
    assert await replica.get(file) == content
    s3.kill()
    try:
        await replica.wait_until_idle()
    finally:
        await asyncio.to_thread(s3.start)
    await wait_until_kept(replica, storage)
    assert await storage.read(file.sha256) == content


async def test_changed_bytes_of_an_object_are_replaced(world: World, storage: Storage, index: Served) -> None:
    replica = await world.add_replica()
    small = CONTENT[:60_000]
    world.index = replica.plans.index = Served([sends(small)], len(small))
    file = make_file(small)
    await storage.overwrite(file.sha256, bytes(len(small)))
    assert await replica.get(file) == small
    await replica.wait_until_idle()
    assert await storage.read(file.sha256) == small
    # Of a larger file, a client gets some of the wrong bytes, but not the last.
    replica.plans.index = index
    await storage.overwrite(DIGEST, bytes(len(CONTENT)))
    with pytest.raises(DigestMismatchError):
        await replica.get(wanted())
    await replica.wait_until_idle()
    assert await storage.read(DIGEST) is None
    assert await replica.get(wanted()) == CONTENT


async def test_replicas_that_ask_for_a_large_file_at_once_fetch_it_once(world: World, storage: Storage) -> None:
    content = os.urandom(100 * MIB)
    index = world.index = SlowIndex(content)
    index.length = len(content)
    replicas = [await world.add_replica() for _ in range(3)]
    downloads = [replica.downloads.join(make_file(content)) for replica in replicas]
    for download in downloads:
        await download.wait_until_sendable()  # the first byte does not wait for the object
    assert not await storage.objects.has(make_file(content).sha256)
    index.rest.set()
    for download in downloads:
        await download.wait_until_verified()
    assert index.starts == [0]
    for replica, download in zip(replicas, downloads, strict=True):
        replica.downloads.leave(download)
        await replica.wait_until_idle()
    late = await world.add_replica()
    download = late.downloads.join(make_file(content))
    await download.wait_until_verified()
    assert index.starts == [0]
    late.downloads.leave(download)
