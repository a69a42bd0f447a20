"""Tests of replicas that share locks but no object storage: one of them fetches a file, and the others follow it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay.files.download import WITHHELD_TAIL_BYTES
from assay.files.shared.plan import SharedPlans
from assay.files.source_plan import ListedSources
from tests.service.peers.replicas import expect, open_client, run_listener
from tests.unit.files.shared.replicas import ReplicaFlights, SharedLocks
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.index.faulty_server import CannedResponse, Corrupt, Fault, FaultyServer, Reset, Truncate
from tests.world.proxy.running_proxy import RunningProxy, fetch_body_or_none, run_test_proxy

BUILT = wheel("foo", "1.0", padding=300_000)


@dataclass
class Replica:
    """Proxy whose downloads take turns with those of other replicas."""

    proxy: RunningProxy
    address: str
    listener: AsyncExitStack
    """Closes the listener for other replicas."""


class World:
    """Replicas and what they share: the locks, and the list of their addresses."""

    def __init__(self, index: Index, listed: ListedFile, directory: Path) -> None:
        self.index = index
        self.listed = listed
        self.locks = SharedLocks()
        self.addresses: list[str] = []
        self._directory = directory

    @asynccontextmanager
    async def run_replica(self) -> AsyncIterator[Replica]:
        directory = self._directory / str(len(self.addresses))
        async with AsyncExitStack() as listener, run_test_proxy(self.index, directory) as proxy:
            address = await listener.enter_async_context(run_listener(proxy))
            self.addresses.append(address)
            async with open_client(
                *self.addresses, own_address=address, clock=proxy.clock, avoidance_seconds=60
            ) as client:
                downloads = proxy.assembly.gate.resources.files.cache._downloads
                plan = downloads._make_plan(expect(self.index, self.listed))
                assert isinstance(plan, ListedSources)
                plans = SharedPlans(
                    objects=None,
                    keeper=None,
                    peers=client,
                    flights=ReplicaFlights(self.locks, address),
                    index=next(plan._remaining),
                )
                downloads._make_plan = plans.make_plan
                try:
                    yield Replica(proxy, address, listener)
                finally:
                    await downloads.close()
                    await plans.close()

    @asynccontextmanager
    async def run_stranger(self, fault: Fault, *, times: int | None) -> AsyncIterator[FaultyServer]:
        """Run a server that sends the file with a fault, and holds its lock as a replica does."""
        server = FaultyServer(lambda _: CannedResponse(body=BUILT.content, ranges=True))
        await server.up()
        server.inject_fault("*", fault, times, None)
        address = f"127.0.0.1:{server.port}"
        self.addresses.append(address)
        self.locks.holders[f"file:{BUILT.sha256}"] = address
        try:
            yield server
        finally:
            await server.down()


@asynccontextmanager
async def open_world(directory: Path) -> AsyncIterator[World]:
    async with Index() as index:
        yield World(index, index.add(BUILT), directory)


async def test_replicas_that_are_asked_at_once_fetch_a_file_once(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world, world.run_replica() as one, world.run_replica() as two:
        path = one.proxy.files_path(world.listed)
        stall = world.index.stall(world.listed.path, after=200_000)
        async with one.proxy.open("GET", path) as first:
            await stall.reached.wait()
            async with (
                world.run_replica() as three,
                two.proxy.open("GET", path) as second,
                three.proxy.open("GET", path) as third,
            ):
                for other in (second, third):
                    assert await other.content.readexactly(100_000) == BUILT.content[:100_000]
                stall.release.set()
                for other in (second, third):
                    assert await other.read() == BUILT.content[100_000:]
                assert await first.read() == BUILT.content
        assert world.index.count(world.listed.path) == 1


async def test_if_the_fetching_replica_ends_another_one_continues_at_its_byte(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world, world.run_replica() as one, world.run_replica() as two:
        path = one.proxy.files_path(world.listed)
        stall = world.index.stall(world.listed.path, after=200_000)
        async with one.proxy.open("GET", path):
            await stall.reached.wait()
            async with two.proxy.open("GET", path) as second:
                early = await second.content.readexactly(200_000 - WITHHELD_TAIL_BYTES)
                await one.listener.aclose()
                await world.locks.give_up(one.address)
                assert early + await second.read() == BUILT.content
        assert world.index.count(world.listed.path) == 2
        ranges = [each.headers.get("range") for each in world.index.requests if each.path == world.listed.path]
        assert ranges[0] is None
        assert ranges[1] is not None


@pytest.mark.parametrize("fault", [Reset(after=150_000), Truncate(after=150_000)])
async def test_a_connection_that_breaks_is_made_again_to_the_same_replica(tmp_path: Path, fault: Fault) -> None:
    async with (
        open_world(tmp_path) as world,
        world.run_stranger(fault, times=1) as holder,
        world.run_replica() as replica,
    ):
        path = replica.proxy.files_path(world.listed)
        assert await fetch_body_or_none(replica.proxy, path) == BUILT.content
        assert world.index.count(world.listed.path) == 0
        ranges = [each.headers.get("range") for each in holder.requests]
        assert len(ranges) == 2
        assert ranges[1] is not None


@pytest.mark.parametrize("fault", [Corrupt(0), Corrupt(-1), Truncate(after=1000)])
async def test_a_lying_replica_cannot_spoil_a_file_for_long(tmp_path: Path, fault: Fault) -> None:
    async with (
        open_world(tmp_path) as world,
        world.run_stranger(fault, times=None) as holder,
        world.run_replica() as replica,
    ):
        path = replica.proxy.files_path(world.listed)
        assert await fetch_body_or_none(replica.proxy, path) in {None, BUILT.content}
        assert await fetch_body_or_none(replica.proxy, path) == BUILT.content
        assert world.index.count(world.listed.path) == 1
        assert 0 < len(holder.requests) <= 5
