"""Flights of several replicas over PostgreSQL: followers, dead holders, lost connections and outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from assay.store.postgresql.database import Database, DatabaseSettings
from assay.store.postgresql.flights import SharedFlights
from tests.contract.flights_contract import Caller, FlightsContract, pass_by
from tests.world.engines.postgresql import PostgresServer
from tests.world.proxy.told import Told

KEY = "file:" + "a" * 64

MakeReplica = Callable[..., Awaitable[SharedFlights]]


@pytest.fixture
async def make_replica(server: PostgresServer, database_name: str) -> AsyncIterator[MakeReplica]:
    """Function that starts the flights of another replica, which all share one database."""
    opened: list[tuple[SharedFlights, Database]] = []

    async def make(
        address: str | None = None, *, patience_seconds: float = 30, deadline_seconds: float = 20
    ) -> SharedFlights:
        url = server.get_url(database_name, user="assay_app")
        database = Database(DatabaseSettings(url=url, deadline_seconds=deadline_seconds))
        await database.open()
        flights = SharedFlights(database, deployment="acme", address=address, patience_seconds=patience_seconds)
        await flights.open()
        opened.append((flights, database))
        return flights

    yield make
    for flights, database in opened:
        await flights.close()
        await database.close()


def end_connections(server: PostgresServer, *, keep: int = 0) -> int:
    """End the connections for flights in the server, except for the newest `keep`; return their number."""
    connections = "SELECT pid FROM pg_stat_activity WHERE application_name = 'assay flights' ORDER BY backend_start"
    pids = server.sql(connections).splitlines()
    ended = pids[: len(pids) - keep]
    for pid in ended:
        server.sql(f"SELECT pg_terminate_backend({pid})")
    return len(ended)


class TestContract(FlightsContract):
    @pytest.fixture
    async def flights(self, make_replica: MakeReplica) -> SharedFlights:
        return await make_replica("10.0.0.1:8081")

    @pytest.fixture
    async def sibling(self, make_replica: MakeReplica) -> SharedFlights:
        return await make_replica("10.0.0.2:8081")


async def test_who_can_follow_gets_the_address_of_the_holder_at_once(make_replica: MakeReplica) -> None:
    one, two, three = [await make_replica(f"10.0.0.{number}:8081") for number in range(1, 4)]
    holder = await Caller(one, KEY, follow=True).enter()
    followers = [await Caller(each, KEY, follow=True).enter() for each in (two, three)]
    assert [(each.first, each.holder, each.looked) for each in followers] == [(False, "10.0.0.1:8081", 0)] * 2
    await holder.end()
    for each in followers:
        await each.end()
    await pass_by(one)  # its connection has given back the lock before it takes another
    again = await Caller(three, KEY, follow=True).enter()
    assert (again.first, again.holder) == (True, None)
    await again.end()


async def test_a_holder_without_an_address_is_waited_for(make_replica: MakeReplica) -> None:
    one, two = await make_replica(None), await make_replica("10.0.0.2:8081")
    holder = await Caller(one, KEY, follow=True).enter()
    follower = Caller(two, KEY, follow=True, finds_done=True)
    await pass_by(two)
    assert not follower.entered.is_set()
    await holder.end()
    await follower.enter()
    assert (follower.first, follower.holder) == (False, None)
    await follower.end()


async def test_a_replica_does_not_follow_the_address_of_its_earlier_process(make_replica: MakeReplica) -> None:
    before, two = await make_replica("10.0.0.1:8081"), await make_replica("10.0.0.2:8081")
    holder = await Caller(before, KEY, follow=True).enter()
    await before.close()  # like the end of the process: the lock is free, and the row is still there
    again = await make_replica("10.0.0.1:8081")
    mine = await Caller(again, KEY, follow=True).enter()
    assert mine.first
    follower = await Caller(two, KEY, follow=True).enter()
    assert follower.holder == "10.0.0.1:8081"
    for caller in (holder, mine, follower):
        await caller.end()


async def test_when_the_holder_dies_the_next_is_first(server: PostgresServer, make_replica: MakeReplica) -> None:
    one, two = await make_replica(), await make_replica()
    holder = await Caller(one, KEY).enter()
    waiting = Caller(two, KEY, finds_done=False)
    await pass_by(two)
    assert not waiting.entered.is_set()
    assert end_connections(server, keep=1) == 1
    assert (await waiting.enter()).first
    await holder.end()
    rival = Caller(await make_replica(), KEY)
    await pass_by(two)
    assert not rival.entered.is_set(), "the end of the old holder gives back nothing that is not its own"
    await waiting.end()
    assert (await rival.enter()).first
    await rival.end()


async def test_a_replica_whose_connection_was_lost_works_alone_and_comes_back(
    server: PostgresServer, make_replica: MakeReplica
) -> None:
    lost, recovered = Told("coordination-unavailable"), Told("coordination-recovered")
    one, two = await make_replica(), await make_replica()
    holder = await Caller(two, "other").enter()
    assert end_connections(server) == 2
    await lost.wait(2)
    alone = await Caller(one, "other").enter()
    assert alone.first, "the lease of the other replica is lost too"
    for caller in (holder, alone):
        await caller.end()
    await recovered.wait(2)
    holder = await Caller(one, KEY).enter()
    waiting = Caller(two, KEY)
    await pass_by(two)
    assert not waiting.entered.is_set()
    for caller in (holder, waiting):
        await caller.end()
    assert (len(lost.events), len(recovered.events)) == (2, 2)


async def test_while_the_database_does_not_answer_each_replica_works_alone(
    server: PostgresServer, make_replica: MakeReplica
) -> None:
    recovered = Told("coordination-recovered")
    one, two = [await make_replica(deadline_seconds=1) for _ in range(2)]
    server.process.pause()
    try:
        callers = [await Caller(each, KEY).enter() for each in (one, two)]
        assert [each.first for each in callers] == [True, True]
        local = Caller(one, KEY, finds_done=True)
        for each in callers:
            await each.end()
        await local.enter()
        assert not local.first, "within the replica, the work is still done once"
        await local.end()
    finally:
        server.process.resume()
    await recovered.wait(2)
    holder = await Caller(one, KEY).enter()
    waiting = Caller(two, KEY)
    await pass_by(two)
    assert not waiting.entered.is_set()
    for caller in (holder, waiting):
        await caller.end()


async def test_patience_has_an_end(make_replica: MakeReplica) -> None:
    one, two = await make_replica(), await make_replica(patience_seconds=0.1)
    holder = await Caller(one, KEY).enter()
    alone = await Caller(two, KEY).enter()
    assert (alone.first, alone.holder) == (False, None)
    for caller in (alone, holder):
        await caller.end()


async def test_a_replica_without_a_database_at_its_start_works_alone(server: PostgresServer) -> None:
    unavailable = Told("coordination-unavailable")
    database = Database(DatabaseSettings(url=server.get_url("missing"), deadline_seconds=5))
    await database.open()
    flights = SharedFlights(database, deployment="acme")
    await flights.open()
    caller = await Caller(flights, KEY).enter()
    assert caller.first
    await caller.end()
    await flights.close()
    await flights.close()
    assert len(unavailable.events) == 1


async def test_sixteen_works_at_three_replicas_are_done_sixteen_times(make_replica: MakeReplica) -> None:
    replicas = [await make_replica() for _ in range(3)]
    finished, firsts = set[str](), list[str]()

    async def work(there: SharedFlights, key: str) -> None:
        async def is_done() -> bool:
            return key in finished

        async with there.flight(key, is_done) as flight:
            if flight.first:
                firsts.append(key)
                finished.add(key)

    keys = [f"file:{number}" for number in range(16)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(work(there, key) for key in keys for there in replicas for _ in range(2)))
    assert sorted(firsts) == sorted(keys)
