"""Responses for the pages about used projects and refusals.

The facts come from records and from memory, never from an index. The facts of the overview and of the search are kept
for some seconds, so that many requests cost no more than one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import web

from assay.advisories.model import Advisory
from assay.advisories.snapshot import AdvisorySnapshot
from assay.assembly import View
from assay.caching.lru import Lru
from assay.gate.summaries import PageSummaries
from assay.policy.shown_advisories import select_counting
from assay.ports import Advisories, RefusalFilter, Storage
from assay.simple.model import NormalizedName
from assay.views import DEFAULT_VIEW, ViewSettings
from assay.web.exchange import Exchange
from assay.web.routing.routes import OverviewPage, RefusalsPage, Search
from assay.web.ui.activity.overview import (
    MAX_OVERVIEW_PROJECTS,
    Overview,
    build_overview,
    get_period_start,
    overview_to_json,
)
from assay.web.ui.activity.overview_page import render_overview_page
from assay.web.ui.activity.refusals_page import (
    ALL_VIEWS,
    PAGE_SIZE,
    FilterQuery,
    RefusalListing,
    parse_filter_query,
    refusals_to_json,
    render_refusals_page,
)
from assay.web.ui.activity.search_page import render_search_page, suggest_projects
from assay.web.ui.releases import build_version_url
from assay.web.ui.responses import build_html_response


class ActivityResponder:
    """Responder for the overview, the refusals and the search of one view.

    Args:
        view: the view.
        store: the storage, which has the records.
        summaries: writer of the summaries of judged pages.
        clock: returns the current time in UTC.
        other_views: further views whose refusals the page may show, to users who may use them.
        advisories: advisories in force. The overview has a section about them unless they are empty.
        lifetime_seconds: time in seconds for which the facts of the overview and of the search are kept.
    """

    def __init__(
        self,
        *,
        view: View,
        store: Storage,
        summaries: PageSummaries,
        clock: Callable[[], datetime],
        other_views: Sequence[ViewSettings] = (),
        advisories: Advisories,
        lifetime_seconds: float,
    ) -> None:
        self._view = view
        self._store = store
        self._summaries = summaries
        self._clock = clock
        self._others = tuple(other_views)
        self._advisories = advisories
        self._overviews = Lru[str, Overview](max_items=1, max_age_seconds=lifetime_seconds)
        self._seen = Lru[str, tuple[NormalizedName, ...]](max_items=1, max_age_seconds=lifetime_seconds)
        self._lock = asyncio.Lock()

    async def respond(
        self, exchange: Exchange, route: OverviewPage | RefusalsPage | Search, _request: web.BaseRequest
    ) -> web.StreamResponse:
        """Return the response to a request.

        Raises:
            StorageError: the storage is closed.
        """
        match route:
            case OverviewPage():
                return await self._respond_overview(exchange)
            case RefusalsPage():
                return await self._respond_refusals(exchange, parse_filter_query(route.query))
            case Search():
                return await self._respond_search(exchange, route)

    async def _respond_overview(self, exchange: Exchange) -> web.StreamResponse:
        overview = await self._get_overview()
        if _wants_json(exchange):
            return await _build_json_response(partial(overview_to_json, overview))
        name = self._view.settings.name
        render = partial(render_overview_page, overview, None if name == DEFAULT_VIEW else name)
        return await _build_page_response(exchange, await asyncio.to_thread(render))

    async def _get_overview(self) -> Overview:
        name = self._view.settings.name
        async with self._lock:  # concurrent requests wait for one of them
            if (found := self._overviews.get(name)) is None:
                found = await self._make_overview()
                self._overviews.put(name, found)
        return found

    async def _make_overview(self) -> Overview:
        name, now = self._view.settings.name, self._clock()
        await self._summaries.update()
        since = get_period_start(now)
        described = await self._store.usage.list_described(name, since, limit=MAX_OVERVIEW_PROJECTS + 1)
        refusals = await self._store.refusals.count_by_day(name, since.date())
        snapshot = self._advisories.current()
        build = partial(
            build_overview,
            name,
            described,
            refusals=refusals,
            waivers=self._view.gate.policy.waivers,
            find_advisories=partial(self._find_advisories, snapshot, now) if len(snapshot) else None,
            now=now,
        )
        return await asyncio.to_thread(build)

    def _find_advisories(
        self, snapshot: AdvisorySnapshot, now: datetime, project: NormalizedName
    ) -> tuple[Advisory, ...]:
        """Return the advisories about a project that count in this view. Blocking: parses the records."""
        gate = self._view.gate
        if not gate.has_pypi_projects(project):
            return ()
        return select_counting(gate.policy, snapshot.find(project), now)

    async def _respond_refusals(self, exchange: Exchange, query: FilterQuery) -> web.StreamResponse:
        own = self._view.settings.name
        permitted = [own, *(each.name for each in self._others if each.admits(exchange.user))]
        wanted = RefusalFilter(
            views=permitted if query.view == ALL_VIEWS else [each for each in permitted if each == (query.view or own)],
            project=query.project,
            rule=query.rule,
            code=query.reason,
            user=query.user,
        )
        found = await self._store.refusals.find(wanted, limit=PAGE_SIZE + 1, before=query.before)
        listing = RefusalListing(
            refusals=found[:PAGE_SIZE],
            next_before=found[PAGE_SIZE - 1].number if len(found) > PAGE_SIZE else None,
            wanted=query,
            view=own,
            views=permitted,
        )
        if _wants_json(exchange):
            return await _build_json_response(partial(refusals_to_json, listing))
        return await _build_page_response(exchange, render_refusals_page(listing))

    async def _respond_search(self, exchange: Exchange, route: Search) -> web.StreamResponse:
        seen = await self._list_seen()
        target = route.target
        if target is not None and target.project in seen:
            return _build_redirect(target.project, target.version)
        suggestions = await asyncio.to_thread(suggest_projects, route.text, seen)
        if target is not None and not suggestions:
            return _build_redirect(target.project, target.version)
        status = HTTPStatus.OK if target is not None or not route.text else HTTPStatus.BAD_REQUEST
        body = render_search_page(route.text, target, seen, suggestions)
        return await build_html_response(body, exchange.head.headers.get("Accept-Encoding"), status)

    async def _list_seen(self) -> tuple[NormalizedName, ...]:
        name = self._view.settings.name
        if (found := self._seen.get(name)) is None:
            found = tuple(await self._store.usage.list_seen(name, limit=MAX_OVERVIEW_PROJECTS))
            self._seen.put(name, found)
        return found


def _wants_json(exchange: Exchange) -> bool:
    accept = exchange.head.headers.get("Accept", "").lower()
    return "application/json" in accept and "text/html" not in accept


async def _build_json_response(make: Callable[[], dict[str, Any]]) -> web.Response:
    body = await asyncio.to_thread(lambda: json.dumps(make()).encode("ascii"))
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "Vary": "Accept"}
    return web.Response(body=body, headers=headers)


async def _build_page_response(exchange: Exchange, body: bytes) -> web.StreamResponse:
    response = await build_html_response(body, exchange.head.headers.get("Accept-Encoding"))
    response.headers["Vary"] = "Accept, Accept-Encoding"  # a client may ask for JSON
    return response


def _build_redirect(project: NormalizedName, version: str | None) -> web.Response:
    location = f"project/{project}" if version is None else build_version_url("", project, version)
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": location, "Cache-Control": "no-store"})
