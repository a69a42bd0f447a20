"""Responses to requests for HTML pages.

This module reads the facts from the gate and from the record of refused requests. The other modules of this package
render the pages as pure functions of these facts. The page of a large project is rendered in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from aiohttp import web

from assay.assembly import View
from assay.config import HelpSettings, ServerSettings
from assay.gate.release_words import classify_page
from assay.policy.verdict import Withheld
from assay.ports import RefusalFilter, Storage
from assay.simple.namespaces import read_namespaces
from assay.views import DEFAULT_VIEW, ViewSettings
from assay.web.exchange import Exchange
from assay.web.origin import resolve_origin
from assay.web.routing.routes import HomePage, PolicyPage, ProjectPage
from assay.web.ui.home import HomeContext, HomeStats, render_home_page
from assay.web.ui.policy import render_policy_page
from assay.web.ui.project import ProjectFacts, Selection, render_project_page
from assay.web.ui.refusals import MAX_SEARCHED, list_recent
from assay.web.ui.releases import UndecidedFile
from assay.web.ui.responses import build_html_response
from assay.web.ui.withheld import WithheldContext, render_withheld_page

_THREADED_RENDER_MIN_FILES = 100
"""A project with at least this many files has its page rendered in a thread, a smaller project in the event loop."""


class UiResponder:
    """Responder for the HTML pages of one view.

    Args:
        view: the view whose verdicts and policy are shown.
        store: the storage, which all views share; the home page shows its statistics and refusals.
        settings: settings that determine the proxy's own address.
        clock: returns the current time in UTC.
        other_views: views to which the home page links. A user sees only the views that the user may use.
        help_settings: help for users whose file is withheld; None if the configuration has none.
    """

    def __init__(
        self,
        *,
        view: View,
        store: Storage,
        settings: ServerSettings,
        clock: Callable[[], datetime],
        other_views: Sequence[ViewSettings] = (),
        help_settings: HelpSettings | None = None,
    ) -> None:
        self._view = view
        self._store = store
        self._settings = settings
        self._clock = clock
        self._others = tuple(other_views)
        self._help_settings = help_settings
        self._refused = 0

    def count_refusal(self) -> None:
        """Count a refused request for the home page."""
        self._refused += 1

    def render_withheld(self, withheld: Withheld, request_id: str | None, root: str) -> bytes:
        """Return the page for a refused request as UTF-8 HTML.

        It names approved files of the project if the judged page of the project is in memory.

        Args:
            withheld: verdict on the requested file.
            request_id: id of the request.
            root: relative URL of the view's home page from the requested URL.
        """
        judged, help_settings = self._view.gate.peek_listing_page(withheld), self._help_settings
        code = withheld.reasons[0].code.value
        context = WithheldContext(
            project=None if judged is None else judged.page.project.name,
            approved=() if judged is None else judged.listing.approved,
            view=self._shown_name,
            help=None if help_settings is None else help_settings.list_forms(withheld.file.filename, code)[0],
            is_help_url=help_settings is not None and help_settings.url is not None,
            request_id=request_id,
            now=self._clock(),
        )
        return render_withheld_page(withheld, context, root)

    @property
    def _shown_name(self) -> str | None:
        """Name of the view; None for the view ``default``, which pages do not name."""
        name = self._view.settings.name
        return None if name == DEFAULT_VIEW else name

    async def respond(
        self,
        exchange: Exchange,
        route: HomePage | ProjectPage | PolicyPage,
        _request: web.BaseRequest,
    ) -> web.StreamResponse:
        """Return the response to a request for an HTML page.

        Raises:
            AssayError: the page of the requested project is not available.
        """
        body = await self._render(exchange, route)
        return await build_html_response(body, exchange.head.headers.get("Accept-Encoding"))

    async def _render(self, exchange: Exchange, route: HomePage | ProjectPage | PolicyPage) -> bytes:
        match route:
            case HomePage():
                return await self._render_home(exchange)
            case ProjectPage():
                return await self._render_project(route)
            case PolicyPage():
                gate = self._view.gate
                rejection = self._view.policy_file.rejection
                return render_policy_page(gate.policy, gate.showing, self._clock(), rejection)

    async def _render_home(self, exchange: Exchange) -> bytes:
        own = self._view.settings
        blobs = await self._store.blobs.stats()
        refused = await self._store.refusals.find(RefusalFilter(views=[own.name]), limit=MAX_SEARCHED)
        judged = self._view.gate.list_cached_pages()
        reports = [page.hidden for page in judged if page.hidden is not None]
        counts = HomeStats(
            projects=len(judged),
            approved=sum(len(page.listing.approved) for page in judged),
            withheld=sum(len(page.listing.withheld) for page in judged),
            blobs=blobs.count,
            blob_bytes=blobs.size,
            hidden=sum(len(report.versions) for report in reports),
            refused=self._refused,
        )
        recent = list_recent(refused, reports)
        peer = exchange.peer
        origin = resolve_origin(exchange.head.headers, peer=peer.address, tls=peer.is_tls, settings=self._settings)
        context = HomeContext(
            origin=origin,
            showing=self._view.gate.showing,
            policy=self._view.gate.policy,
            policy_since=self._view.policy_file.in_force_since,
            rejection=self._view.policy_file.rejection,
            prefix=own.prefix,
            view=self._shown_name,
            others=tuple((each.name, each.path) for each in self._others if each.admits(exchange.user)),
        )
        return render_home_page(context, counts, recent, self._clock())

    async def _render_project(self, route: ProjectPage) -> bytes:
        judged = await self._view.gate.get_page(route.project)
        undecided = (
            UndecidedFile(file=file, problem=None if failure is None else failure.problem)
            for file in judged.listing.undecided
            for failure in (judged.failures.get(file.location),)
        )
        facts = ProjectFacts(
            name=route.project,
            index=judged.page.index.name,
            files=[*judged.verdicts, *undecided],
            absence_reason=None if judged.listing.absence_reason is None else judged.listing.absence_reason.message,
            status=judged.page.project.status,
            advisories=judged.listing.advisories,
            namespaces=read_namespaces(judged.page.project),
            stale_since=judged.page.confirmed_at if judged.page.is_stale else None,
        )
        selection = Selection(page=route.page, version=route.version, only_withheld=route.only_withheld)
        now = self._clock()

        def render() -> bytes:
            words = {version: each.words for version, each in classify_page(judged).items()}
            return render_project_page(replace(facts, words=words), selection, now)

        many = len(judged.page.project.files) >= _THREADED_RENDER_MIN_FILES
        return await asyncio.to_thread(render) if many else render()
