"""Sources of the downloads of several replicas: object storage, another replica, the index."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from assay.errors import DigestMismatchError, UpstreamUnavailableError
from assay.ports import BodyStream, ExpectedFile, FileBody
from assay.simple.model import Sha256
from tests.unit.files.shared.conftest import SlowIndex
from tests.unit.files.shared.replicas import Replica, World
from tests.unit.files.sources import CONTENT, DIGEST, Served, followed, sends, wanted

WRONG = bytes(len(CONTENT))


class Dripping:
    """Replicas that break off after each byte (`assay.ports.Peers`)."""

    def __init__(self) -> None:
        self.starts: list[int] = []

    @asynccontextmanager
    async def contents(self, address: str, file: ExpectedFile, start: int) -> AsyncIterator[FileBody]:
        self.starts.append(start)
        yield BodyStream(start=start, length=file.size, chunks=self._drip(start), content_type="", url=address)

    async def _drip(self, start: int) -> AsyncIterator[bytes]:
        yield CONTENT[start : start + 1]
        raise UpstreamUnavailableError("reset")


async def begin(replica: Replica) -> asyncio.Task[bytes]:
    """Start a download and wait until its first byte may be sent."""
    download = replica.downloads.join(wanted())
    await download.wait_until_sendable()
    return asyncio.create_task(followed(download))


async def test_a_file_is_fetched_once_and_kept_for_all_replicas(world: World, index: Served) -> None:
    first, second = await world.add_replica(), await world.add_replica()
    assert await first.get(wanted()) == CONTENT
    await world.objects.has_kept.wait()
    assert await second.get(wanted()) == CONTENT
    assert index.starts == [0]
    assert world.followed == []


async def test_a_second_replica_follows_the_first_while_it_downloads(world: World, slow: SlowIndex) -> None:
    replicas = [await world.add_replica() for _ in range(3)]
    clients = [await begin(replica) for replica in replicas]  # each has its first byte before the index has sent all
    assert not any(client.done() for client in clients)
    slow.rest.set()
    assert await asyncio.gather(*clients) == [CONTENT] * 3
    assert slow.starts == [0]
    assert world.followed == [(replicas[0].address, 0)] * 2


async def test_the_lease_lasts_until_the_object_is_kept(world: World, index: Served) -> None:
    first, second = await world.add_replica(), await world.add_replica()
    world.objects.may_keep.clear()
    assert await first.get(wanted()) == CONTENT
    assert list(world.locks.holders.values()) == [first.address]
    assert await second.get(wanted()) == CONTENT
    assert world.followed == [(first.address, 0)]
    world.objects.may_keep.set()
    await world.objects.has_kept.wait()
    assert index.starts == [0]


async def test_when_a_replica_dies_another_one_goes_on_from_the_same_byte(world: World, slow: SlowIndex) -> None:
    first, second = await world.add_replica(), await world.add_replica()
    dying, client = await begin(first), await begin(second)
    await world.kill(first)
    with pytest.raises(UpstreamUnavailableError):
        await dying
    slow.rest.set()
    assert await client == CONTENT
    begun, resumed = slow.starts
    assert begun == 0
    assert resumed > 0


async def test_of_several_followers_of_a_dead_replica_one_goes_on(world: World, slow: SlowIndex) -> None:
    first, *others = [await world.add_replica() for _ in range(4)]
    dying, clients = await begin(first), [await begin(replica) for replica in others]
    await world.kill(first)
    with pytest.raises(UpstreamUnavailableError):
        await dying
    slow.rest.set()
    assert await asyncio.gather(*clients) == [CONTENT] * 3
    assert len(slow.starts) == 2


async def test_a_holder_that_does_not_answer_is_not_waited_for(world: World, index: Served) -> None:
    replica = await world.add_replica()
    world.locks.holders[f"file:{DIGEST}"] = "10.0.0.9:8081"
    assert await replica.get(wanted()) == CONTENT
    assert index.starts == [0]
    assert len(world.followed) == 3
    await world.objects.has_kept.wait()


async def test_without_peers_the_object_is_waited_for(world: World, slow: SlowIndex) -> None:
    first, second = [await world.add_replica(follows=False) for _ in range(2)]
    client = await begin(first)
    waiting = asyncio.create_task(second.get(wanted()))
    slow.rest.set()
    assert await client == CONTENT
    assert await waiting == CONTENT
    assert slow.starts == [0]


async def test_without_flights_each_replica_asks_the_index(world: World, index: Served) -> None:
    world.locks.is_down = True
    first, second = await world.add_replica(), await world.add_replica()
    assert await first.get(wanted()) == CONTENT
    async with asyncio.timeout(10):
        await world.objects.has_kept.wait()
    world.objects.stored.clear()
    assert await second.get(wanted()) == CONTENT
    assert index.starts == [0, 0]


async def test_while_the_object_storage_is_away_a_file_comes_from_the_index(world: World, index: Served) -> None:
    replica = await world.add_replica()
    world.objects.is_away = True
    assert await replica.get(wanted()) == CONTENT
    assert index.starts == [0]
    await replica.wait_until_idle()
    assert world.locks.holders == {}, "a lease does not outlast a failed upload"


async def test_an_object_that_breaks_off_is_continued_from_the_index(world: World, index: Served) -> None:
    replica = await world.add_replica()
    world.objects.stored[DIGEST], world.objects.breaks_after = CONTENT, len(CONTENT) // 2
    assert await replica.get(wanted()) == CONTENT
    assert index.starts == [len(CONTENT) // 2]


@pytest.mark.parametrize("wrong", [WRONG[:60_000], CONTENT[:-1], CONTENT + b"x", b""])
async def test_an_object_with_wrong_bytes_is_replaced(world: World, index: Served, wrong: bytes) -> None:
    replica = await world.add_replica()
    world.objects.stored[DIGEST] = wrong
    assert await replica.get(wanted()) == CONTENT
    await world.objects.has_kept.wait()
    assert world.objects.stored[DIGEST] == CONTENT
    assert index.starts == [0]


async def test_wrong_bytes_that_a_client_has_begun_to_get_break_its_response(world: World, index: Served) -> None:
    replica = await world.add_replica()
    world.objects.stored[DIGEST] = WRONG
    with pytest.raises(DigestMismatchError):
        await replica.get(wanted())
    await replica.wait_until_idle()
    assert DIGEST not in world.objects.stored
    assert await replica.get(wanted()) == CONTENT
    assert index.starts == [0]


async def test_a_page_with_a_wrong_size_does_not_remove_a_right_object(world: World) -> None:
    replica = await world.add_replica()
    world.objects.stored[DIGEST] = CONTENT
    for limit in (10**9, 1000):  # another index may have a lower limit than the one that has the file
        with pytest.raises(DigestMismatchError):
            await replica.get(wanted(size=len(CONTENT) - 1, limit=limit))
        await replica.wait_until_idle()
        assert world.objects.stored[DIGEST] == CONTENT
    assert await replica.get(wanted()) == CONTENT


async def test_a_peer_that_lies_serves_nothing(world: World, slow: SlowIndex) -> None:
    first, second = await world.add_replica(), await world.add_replica()
    client = await begin(first)
    world.lies = True
    deceived = asyncio.create_task(second.get(wanted()))
    slow.rest.set()
    assert await client == CONTENT
    with pytest.raises(DigestMismatchError):
        await deceived
    await world.objects.has_kept.wait()
    assert await second.get(wanted()) == CONTENT
    assert world.objects.stored[DIGEST] == CONTENT


async def test_a_small_file_comes_from_the_index_if_a_peer_lies(world: World) -> None:
    small = CONTENT[:60_000]
    file = wanted(len(small), Sha256(hashlib.sha256(small).hexdigest()))
    index = world.index = Served([sends(small)], len(small))
    first, second = await world.add_replica(), await world.add_replica()
    world.objects.may_keep.clear()
    assert await first.get(file) == small
    world.lies = True
    assert await second.get(file) == small
    assert world.followed == [(first.address, 0)]
    assert index.starts == [0, 0]
    world.objects.may_keep.set()


async def test_peers_that_drip_are_not_followed_for_ever(world: World) -> None:
    index = world.index = Served([sends()])
    replica = await world.add_replica()
    world.locks.holders[f"file:{DIGEST}"] = "10.0.0.9:8081"
    replica.plans.peers = dripping = Dripping()
    assert await replica.get(wanted()) == CONTENT
    assert dripping.starts == list(range(10))
    assert index.starts == [10]


async def test_an_abandoned_download_gives_up_its_lease(world: World, slow: SlowIndex) -> None:
    replica = await world.add_replica()
    client = await begin(replica)
    assert list(world.locks.holders.values()) == [replica.address]
    await replica.downloads.close()
    with pytest.raises(UpstreamUnavailableError):
        await client
    await replica.wait_until_idle()
    assert world.locks.holders == {}
    assert slow.starts == [0]


async def test_two_downloads_of_one_replica_share_its_lease(world: World, index: Served) -> None:
    replica = await world.add_replica()
    world.objects.may_keep.clear()
    assert await replica.get(wanted()) == CONTENT
    await world.objects.has_begun_to_keep.wait()
    await replica.blobs.remove(DIGEST)
    assert await replica.get(wanted()) == CONTENT  # the lease of the first download is not waited for
    assert index.starts == [0, 0]
    world.objects.may_keep.set()
    await world.objects.has_kept.wait()
