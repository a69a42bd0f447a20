"""Notices of several replicas over PostgreSQL: echoes, hostile texts, and lost connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from assay.ports import EVERYTHING, Notice, NoticeTopic
from assay.simple.model import NormalizedName
from assay.store.postgresql.database import Database, DatabaseSettings
from assay.store.postgresql.notices import PostgresNotices
from tests.contract.notices_contract import NoticesContract
from tests.world.engines.postgresql import PostgresServer
from tests.world.proxy.told import Told

FOO, LAST = NormalizedName("foo"), NormalizedName("last")
REMOTE = Notice(index="pypi", project=FOO, is_remote=True)


class Replica:
    """Notices of one replica, and what it has heard."""

    def __init__(self, database: Database, *, keepalive_seconds: float) -> None:
        self.notices = PostgresNotices(database, keepalive_seconds=keepalive_seconds)
        self.heard: list[Notice] = []
        self._arrived = asyncio.Event()
        self.notices.subscribe(self._hear)

    def _hear(self, notice: Notice) -> None:
        self.heard.append(notice)
        self._arrived.set()

    async def wait(self, count: int) -> list[Notice]:
        """Wait until `count` notices have been heard; return them."""
        async with asyncio.timeout(30):
            while len(self.heard) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.heard


MakeReplica = Callable[..., Awaitable[Replica]]


@pytest.fixture
async def make_replica(server: PostgresServer, database_name: str) -> AsyncIterator[MakeReplica]:
    opened: list[tuple[Replica, Database]] = []

    async def make(*, keepalive_seconds: float = 10, deadline_seconds: float = 20) -> Replica:
        url = server.get_url(database_name, user="assay_app")
        database = Database(DatabaseSettings(url=url, deadline_seconds=deadline_seconds))
        await database.open()
        replica = Replica(database, keepalive_seconds=keepalive_seconds)
        await replica.notices.open()
        opened.append((replica, database))
        return replica

    yield make
    for replica, database in opened:
        await replica.notices.close()
        await database.close()


async def send(database: Database, *texts: str) -> None:
    """Send notifications like the ledger or another program does."""
    async with database.connection() as connection:
        for text in texts:
            await connection.execute("SELECT pg_notify('assay', $1)", text)


class TestContract(NoticesContract):
    @pytest.fixture
    async def notices(self, make_replica: MakeReplica) -> PostgresNotices:
        return (await make_replica()).notices


async def test_other_replicas_hear_a_notice_once_and_the_sender_no_echo(make_replica: MakeReplica) -> None:
    one, two = await make_replica(), await make_replica()
    sent = [
        Notice(index="pypi", project=FOO),
        Notice(index="pypi", project=FOO, topic=NoticeTopic.WHEELS),
        Notice(index="a.b_c-d", project=LAST),
    ]
    for notice in sent:
        one.notices.publish(notice)
    assert await two.wait(3) == [
        REMOTE,
        Notice(index="pypi", project=FOO, topic=NoticeTopic.WHEELS, is_remote=True),
        Notice(index="a.b_c-d", project=LAST, is_remote=True),
    ]
    two.notices.publish(Notice(index="pypi", project=LAST))
    assert await one.wait(4) == [*sent, Notice(index="pypi", project=LAST, is_remote=True)]


async def test_a_write_of_the_ledger_is_heard_with_its_version(make_replica: MakeReplica, database: Database) -> None:
    one = await make_replica()
    await send(database, "ledger pypi foo 7", f"ledger pypi last {2**63 - 1}")
    assert await one.wait(2) == [
        Notice(index="pypi", project=FOO, version=7, is_remote=True),
        Notice(index="pypi", project=LAST, version=2**63 - 1, is_remote=True),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ledger",
        "ledger pypi foo",
        "ledger pypi foo -1",
        "ledger pypi foo abc",
        "ledger pypi foo 9999999999999999999",
        "ledger pypi foo 7 8",
        "ledger pypi Foo 7",
        "ledger pypi ../foo 7",
        "ledger pypi\nfoo foo 7",
        "ledger pypi foo 7\n",
        "project pypi foo ",
        "wheel pypi foo xyz",
        "everything",
        "all",
        "x" * 7000,
        "ledger pypi " + "f" * 7000 + " 7",
    ],
)
async def test_other_texts_are_ignored_with_a_warning(make_replica: MakeReplica, database: Database, text: str) -> None:
    ignored = Told("notice-ignored")
    one = await make_replica()
    await send(database, text, text, "ledger pypi foo 7")
    assert await one.wait(1) == [Notice(index="pypi", project=FOO, version=7, is_remote=True)]
    assert [(each["text"], each["count"]) for each in ignored.events] == [(text[:80], 1)], "the second is not logged"


async def test_a_replica_that_may_have_missed_something_hears_of_everything(
    server: PostgresServer, make_replica: MakeReplica
) -> None:
    lost = Told("coordination-unavailable")
    one, two = await make_replica(), await make_replica()
    for pid in server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'assay notices'").splitlines():
        server.sql(f"SELECT pg_terminate_backend({pid})")
    await lost.wait(2)
    one.notices.publish(Notice(index="pypi", project=FOO))
    for replica in (one, two):
        async with asyncio.timeout(30):
            while EVERYTHING not in replica.heard:
                await replica.wait(len(replica.heard) + 1)
    one.notices.publish(Notice(index="pypi", project=LAST))
    async with asyncio.timeout(30):
        while two.heard[-1] != Notice(index="pypi", project=LAST, is_remote=True):
            await two.wait(len(two.heard) + 1)
    assert two.heard.count(EVERYTHING) == one.heard.count(EVERYTHING) == 1


async def test_a_server_that_no_longer_answers_is_found_without_a_notice(
    server: PostgresServer, make_replica: MakeReplica
) -> None:
    lost = Told("coordination-unavailable")
    one = await make_replica(keepalive_seconds=0.1, deadline_seconds=1)
    server.process.pause()
    try:
        await lost.wait()
    finally:
        server.process.resume()
    assert await one.wait(1) == [EVERYTHING]


@pytest.mark.parametrize("length", [401, 9_000])
async def test_a_name_that_is_too_long_for_a_notice_delays_no_other(make_replica: MakeReplica, length: int) -> None:
    one, two = await make_replica(), await make_replica()
    longest = NormalizedName("f" * 400)
    for name in (NormalizedName("f" * length), longest):
        one.notices.publish(Notice(index="pypi", project=name))
    assert await two.wait(1) == [Notice(index="pypi", project=longest, is_remote=True)]
    assert len(one.heard) == 2


async def test_too_many_notices_become_one_for_everything(make_replica: MakeReplica) -> None:
    one, two = await make_replica(), await make_replica()
    for number in range(1001):
        one.notices.publish(Notice(index="pypi", project=NormalizedName(f"p{number}")))
    assert await two.wait(1) == [EVERYTHING]
    assert len(one.heard) == 1001


async def test_a_replica_that_starts_without_a_database_hears_of_everything_later(
    server: PostgresServer, make_replica: MakeReplica
) -> None:
    server.process.pause()
    try:
        late = await make_replica(deadline_seconds=1)
        late.notices.publish(Notice(index="pypi", project=FOO))
    finally:
        server.process.resume()
    assert await late.wait(2) == [Notice(index="pypi", project=FOO), EVERYTHING]
