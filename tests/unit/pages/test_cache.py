"""The page cache of replicas that share their records: an index is asked once, by whichever replica needs the page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from assay.indexes import IndexSettings
from assay.pages.cache import PageCache
from assay.ports import FetchedDocument, IndexPage, NoBody, ProjectHistory, Upstream, Validators
from assay.simple.model import NormalizedName
from tests.unit.policy.factories import NOW
from tests.unit.provenance.factories import MemoryRecords
from tests.world.proxy.running_proxy import ManualClock

INDEX = IndexSettings.model_validate(
    {"name": "test", "url": "https://index.example/simple/", "file-hosts": ["files.example"]}
)
WIDGET = NormalizedName("widget")
NOTHING = ProjectHistory()


def make_body(*versions: str) -> bytes:
    links = "".join(
        f'<a href="https://files.example/widget-{version}.tar.gz#sha256={version[0] * 64}">widget-{version}.tar.gz</a>'
        for version in versions
    )
    return f"<!DOCTYPE html><html><body>{links}</body></html>".encode()


class ScriptedIndex:
    """Index and connections to it. Its page is `body`; None if the project is absent."""

    def __init__(self, body: bytes | None) -> None:
        self.body = body
        self.asked: list[Validators] = []

    def get_index(self, _settings: IndexSettings) -> ScriptedIndex:
        return self

    async def fetch_page(
        self, name: NormalizedName, validators: Validators, *, reserve: Callable[[int], Awaitable[None]]
    ) -> FetchedDocument | NoBody:
        self.asked.append(validators)
        await reserve(1000)
        if self.body is None:
            return NoBody.ABSENT
        etag = f'"{hash(self.body)}"'
        if validators.etag == etag:
            return NoBody.NOT_MODIFIED
        return FetchedDocument(
            body=self.body,
            content_type="text/html",
            url=f"https://index.example/simple/{name}/",
            validators=Validators(etag=etag),
            serial=None,
        )


class Replicas:
    """Two page caches over one store of records."""

    def __init__(self, *, is_shared: bool, body: bytes | None = make_body("1.0")) -> None:
        self.index = ScriptedIndex(body)
        self.records = MemoryRecords(is_shared=is_shared)
        self.clock = ManualClock(NOW)
        self.one, self.two = (self._make() for _ in range(2))

    def _make(self) -> PageCache:
        return PageCache(upstream=cast("Upstream", self.index), records=self.records, clock=self.clock)

    async def get(self, cache: PageCache, **facts: Any) -> IndexPage | None:
        return await cache.get_current(INDEX, WIDGET, history=ProjectHistory(**facts))

    def expire(self) -> None:
        self.clock.now += INDEX.freshness.page + timedelta(seconds=1)

    @property
    def asked(self) -> int:
        return len(self.index.asked)


def list_files(page: IndexPage | None) -> list[str]:
    assert page is not None
    return [file.filename for file in page.project.files]


@pytest.mark.parametrize(("is_shared", "requests"), [(True, 2), (False, 3)])
async def test_the_page_that_a_sibling_renewed_is_used_without_a_request(*, is_shared: bool, requests: int) -> None:
    there = Replicas(is_shared=is_shared)
    for cache in (there.one, there.two):
        await there.get(cache)
    assert there.asked == 1, "the second replica finds the record"
    there.expire()
    for cache in (there.one, there.two):
        page = await there.get(cache)
        assert page is not None
        assert (page.confirmed_at, list_files(page)) == (there.clock.now, ["widget-1.0.tar.gz"])
    assert there.asked == requests


async def test_a_new_page_of_a_sibling_replaces_the_one_in_memory_and_is_judged_by_its_own_bytes() -> None:
    there = Replicas(is_shared=True)
    for cache in (there.one, there.two):
        await there.get(cache)
    there.expire()
    there.index.body = make_body("1.0", "2.0")
    pages = [await there.get(cache) for cache in (there.one, there.two)]
    assert [list_files(page) for page in pages] == [["widget-1.0.tar.gz", "widget-2.0.tar.gz"]] * 2
    assert pages[0] == pages[1]
    assert there.asked == 2
    there.expire()
    await there.get(there.two)
    assert there.index.asked[-1] == pages[0].validators if pages[0] else None, "and it is renewed by its own validators"


async def test_a_record_that_is_no_newer_changes_nothing() -> None:
    there = Replicas(is_shared=True)
    await there.get(there.one)
    await there.get(there.two)
    there.expire()
    old = dict(there.records.items)
    there.index.body = make_body("1.0", "2.0")
    await there.get(there.two)
    there.records.items = old  # as if the write had been lost
    there.expire()
    assert list_files(await there.get(there.two)) == ["widget-1.0.tar.gz", "widget-2.0.tar.gz"]
    assert there.asked == 3


@pytest.mark.parametrize("header", [b"{", b'{"schema": 1, "address": "https://index.example/simple/", "checked": "x"}'])
async def test_an_unusable_header_costs_a_request_and_no_more(header: bytes) -> None:
    there = Replicas(is_shared=True)
    await there.get(there.one)
    there.expire()
    there.records.items["page:test:widget"] = header
    assert list_files(await there.get(there.one)) == ["widget-1.0.tar.gz"]
    assert there.asked == 2


async def test_a_project_that_a_sibling_has_found_after_its_absence_is_there() -> None:
    there = Replicas(is_shared=True, body=None)
    for cache in (there.one, there.two):
        assert await there.get(cache) is None
    there.index.body = make_body("1.0")
    there.clock.now += timedelta(minutes=2)
    for cache in (there.one, there.two):
        assert list_files(await there.get(cache)) == ["widget-1.0.tar.gz"]
    assert there.asked == 3, "each for the absence, and one for the page"


@pytest.mark.parametrize(("is_shared", "is_found"), [(True, True), (False, False)])
async def test_who_waited_for_a_sibling_finds_the_work_done(*, is_shared: bool, is_found: bool) -> None:
    there = Replicas(is_shared=is_shared)
    assert not await there.two.is_fresh(INDEX, WIDGET)
    await there.get(there.one)
    assert await there.two.is_fresh(INDEX, WIDGET) is is_found
    await there.get(there.two)
    there.expire()
    assert not await there.two.is_fresh(INDEX, WIDGET)
    await there.get(there.one)
    assert await there.two.is_fresh(INDEX, WIDGET) is is_found


async def test_an_old_address_that_a_sibling_recorded_leads_to_the_file() -> None:
    there = Replicas(is_shared=True)
    there.index.body = make_body("1.0").replace(b"files.example/", b"files.example/old/")
    for cache in (there.one, there.two):
        await there.get(cache)
        assert await cache.moved.find_digest(INDEX, WIDGET, "files.example/old/widget-1.0.tar.gz") is None
    there.expire()
    there.index.body = make_body("1.0")
    for cache in (there.one, there.two):
        await there.get(cache)
        assert await cache.moved.find_digest(INDEX, WIDGET, "files.example/old/widget-1.0.tar.gz") == "1" * 64


async def test_a_page_and_its_header_are_written_at_once() -> None:
    there = Replicas(is_shared=True)
    written: list[set[str]] = []
    put_many = there.records.put_many

    async def record(items: Any) -> None:
        written.append(set(items))
        await put_many(items)

    there.records.put_many = record  # type: ignore[method-assign]
    await there.get(there.one)
    assert written == [{"page:test:widget", "page-body:test:widget"}]


async def test_a_running_request_is_cancelled_at_the_end() -> None:
    there = Replicas(is_shared=True)
    entered = asyncio.Event()

    async def stall(*_: object, **_named: object) -> NoBody:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    there.index.fetch_page = stall  # type: ignore[method-assign]
    request = asyncio.create_task(there.get(there.one))
    await entered.wait()
    await there.one.close()
    with pytest.raises(asyncio.CancelledError):
        await request
