"""The keeper: every file of the local tier becomes an object, sooner or later."""

from __future__ import annotations

import asyncio
import os

from tests.contract.blobs_contract import digest, publish
from tests.unit.files.shared.replicas import Replica, World
from tests.unit.files.sources import CONTENT, DIGEST, wanted


async def wait_until_kept(replica: Replica) -> None:
    """Wait until the local tier has no blob that is not marked as kept."""
    async with asyncio.timeout(30):
        while True:
            replica.blobs.marked.clear()
            if not await replica.blobs.list_unkept():
                return
            await replica.blobs.marked.wait()


async def test_a_file_whose_upload_failed_is_kept_later(world: World) -> None:
    world.objects.is_away = True
    replica = await world.add_replica(keeps=True)
    assert await replica.get(wanted()) == CONTENT
    await replica.wait_until_idle()
    assert await replica.blobs.list_unkept() == [DIGEST]
    world.objects.is_away = False
    await wait_until_kept(replica)
    assert world.objects.stored == {DIGEST: CONTENT}


async def test_files_of_an_earlier_start_are_kept(world: World) -> None:
    replica = await world.add_replica()
    contents = [os.urandom(1000) for _ in range(5)]
    for content in contents:
        await publish(replica.blobs, content)
    world.objects.stored[digest(contents[0])] = contents[0]
    replica.keeper.start()
    await wait_until_kept(replica)
    assert world.objects.stored == {digest(content): content for content in contents}


async def test_a_file_that_came_from_the_objects_is_not_stored_again(world: World) -> None:
    replica = await world.add_replica()
    world.objects.stored[DIGEST] = CONTENT
    assert await replica.get(wanted()) == CONTENT
    await replica.wait_until_idle()
    assert await replica.blobs.list_unkept() == []
    assert not world.objects.has_begun_to_keep.is_set()


async def test_a_corrupt_blob_is_not_kept_but_removed(world: World) -> None:
    replica = await world.add_replica()
    await publish(replica.blobs, CONTENT)
    path = world.directory / "1" / DIGEST[:2] / f"{DIGEST}.{len(CONTENT)}"
    await asyncio.to_thread(path.write_bytes, bytes(len(CONTENT)))
    assert not await replica.keeper.keep(DIGEST)
    assert world.objects.stored == {}
    assert await replica.blobs.open(DIGEST) is None


async def test_a_file_that_is_gone_or_being_kept_is_not_kept(world: World) -> None:
    replica = await world.add_replica()
    assert not await replica.keeper.keep(DIGEST)
    await publish(replica.blobs, CONTENT)
    world.objects.may_keep.clear()
    running = asyncio.create_task(replica.keeper.keep(DIGEST))
    await world.objects.has_begun_to_keep.wait()
    assert not await replica.keeper.keep(DIGEST)
    world.objects.may_keep.set()
    assert await running
