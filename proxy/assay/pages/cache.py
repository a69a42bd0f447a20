"""Which page of a project is current: remembered, renewed, stale while the index is down, never rolled back.

Owns pages and their records (a header and a compressed body, checked against its digest when read back). It judges
nothing.

- Within `freshness.page` a remembered page is used without asking; after it a conditional request renews it.
- While the index is unavailable, or answers nonsense, a page is used up to `max-stale` beyond that, and says so
  (`IndexPage.is_stale`). An index that is silent is waited for a few seconds only where there is such a page; the
  question goes on, and its answer is used when it comes.
- An index that refuses (401, 403, 451) is obeyed: nothing remembered is used in the place of its answer.
- A page whose serial is lower than one seen before is a rollback: the newer page is kept, and it is an alarm.
- That the index has no such project is remembered too, for at most a minute.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from assay import telemetry
from assay.caching.lru import Lru
from assay.caching.single_flight import SingleFlight, StillRunningError
from assay.errors import (
    InvalidResponseError,
    UpstreamAccessDeniedError,
    UpstreamError,
    UpstreamGoneError,
)
from assay.indexes import IndexSettings
from assay.pages.records import (
    SCHEMA_VERSION,
    body_key,
    compute_content_digest,
    decode_header,
    decompress_body,
    get_string,
    header_key,
)
from assay.ports import FetchedDocument, IndexPage, NoBody, ProjectKey, RecordStore, Upstream, Validators
from assay.simple.model import NormalizedName
from assay.simple.parse import PageLimits, parse_project
from assay.telemetry.metrics import PAGE_LOOKUPS

_OFFLOAD_MIN_BYTES = 64 * 1024
"""Bytes of a page from which on parsing leaves the event loop."""
_MAX_LOGGED_FILENAMES = 20
"""Withdrawn files that one line of the log names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCacheSettings:
    """How much is cached, and how long an index is waited for."""

    max_files: int = 10_000
    """Files of all parsed pages; the gate keeps the judged ones, and here are those that are to be renewed soon."""
    absence_ttl: timedelta = timedelta(minutes=1)
    stale_fallback_delay: timedelta = timedelta(seconds=3)
    """How long a silent index is waited for where there is a page to be used instead."""
    outage_backoff: timedelta = timedelta(seconds=10)
    """How long an index that failed is not asked where there is a page to be used: an install asks for fifty pages, and
    must not wait for each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CachedAbsence:
    confirmed_at: datetime


_CacheEntry = IndexPage | _CachedAbsence


class PageCache:
    """All pages, for all views."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        records: RecordStore,
        clock: Callable[[], datetime],
        settings: PageCacheSettings | None = None,
    ) -> None:
        self._settings = settings or PageCacheSettings()
        self._upstream = upstream
        self._records = records
        self._clock = clock
        self._requests = SingleFlight[ProjectKey, IndexPage | None]("fetch page", report=_log_failed_request)
        """Requests to the index. They outlive their callers, who may turn to a page that is cached."""
        self._outages: dict[str, datetime] = {}
        self._memory = Lru[ProjectKey, _CacheEntry](max_weight=self._settings.max_files, weigh=_weigh)

    async def get_current(
        self, index: IndexSettings, name: NormalizedName, *, newest_serial: int | None
    ) -> IndexPage | None:
        """Return the page to judge now; None where the index has no such project.

        Raises:
            UpstreamUnavailableError: the index is down and no page recent enough is cached.
            UpstreamError: the index answered nonsense.
        """
        kept = await self._load(index, name)
        if kept is not None and self._age(kept) < self._freshness_lifetime(index, kept):
            PAGE_LOOKUPS.labels("fresh").inc()
            return kept if isinstance(kept, IndexPage) else None
        page = kept if isinstance(kept, IndexPage) else None
        request = partial(self._request_page, index, name, page, newest_serial)
        if page is None or self._age(page) > index.freshness.page + index.freshness.max_stale:
            return await self._requests.join((index.name, name), request)
        if self._is_in_outage(index):
            return replace(page, is_stale=True)
        patience = self._settings.stale_fallback_delay.total_seconds()
        try:
            return await self._requests.join((index.name, name), request, timeout_seconds=patience)
        except (UpstreamAccessDeniedError, UpstreamGoneError):
            raise
        except StillRunningError:
            reason = f"{index.name} has not answered within {patience:.0f} s"
        except UpstreamError as error:
            reason = str(error)
        self._outages[index.name] = self._clock()
        PAGE_LOOKUPS.labels("stale").inc()
        telemetry.warning("page-stale", index=index.name, project=name, age=str(self._age(page)), error=reason)
        return replace(page, is_stale=True)

    def is_fresh(self, index: IndexSettings, name: NormalizedName) -> bool:
        """Return whether the page is in memory and need not be renewed yet."""
        cached = self._memory.peek((index.name, name))
        return cached is not None and self._age(cached) < self._freshness_lifetime(index, cached)

    async def close(self) -> None:
        """End the requests that are running."""
        await self._requests.close()

    def _is_in_outage(self, index: IndexSettings) -> bool:
        since = self._outages.get(index.name)
        return since is not None and abs(self._clock() - since) < self._settings.outage_backoff

    async def _request_page(
        self, index: IndexSettings, name: NormalizedName, page: IndexPage | None, newest_serial: int | None
    ) -> IndexPage | None:
        answer = await self._upstream.get_index(index).fetch_page(name, page.validators if page else Validators())
        taken = await self._accept_answer(index, name, answer, page, newest_serial)
        self._outages.pop(index.name, None)
        return taken

    async def _accept_answer(
        self,
        index: IndexSettings,
        name: NormalizedName,
        fetched: FetchedDocument | NoBody,
        page: IndexPage | None,
        newest_serial: int | None,
    ) -> IndexPage | None:
        now = self._clock()
        PAGE_LOOKUPS.labels(
            "changed" if isinstance(fetched, FetchedDocument) else fetched.name.lower().replace("_", "-")
        ).inc()
        if fetched is NoBody.NOT_MODIFIED and page is not None:
            return await self._store_page(name, replace(page, confirmed_at=now))
        if isinstance(fetched, NoBody):
            # Withdrawn or never there: what was listed before is not any more.
            if page is not None:
                telemetry.warning("project-withdrawn", index=index.name, project=name, files=len(page.project.files))
            await self._store_absence(index, name, now)
            return None
        if page is not None and page.content_digest == compute_content_digest(fetched):
            return await self._store_page(name, replace(page, confirmed_at=now, validators=fetched.validators))
        fresh = await self._parse_page(index, name, fetched, now)
        if newest_serial is not None and fresh.project.serial is not None and fresh.project.serial < newest_serial:
            telemetry.security(
                "serial-rollback", index=index.name, project=name, found=fresh.project.serial, newest=newest_serial
            )
            if page is None:
                raise InvalidResponseError(
                    f"{index.name} offers serial {fresh.project.serial} of {name}, "
                    f"older than {newest_serial}, seen before"
                )
            return await self._store_page(name, replace(page, confirmed_at=now))
        if page is not None:
            _log_withdrawn_files(page, fresh)
        telemetry.event("page-fetched", index=index.name, project=name, files=len(fresh.project.files))
        return await self._store_page(name, fresh, fetched)

    async def _parse_page(
        self, index: IndexSettings, name: NormalizedName, fetched: FetchedDocument, checked_at: datetime
    ) -> IndexPage:
        arguments = (fetched.body, fetched.content_type, fetched.url, name)
        limits = PageLimits(max_files=index.limits.files_per_project)
        if len(fetched.body) < _OFFLOAD_MIN_BYTES:
            project = parse_project(*arguments, serial=fetched.serial, limits=limits)
        else:
            project = await asyncio.to_thread(parse_project, *arguments, serial=fetched.serial, limits=limits)
        return IndexPage(
            index=index,
            project=project,
            content_digest=compute_content_digest(fetched),
            confirmed_at=checked_at,
            validators=fetched.validators,
        )

    def _age(self, entry: _CacheEntry) -> timedelta:
        # A clock set back must not make a page fresh for ever.
        return abs(self._clock() - entry.confirmed_at)

    def _freshness_lifetime(self, index: IndexSettings, entry: _CacheEntry) -> timedelta:
        page = index.freshness.page
        return page if isinstance(entry, IndexPage) else min(page, self._settings.absence_ttl)

    async def _load(self, index: IndexSettings, name: NormalizedName) -> _CacheEntry | None:
        key = (index.name, name)
        if (cached := self._memory.get(key)) is not None:
            return cached
        header = decode_header(await self._records.get(header_key(key)))
        if header is None or header.get("address") != index.url:
            return None
        try:
            checked = datetime.fromtimestamp(float(header["checked"]), UTC)
            if header.get("absent") is True:
                return self._cache_in_memory(key, _CachedAbsence(confirmed_at=checked))
            body = await self._records.get(body_key(key))
            return (
                None
                if body is None
                else self._cache_in_memory(key, await self._parse_record(index, name, header, body, checked))
            )
        except (KeyError, TypeError, ValueError, OverflowError, OSError, zlib.error, UpstreamError) as error:
            telemetry.warning("record-broken", record="page", index=index.name, project=name, error=str(error))
            return None

    async def _parse_record(
        self, index: IndexSettings, name: NormalizedName, header: dict[str, Any], body: bytes, checked_at: datetime
    ) -> IndexPage:
        answer = FetchedDocument(
            body=await asyncio.to_thread(decompress_body, body, index.limits.page),
            content_type=str(header["content_type"]),
            url=str(header["url"]),
            validators=Validators(etag=get_string(header, "etag"), last_modified=get_string(header, "last_modified")),
            serial=header.get("serial") if isinstance(header.get("serial"), int) else None,
        )
        if compute_content_digest(answer) != header.get("version"):
            raise ValueError("the body is not the one that the header describes")
        return await self._parse_page(index, name, answer, checked_at)

    async def _store_page(
        self, name: NormalizedName, page: IndexPage, fetched: FetchedDocument | None = None
    ) -> IndexPage:
        """Remember a page; `fetched` is what it was parsed from, None where that is remembered already."""
        key = (page.index.name, name)
        self._cache_in_memory(key, page)
        if fetched is None:
            header = decode_header(await self._records.get(header_key(key)))
            if header is None or header.get("version") != page.content_digest:
                return page
        else:
            header = {"content_type": fetched.content_type, "url": fetched.url, "serial": fetched.serial}
            await self._records.put(body_key(key), await asyncio.to_thread(zlib.compress, fetched.body, 1))
        header |= {
            "schema": SCHEMA_VERSION,
            "address": page.index.url,
            "checked": page.confirmed_at.timestamp(),
            "version": page.content_digest,
            "etag": page.validators.etag,
            "last_modified": page.validators.last_modified,
        }
        await self._records.put(header_key(key), json.dumps(header).encode())
        return page

    async def _store_absence(self, index: IndexSettings, name: NormalizedName, now: datetime) -> None:
        key = (index.name, name)
        self._cache_in_memory(key, _CachedAbsence(confirmed_at=now))
        header = {"schema": SCHEMA_VERSION, "address": index.url, "checked": now.timestamp(), "absent": True}
        await self._records.put(header_key(key), json.dumps(header).encode())
        await self._records.delete(body_key(key))

    def _cache_in_memory(self, key: ProjectKey, entry: _CacheEntry) -> _CacheEntry:
        self._memory.put(key, entry)
        return entry


def _log_failed_request(key: ProjectKey, error: BaseException) -> None:
    telemetry.event("page-not-renewed", index=key[0], project=key[1], error=str(error))


def _log_withdrawn_files(page: IndexPage, fresh_page: IndexPage) -> None:
    """Say which files the index lists no more: whoever has installed them may want to know."""
    listed = {file.filename for file in fresh_page.project.files}
    gone = [file.filename for file in page.project.files if file.filename not in listed]
    if gone:
        telemetry.warning(
            "files-withdrawn",
            index=fresh_page.index.name,
            project=fresh_page.project.name,
            count=len(gone),
            filenames=sorted(gone)[:_MAX_LOGGED_FILENAMES],
        )


def _weigh(entry: _CacheEntry) -> int:
    # An absence or an empty page weighs something too, so that thousands of invented names stay bounded.
    return 10 + (len(entry.project.files) if isinstance(entry, IndexPage) else 0)
