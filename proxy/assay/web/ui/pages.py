"""Requests for the pages of people: the gate's facts in, a response out.

Owns the last refusals and leaves the loop for pages of many files. All else is rendered by pure functions beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from http import HTTPStatus

from aiohttp import web

from assay.assembly import View
from assay.config import ServerSettings
from assay.policy.verdict import Withheld
from assay.ports import Storage
from assay.views import DEFAULT_VIEW, ViewSettings
from assay.web.exchange import Exchange
from assay.web.origin import resolve_origin
from assay.web.routes import HomePage, PolicyPage, ProjectPage, SearchRedirect
from assay.web.ui.home import HomeContext, HomeStats, render_home_page
from assay.web.ui.layout import HTML_HEADERS
from assay.web.ui.policy import render_policy_page
from assay.web.ui.project import render_project_page
from assay.web.ui.refusals import RefusalLog

_THREADED_RENDER_MIN_FILES = 100
"""Files of a project from which on its page is rendered in a thread."""


class UiResponder:
    """Answers people about one view.

    Args:
        view: whose verdicts and policy are shown.
        store: what is kept, of all views.
        settings: who the proxy is to its clients.
        clock: UTC.
        other_views: the views that home leads to, each shown to those alone to whom it is open.
    """

    def __init__(
        self,
        *,
        view: View,
        store: Storage,
        settings: ServerSettings,
        clock: Callable[[], datetime],
        other_views: Sequence[ViewSettings] = (),
    ) -> None:
        self._view = view
        self._store = store
        self._settings = settings
        self._clock = clock
        self._others = tuple(other_views)
        self._refusals = RefusalLog()

    def record_refusal(self, withheld: Withheld) -> None:
        """A client was just refused this file."""
        self._refusals.add(withheld, self._clock())

    async def respond(
        self,
        exchange: Exchange,
        route: HomePage | ProjectPage | PolicyPage | SearchRedirect,
        _request: web.BaseRequest,
    ) -> web.StreamResponse:
        """Return one page.

        Raises:
            AssayError: the project's page cannot be had.
        """
        match route:
            case HomePage():
                return _build_html_response(await self._render_home(exchange))
            case ProjectPage():
                return _build_html_response(await self._render_project(route))
            case PolicyPage():
                return _build_html_response(render_policy_page(self._view.gate.policy, self._clock()))
            case SearchRedirect(to=None):
                return _build_html_response(
                    await self._render_home(exchange, no_such_name=True), HTTPStatus.BAD_REQUEST
                )
            case SearchRedirect(to=to):
                return web.Response(
                    status=HTTPStatus.SEE_OTHER, headers={"Location": to or "", "Cache-Control": "no-store"}
                )

    async def _render_home(self, exchange: Exchange, *, no_such_name: bool = False) -> bytes:
        judged, blobs = self._view.gate.list_cached_pages(), await self._store.blobs.stats()
        counts = HomeStats(
            projects=len(judged),
            approved=sum(len(page.listing.approved) for page in judged),
            withheld=sum(len(page.listing.withheld) for page in judged),
            blobs=blobs.count,
            blob_bytes=blobs.size,
            refused=self._refusals.count,
        )
        peer = exchange.peer
        origin = resolve_origin(exchange.head.headers, peer=peer.address, tls=peer.is_tls, settings=self._settings)
        own = self._view.settings
        place = HomeContext(
            origin=origin,
            prefix=own.prefix,
            view=None if own.name == DEFAULT_VIEW else own.name,
            others=tuple((each.name, each.path) for each in self._others if each.admits(exchange.user)),
        )
        return render_home_page(place, counts, self._refusals.recent(), self._clock(), no_such_name=no_such_name)

    async def _render_project(self, route: ProjectPage) -> bytes:
        judged = await self._view.gate.get_page(route.project)
        render = partial(
            render_project_page,
            route.project,
            judged.verdicts,
            index=judged.page.index.name,
            absence_reason=None if judged.listing.absence_reason is None else judged.listing.absence_reason.message,
            status=judged.page.project.status,
            stale_since=judged.page.confirmed_at if judged.page.is_stale else None,
            page_number=route.page,
            now=self._clock(),
        )
        many = len(judged.page.project.files) >= _THREADED_RENDER_MIN_FILES
        return await asyncio.to_thread(render) if many else render()


def _build_html_response(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=body, headers=HTML_HEADERS)
