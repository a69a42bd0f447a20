"""The provenance services of replicas that share records and flights: each document is fetched once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from assay.caching.flights import ProcessFlights
from assay.caching.notices import LocalNotices
from assay.evidence import INDEX_SOURCE, Attested
from assay.ports import Flight, Flights, Notice, ProjectHistory
from assay.provenance.documents import FileKey, file_key
from assay.provenance.resolver import Resolution
from assay.provenance.service import ProvenanceService
from assay.provenance.sources.base import ProjectQuery
from assay.simple.model import File
from tests.unit.policy.factories import a_file
from tests.unit.provenance.factories import MemoryRecords, ScriptedSource, index_source, make_page, make_resolver

FOO, BAR = a_file(project="foo"), a_file(project="bar")
PAGE, HISTORY = make_page(FOO, BAR), ProjectHistory()
WANTED = {INDEX_SOURCE: (FOO, BAR)}


class StallingSource(ScriptedSource):
    """Source that sends the document of `BAR` only after `release` is set."""

    def __init__(self) -> None:
        super().__init__(INDEX_SOURCE, foo=b"by acme/foo", bar=b"by acme/bar")
        self.reached, self.release = asyncio.Event(), asyncio.Event()

    async def fetch(self, query: ProjectQuery, file: File, ensure_may_fetch: Callable[[], None]) -> bytes | None:
        if file == BAR:
            self.reached.set()
            await self.release.wait()
        return await super().fetch(query, file, ensure_may_fetch)


class Replica:
    """Provenance service of one replica, and the notices that it publishes."""

    def __init__(self, source: ScriptedSource, records: MemoryRecords, flights: Flights) -> None:
        notices = LocalNotices()
        self.heard = asyncio.Queue[Notice]()
        notices.subscribe(self.heard.put_nowait)
        self.service = ProvenanceService(
            resolver=make_resolver(source, records=records),
            revalidator=cast("Any", None),
            notices=notices,
            flights=flights,
            notice_interval_seconds=0.01,
        )

    async def resolve(self, *, timeout_seconds: float = 0) -> Resolution:
        return await self.service.resolve(PAGE, WANTED, HISTORY, timeout_seconds=timeout_seconds)

    async def hear(self) -> Notice:
        async with asyncio.timeout(30):
            return await self.heard.get()


def list_known(found: Resolution) -> set[FileKey]:
    evidence = found.by_source[INDEX_SOURCE].by_file
    assert all(isinstance(each.evidence, Attested) for each in evidence.values())
    return set(evidence)


async def test_a_replica_waits_for_its_turn_and_shows_what_another_has_recorded_so_far() -> None:
    source, records, flights = StallingSource(), MemoryRecords(is_shared=True), ProcessFlights()
    one, two = Replica(source, records, flights), Replica(source, records, flights)
    await one.resolve()
    await source.reached.wait()
    assert (await one.hear()).is_remote is False, "the others need a notice of it"
    assert list_known(await two.resolve()) == set()
    notice = await two.hear()
    assert notice == Notice(index="test", project=PAGE.project.name, is_remote=True), "and of this they need none"
    found = await two.resolve()
    assert (list_known(found), found.is_complete) == ({file_key(FOO)}, False)
    source.release.set()
    for replica in (one, two):
        await replica.service.wait_until_idle()
        found = await replica.resolve(timeout_seconds=30)
        assert (list_known(found), found.is_complete) == ({file_key(FOO), file_key(BAR)}, True)
    assert sorted(source.asked) == [BAR.filename, FOO.filename]


async def test_replicas_that_do_not_share_flights_fetch_both() -> None:
    source, records = StallingSource(), MemoryRecords(is_shared=True)
    source.release.set()
    replicas = [Replica(source, records, ProcessFlights()) for _ in range(2)]
    found = await asyncio.gather(*(each.resolve(timeout_seconds=30) for each in replicas))
    assert [list_known(each) for each in found] == [{file_key(FOO), file_key(BAR)}] * 2
    assert len(source.asked) == 4


async def test_if_a_replica_fails_another_one_takes_its_turn() -> None:
    source, records, flights = StallingSource(), MemoryRecords(is_shared=True), ProcessFlights()
    one, two = Replica(source, records, flights), Replica(source, records, flights)
    await one.resolve()
    await source.reached.wait()
    await one.hear()
    await two.resolve()
    await one.service.close()
    source.release.set()
    await two.service.wait_until_idle()
    assert list_known(await two.resolve(timeout_seconds=30)) == {file_key(FOO), file_key(BAR)}
    assert source.asked.count(FOO.filename) == 1, "the other replica has recorded it"


class ImpatientFlights:
    """Flights in which another replica always works, for longer than a caller waits."""

    def __init__(self) -> None:
        self.waited = 0

    @asynccontextmanager
    async def flight(self, *_: object, **_named: object) -> AsyncIterator[Flight]:
        self.waited += 1
        await asyncio.sleep(0)
        yield Flight(first=False)


async def test_a_replica_that_never_gets_its_turn_begins_anyway() -> None:
    source, flights = index_source(foo=b"by acme/foo", bar=b"by acme/bar"), ImpatientFlights()
    replica = Replica(source, MemoryRecords(is_shared=True), cast("Flights", flights))
    found = await replica.resolve(timeout_seconds=30)
    assert (list_known(found), found.is_complete) == ({file_key(FOO), file_key(BAR)}, True)
    assert flights.waited == 15
