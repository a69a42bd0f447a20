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
from assay.store.directory import Store
from assay.views import DEFAULT, ViewSettings
from assay.web.auth import USER
from assay.web.origin import address_of
from assay.web.routes import Home, PolicyStory, ProjectStory, Search
from assay.web.ui.home import Counts, Place, home_page
from assay.web.ui.layout import HEADERS
from assay.web.ui.policy import policy_page
from assay.web.ui.project import project_page
from assay.web.ui.refusals import Refusals

_OFF_LOOP = 100
"""Files of a project from which on its page is rendered in a thread."""


class People:
    """Answers people about one view.

    Args:
        view: whose verdicts and policy are shown.
        store: what is kept, of all views.
        settings: who the proxy is to its clients.
        clock: UTC.
        others: the views that home leads to, each shown to those alone to whom it is open.
    """

    def __init__(
        self,
        *,
        view: View,
        store: Store,
        settings: ServerSettings,
        clock: Callable[[], datetime],
        others: Sequence[ViewSettings] = (),
    ) -> None:
        self._view = view
        self._store = store
        self._settings = settings
        self._clock = clock
        self._others = tuple(others)
        self._refusals = Refusals()

    def refused(self, withheld: Withheld) -> None:
        """A client was just refused this file."""
        self._refusals.add(withheld, self._clock())

    async def answer(
        self, request: web.BaseRequest, route: Home | ProjectStory | PolicyStory | Search
    ) -> web.StreamResponse:
        """One page.

        Raises:
            AssayError: the project's page cannot be had.
        """
        match route:
            case Home():
                return _page(await self._home(request))
            case ProjectStory():
                return _page(await self._project(route))
            case PolicyStory():
                return _page(policy_page(self._view.gate.policy, self._clock()))
            case Search(to=None):
                return _page(await self._home(request, no_such_name=True), HTTPStatus.BAD_REQUEST)
            case Search(to=to):
                return web.Response(
                    status=HTTPStatus.SEE_OTHER, headers={"Location": to or "", "Cache-Control": "no-store"}
                )

    async def _home(self, request: web.BaseRequest, *, no_such_name: bool = False) -> bytes:
        judged, blobs = self._view.gate.in_memory(), await self._store.blobs.stats()
        counts = Counts(
            projects=len(judged),
            approved=sum(len(page.listed.approved) for page in judged),
            withheld=sum(len(page.listed.withheld) for page in judged),
            blobs=blobs.count,
            blob_bytes=blobs.size,
            refused=self._refusals.count,
        )
        origin = address_of(request.headers, peer=request.remote, tls=request.secure, settings=self._settings)
        own = self._view.settings
        place = Place(
            origin=origin,
            prefix=own.prefix,
            view=None if own.name == DEFAULT else own.name,
            others=tuple((each.name, each.path) for each in self._others if each.admits(request.get(USER))),
        )
        return home_page(place, counts, self._refusals.last(), self._clock(), no_such_name=no_such_name)

    async def _project(self, route: ProjectStory) -> bytes:
        judged = await self._view.gate.page(route.project)
        render = partial(
            project_page,
            route.project,
            judged.verdicts,
            index=judged.page.index.name,
            reserved=None if judged.listed.reserved is None else judged.listed.reserved.message,
            status=judged.page.project.status,
            stale_since=judged.page.checked if judged.page.stale else None,
            number=route.page,
            now=self._clock(),
        )
        many = len(judged.page.project.files) >= _OFF_LOOP
        return await asyncio.to_thread(render) if many else render()


def _page(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=body, headers=HEADERS)
