"""The Simple API outbound: a judged page, or the list of projects, in the form a client asks for.

Owns negotiation of format and content coding, validators and cache headers of pages. What stands on a page was decided
and rendered elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from aiohttp import web

from assay.config import ServerSettings
from assay.gate.gate import Gate
from assay.gate.judged_page import Judged, Rendered
from assay.pages.root_list import RootList
from assay.simple.coding import CODINGS
from assay.simple.negotiate import etag_matches, negotiate, negotiate_coding
from assay.web.files import send_spooled
from assay.web.origin import origin_of
from assay.web.response import Answer
from assay.web.routes import ProjectPage

_MOST_WORDS = 32
_LONGEST_WORDS = 1024
"""Characters."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A page as it goes to all who ask for it in the same words."""

    validated: Mapping[str, str]
    """Headers of a 304 (RFC 9110, 15.4.5)."""
    headers: Mapping[str, str]
    """Headers of a 200: these and those of the body."""
    rendered: Rendered

    def answer(self, headers: Mapping[str, str]) -> Answer:
        if etag_matches(headers.get("If-None-Match"), self.rendered.etag):
            return Answer(status=HTTPStatus.NOT_MODIFIED, headers=dict(self.validated))
        return Answer(body=self.rendered.body, headers=dict(self.headers))


async def project_page(
    request: web.BaseRequest, route: ProjectPage, gate: Gate, settings: ServerSettings, *, prefix: str, now: datetime
) -> Answer:
    """One project's page; `prefix` is its view's, and so its provenance addresses'.

    Raises:
        AssayError: it cannot be had.
    """
    if (warm := warm_page(request.headers, route, gate)) is not None:
        return warm
    judged = await gate.page(route.project)
    form = negotiate(request.headers.get("Accept"), route.format)
    coding = negotiate_coding(request.headers.get("Accept-Encoding"), CODINGS)
    origin = origin_of(request.headers, peer=request.remote, tls=request.secure, settings=settings)
    rendered = await judged.rendered(form, None if origin is None else f"{origin}{prefix}", coding)
    headers = {
        "ETag": rendered.etag,
        "Cache-Control": _cache_control(judged, settings, now),
        "Vary": "Accept, Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if judged.page.project.serial is not None:
        headers["X-PyPI-Last-Serial"] = str(judged.page.project.serial)
    if judged.page.stale:
        # RFC 9211: the answer is from the cache because the index could not be asked.
        headers["Age"] = str(int((now - judged.page.checked).total_seconds()))
        headers["Cache-Status"] = 'assay; hit; detail="the index is unavailable"'
    body = {"Content-Type": form.content_type} | ({} if coding == "identity" else {"Content-Encoding": coding})
    made = _Made(validated=headers, headers=headers | body, rendered=rendered)
    # Neither the clock nor a front proxy's word plays a part in what is kept.
    if not judged.page.stale and not settings.page_max_age and not settings.trusted_proxies:
        _keep(judged, _words(request.headers, route), made)
    return made.answer(request.headers)


def warm_page(headers: Mapping[str, str], route: ProjectPage, gate: Gate) -> Answer | None:
    """What `project_page` answers, if the page still holds and was asked for in these very words before."""
    judged = gate.at_hand(route.project)
    made = None if judged is None else judged.kept.get(_words(headers, route))
    return made.answer(headers) if isinstance(made, _Made) else None


def _words(headers: Mapping[str, str], route: ProjectPage) -> tuple[str | None, ...]:
    """All of a request that a page depends on, where only its view, its server and the page itself are given."""
    return route.format, headers.get("Accept"), headers.get("Accept-Encoding"), headers.get("Host")


def _keep(judged: Judged, words: tuple[str | None, ...], made: _Made) -> None:
    """Clients of one kind all ask in the same words; those who invent some evict nobody else's page."""
    if sum(len(word or "") for word in words) <= _LONGEST_WORDS:
        if len(judged.kept) >= _MOST_WORDS:
            judged.kept.clear()
        judged.kept[words] = made


def _cache_control(judged: Judged, settings: ServerSettings, now: datetime) -> str:
    """``no-cache`` unless configured otherwise, and never past the next change by the clock."""
    if not settings.page_max_age:
        return "private, no-cache"
    seconds = settings.page_max_age.total_seconds()
    if judged.until is not None:
        seconds = min(seconds, (judged.until - now).total_seconds())
    return f"private, max-age={int(seconds)}" if seconds >= 1 else "private, no-cache"


async def root_page(
    request: web.BaseRequest, format_param: str | None, roots: RootList, view: str
) -> web.StreamResponse:
    """A view's list of all projects that policy does not deny by name, from its spool.

    Raises:
        AssayError: there is none yet and the index cannot be asked.
    """
    form = negotiate(request.headers.get("Accept"), format_param)
    async with roots.current(view, form) as spooled:
        headers = {
            "ETag": spooled.etag,
            "Cache-Control": "private, no-cache",
            "Vary": "Accept",
            "X-Content-Type-Options": "nosniff",
        }
        if etag_matches(request.headers.get("If-None-Match"), spooled.etag):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        return await send_spooled(request, spooled.file, spooled.size, headers | {"Content-Type": form.content_type})
