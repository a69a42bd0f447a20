"""The Simple API outbound: a judged page, or the list of projects, in the form a client asks for.

Owns negotiation of format and content coding, validators and cache headers of pages. What stands on a page was decided
and rendered elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus

from aiohttp import web

from assay.config import ServerSettings
from assay.gate.gate import Gate
from assay.gate.judged_page import JudgedPage, PreparedPage, RequestWords
from assay.pages.root_list import RootListCache
from assay.simple.coding import CONTENT_CODINGS
from assay.simple.negotiate import etag_matches, negotiate, negotiate_coding
from assay.web.files import send_spooled
from assay.web.origin import resolve_secure_origin
from assay.web.response import BufferedResponse
from assay.web.routes import SimpleProject

_MAX_REQUEST_WORDS_CHARS = 1024


async def serve_project_page(
    request: web.BaseRequest, route: SimpleProject, gate: Gate, settings: ServerSettings, *, prefix: str, now: datetime
) -> BufferedResponse:
    """One project's page; `prefix` is its view's, and so its provenance addresses'.

    Raises:
        AssayError: it cannot be had.
    """
    if (warm := peek_project_page(request.headers, route, gate)) is not None:
        return warm
    judged = await gate.get_page(route.project)
    form = negotiate(request.headers.get("Accept"), route.format)
    coding = negotiate_coding(request.headers.get("Accept-Encoding"), CONTENT_CODINGS)
    origin = resolve_secure_origin(request.headers, peer=request.remote, tls=request.secure, settings=settings)
    rendered = await judged.render(form, None if origin is None else f"{origin}{prefix}", coding)
    headers = {
        "ETag": rendered.etag,
        "Cache-Control": _cache_control(judged, settings, now),
        "Vary": "Accept, Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if judged.page.project.serial is not None:
        headers["X-PyPI-Last-Serial"] = str(judged.page.project.serial)
    if judged.page.is_stale:
        # RFC 9211: the answer is from the cache because the index could not be asked.
        headers["Age"] = str(int((now - judged.page.confirmed_at).total_seconds()))
        headers["Cache-Status"] = 'assay; hit; detail="the index is unavailable"'
    body = {"Content-Type": form.content_type} | ({} if coding == "identity" else {"Content-Encoding": coding})
    made = PreparedPage(not_modified_headers=headers, headers=headers | body, rendered=rendered)
    # Neither the clock nor a front proxy's word plays a part in what is kept.
    if not judged.page.is_stale and not settings.page_max_age and not settings.trusted_proxies:
        words = _get_request_words(request.headers, route)
        if sum(len(word or "") for word in words) <= _MAX_REQUEST_WORDS_CHARS:
            judged.prepared.put(words, made)
    return _build_response(made, request.headers)


def peek_project_page(headers: Mapping[str, str], route: SimpleProject, gate: Gate) -> BufferedResponse | None:
    """What `serve_project_page` answers, if the page still holds and was asked for in these very words before."""
    judged = gate.peek_page(route.project)
    made = None if judged is None else judged.prepared.get(_get_request_words(headers, route))
    return None if made is None else _build_response(made, headers)


def _build_response(prepared: PreparedPage, headers: Mapping[str, str]) -> BufferedResponse:
    if etag_matches(headers.get("If-None-Match"), prepared.rendered.etag):
        return BufferedResponse(status=HTTPStatus.NOT_MODIFIED, headers=dict(prepared.not_modified_headers))
    return BufferedResponse(body=prepared.rendered.body, headers=dict(prepared.headers))


def _get_request_words(headers: Mapping[str, str], route: SimpleProject) -> RequestWords:
    """All of a request that a page depends on, where only its view, its server and the page itself are given."""
    return route.format, headers.get("Accept"), headers.get("Accept-Encoding"), headers.get("Host")


def _cache_control(judged_page: JudgedPage, settings: ServerSettings, now: datetime) -> str:
    """``no-cache`` unless configured otherwise, and never past the next change by the clock."""
    if not settings.page_max_age:
        return "private, no-cache"
    seconds = settings.page_max_age.total_seconds()
    if judged_page.valid_until is not None:
        seconds = min(seconds, (judged_page.valid_until - now).total_seconds())
    return f"private, max-age={int(seconds)}" if seconds >= 1 else "private, no-cache"


async def serve_root_list(
    request: web.BaseRequest, format_param: str | None, root_lists: RootListCache, view: str
) -> web.StreamResponse:
    """A view's list of all projects that policy does not deny by name, from its spool.

    Raises:
        AssayError: there is none yet and the index cannot be asked.
    """
    form = negotiate(request.headers.get("Accept"), format_param)
    async with root_lists.open_current(view, form) as spooled:
        headers = {
            "ETag": spooled.etag,
            "Cache-Control": "private, no-cache",
            "Vary": "Accept",
            "X-Content-Type-Options": "nosniff",
        }
        if etag_matches(request.headers.get("If-None-Match"), spooled.etag):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        return await send_spooled(request, spooled.file, spooled.size, headers | {"Content-Type": form.content_type})
