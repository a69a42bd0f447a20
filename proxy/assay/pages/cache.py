"""Which page of a project is current: remembered, renewed, stale while the index is down, never rolled back.

Owns pages and their records (a header and a compressed body, checked against its digest when read back). It judges
nothing.

- Within `freshness.page` a remembered page is used without asking; after it a conditional request renews it.
- While the index is unavailable, or answers nonsense, a page is used up to `max-stale` beyond that, and says so
  (`Page.stale`). An index that is silent is waited for a few seconds only where there is such a page; the question goes
  on, and its answer is used when it comes.
- An index that refuses (401, 403, 451) is obeyed: nothing remembered is used in the place of its answer.
- A page whose serial is lower than one seen before is a rollback: the newer page is kept, and it is an alarm.
- That the index has no such project is remembered too, for at most a minute.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from assay import telemetry
from assay.caching.keyed_lock import Turns
from assay.errors import (
    UpstreamError,
    UpstreamGoneError,
    UpstreamNonsenseError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)
from assay.indexes import IndexSettings
from assay.pages.records import SCHEMA, body_key, decoded_header, header_key, inflated, text_of, version_of
from assay.ports import Key, Page, Records, Validators
from assay.simple.model import NormalizedName
from assay.simple.parse import PageLimits, parse_project
from assay.telemetry.metrics import PAGES
from assay.upstream.client import Fetched, Nothing, Upstream

_OFF_LOOP = 64 * 1024
"""Bytes of a page from which on parsing leaves the event loop."""
_MOST_FILES_IN_MEMORY = 10_000
"""Of the parsed pages kept here; the gate keeps the judged ones, and here are those that are to be renewed soon."""
_ABSENCE = timedelta(minutes=1)
_HESITATION = timedelta(seconds=3)
"""How long a silent index is waited for where there is a page to be used instead."""
_OUTAGE = timedelta(seconds=10)
"""How long an index that failed is not asked where there is a page to be used: an install asks for fifty pages, and
must not wait for each of them."""
_NAMED = 20
"""Withdrawn files that one line of the log names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absence:
    checked: datetime


_Kept = Page | _Absence


class Pages:
    """All pages, for all views."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        records: Records,
        clock: Callable[[], datetime],
    ) -> None:
        self._upstream = upstream
        self._records = records
        self._clock = clock
        self._turns = Turns()
        self._asking: dict[Key, asyncio.Task[Page | None]] = {}
        self._outages: dict[str, datetime] = {}
        self._memory: OrderedDict[Key, _Kept] = OrderedDict()
        self._files = 0

    async def current(self, index: IndexSettings, name: NormalizedName, *, newest_serial: int | None) -> Page | None:
        """The page to judge now; None where the index has no such project.

        Raises:
            UpstreamUnavailableError: the index is down and nothing recent enough is remembered.
            UpstreamError: the index answered nonsense.
        """
        async with self._turns.turn((index.name, name)):
            return await self._current(index, name, newest_serial)

    async def _current(self, index: IndexSettings, name: NormalizedName, newest_serial: int | None) -> Page | None:
        kept = await self._remembered(index, name)
        if kept is not None and self._age(kept) < self._freshness(index, kept):
            PAGES.labels("fresh").inc()
            return kept if isinstance(kept, Page) else None
        page = kept if isinstance(kept, Page) else None
        if page is None or self._age(page) > index.freshness.page + index.freshness.max_stale:
            return await asyncio.shield(self._ask(index, name, page, newest_serial))
        if self._is_out(index):
            return replace(page, stale=True)
        asking = self._ask(index, name, page, newest_serial)
        done, _ = await asyncio.wait({asking}, timeout=_HESITATION.total_seconds())
        try:
            if done:
                return asking.result()
            raise UpstreamUnavailableError(f"{index.name} has not answered within {_HESITATION.total_seconds():.0f} s")
        except (UpstreamRefusedError, UpstreamGoneError):
            raise
        except UpstreamError as error:
            self._outages[index.name] = self._clock()
            PAGES.labels("stale").inc()
            telemetry.warning("page-stale", index=index.name, project=name, age=str(self._age(page)), error=str(error))
            return replace(page, stale=True)

    async def close(self) -> None:
        """End the questions that are under way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _is_out(self, index: IndexSettings) -> bool:
        since = self._outages.get(index.name)
        return since is not None and abs(self._clock() - since) < _OUTAGE

    def _ask(
        self, index: IndexSettings, name: NormalizedName, page: Page | None, newest: int | None
    ) -> asyncio.Task[Page | None]:
        """The question to the index: one for each page, which outlives who asked it."""
        key = (index.name, name)
        if key not in self._asking:
            self._asking[key] = task = asyncio.create_task(self._answer(index, name, page, newest), name=f"ask {name}")
            task.add_done_callback(lambda done: self._answered(key, done))
        return self._asking[key]

    def _answered(self, key: Key, task: asyncio.Task[Page | None]) -> None:
        del self._asking[key]
        # Read here, because whoever asked may have turned to the page that was remembered.
        if not task.cancelled() and (error := task.exception()) is not None:
            telemetry.event("page-not-renewed", index=key[0], project=key[1], error=str(error))

    async def _answer(
        self, index: IndexSettings, name: NormalizedName, page: Page | None, newest: int | None
    ) -> Page | None:
        answer = await self._upstream.page(index, name, page.validators if page else Validators())
        taken = await self._take(index, name, answer, page, newest)
        self._outages.pop(index.name, None)
        return taken

    async def _take(
        self,
        index: IndexSettings,
        name: NormalizedName,
        answer: Fetched | Nothing,
        page: Page | None,
        newest: int | None,
    ) -> Page | None:
        now = self._clock()
        PAGES.labels("changed" if isinstance(answer, Fetched) else answer.name.lower().replace("_", "-")).inc()
        if answer is Nothing.NOT_MODIFIED and page is not None:
            return await self._keep(name, replace(page, checked=now))
        if isinstance(answer, Nothing):
            # Withdrawn or never there: what was listed before is not any more.
            if page is not None:
                telemetry.warning("project-withdrawn", index=index.name, project=name, files=len(page.project.files))
            await self._keep_absence(index, name, now)
            return None
        if page is not None and page.version == version_of(answer):
            return await self._keep(name, replace(page, checked=now, validators=answer.validators))
        fresh = await self._parsed(index, name, answer, now)
        if newest is not None and fresh.project.serial is not None and fresh.project.serial < newest:
            telemetry.security(
                "serial-rollback", index=index.name, project=name, found=fresh.project.serial, newest=newest
            )
            if page is None:
                raise UpstreamNonsenseError(
                    f"{index.name} offers serial {fresh.project.serial} of {name}, older than {newest}, seen before"
                )
            return await self._keep(name, replace(page, checked=now))
        if page is not None:
            _tell_withdrawn(page, fresh)
        telemetry.event("page-fetched", index=index.name, project=name, files=len(fresh.project.files))
        return await self._keep(name, fresh, answer)

    async def _parsed(self, index: IndexSettings, name: NormalizedName, answer: Fetched, checked: datetime) -> Page:
        arguments = (answer.body, answer.content_type, answer.url, name)
        limits = PageLimits(files=index.limits.files_per_project)
        if len(answer.body) < _OFF_LOOP:
            project = parse_project(*arguments, serial=answer.serial, limits=limits)
        else:
            project = await asyncio.to_thread(parse_project, *arguments, serial=answer.serial, limits=limits)
        return Page(
            index=index, project=project, version=version_of(answer), checked=checked, validators=answer.validators
        )

    def _age(self, kept: _Kept) -> timedelta:
        # A clock set back must not make a page fresh for ever.
        return abs(self._clock() - kept.checked)

    @staticmethod
    def _freshness(index: IndexSettings, kept: _Kept) -> timedelta:
        page = index.freshness.page
        return page if isinstance(kept, Page) else min(page, _ABSENCE)

    async def _remembered(self, index: IndexSettings, name: NormalizedName) -> _Kept | None:
        key = (index.name, name)
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        header = decoded_header(await self._records.get(header_key(key)))
        if header is None or header.get("address") != index.url:
            return None
        try:
            checked = datetime.fromtimestamp(float(header["checked"]), UTC)
            if header.get("absent") is True:
                return self._remember(key, _Absence(checked=checked))
            body = await self._records.get(body_key(key))
            return None if body is None else self._remember(key, await self._reread(index, name, header, body, checked))
        except (KeyError, TypeError, ValueError, OverflowError, OSError, zlib.error, UpstreamError) as error:
            telemetry.warning("record-broken", record="page", index=index.name, project=name, error=str(error))
            return None

    async def _reread(
        self, index: IndexSettings, name: NormalizedName, header: dict[str, Any], body: bytes, checked: datetime
    ) -> Page:
        answer = Fetched(
            body=await asyncio.to_thread(inflated, body, index.limits.page),
            content_type=str(header["content_type"]),
            url=str(header["url"]),
            validators=Validators(etag=text_of(header, "etag"), last_modified=text_of(header, "last_modified")),
            serial=header.get("serial") if isinstance(header.get("serial"), int) else None,
        )
        if version_of(answer) != header.get("version"):
            raise ValueError("the body is not the one that the header describes")
        return await self._parsed(index, name, answer, checked)

    async def _keep(self, name: NormalizedName, page: Page, answer: Fetched | None = None) -> Page:
        """Remember a page; `answer` is what it was parsed from, None where that is remembered already."""
        key = (page.index.name, name)
        self._remember(key, page)
        if answer is None:
            header = decoded_header(await self._records.get(header_key(key)))
            if header is None or header.get("version") != page.version:
                return page
        else:
            header = {"content_type": answer.content_type, "url": answer.url, "serial": answer.serial}
            await self._records.put(body_key(key), await asyncio.to_thread(zlib.compress, answer.body, 1))
        header |= {
            "schema": SCHEMA,
            "address": page.index.url,
            "checked": page.checked.timestamp(),
            "version": page.version,
            "etag": page.validators.etag,
            "last_modified": page.validators.last_modified,
        }
        await self._records.put(header_key(key), json.dumps(header).encode())
        return page

    async def _keep_absence(self, index: IndexSettings, name: NormalizedName, now: datetime) -> None:
        key = (index.name, name)
        self._remember(key, _Absence(checked=now))
        header = {"schema": SCHEMA, "address": index.url, "checked": now.timestamp(), "absent": True}
        await self._records.put(header_key(key), json.dumps(header).encode())
        await self._records.delete(body_key(key))

    def _remember(self, key: Key, kept: _Kept) -> _Kept:
        self._evict(key)
        self._memory[key] = kept
        self._files += _weight(kept)
        while self._files > _MOST_FILES_IN_MEMORY and len(self._memory) > 1:
            self._evict(next(iter(self._memory)))
        return kept

    def _evict(self, key: Key) -> None:
        kept = self._memory.pop(key, None)
        if kept is not None:
            self._files -= _weight(kept)


def _tell_withdrawn(page: Page, fresh: Page) -> None:
    """Say which files the index lists no more: whoever has installed them may want to know."""
    listed = {file.filename for file in fresh.project.files}
    gone = [file.filename for file in page.project.files if file.filename not in listed]
    if gone:
        telemetry.warning(
            "files-withdrawn",
            index=fresh.index.name,
            project=fresh.project.name,
            count=len(gone),
            filenames=sorted(gone)[:_NAMED],
        )


def _weight(kept: _Kept) -> int:
    # An absence or an empty page weighs something too, so that thousands of invented names stay bounded.
    return 10 + (len(kept.project.files) if isinstance(kept, Page) else 0)
