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
from assay.gate.judged_page import JudgedPage, PreparedPage, VariantKey
from assay.pages.root_list import RootListCache
from assay.simple.coding import CONTENT_CODINGS
from assay.simple.negotiate import etag_matches, negotiate, negotiate_coding
from assay.web.exchange import Exchange
from assay.web.files import send_spooled
from assay.web.origin import resolve_secure_origin
from assay.web.response import BufferedResponse, FixedHeaders
from assay.web.routes import SimpleProject

_MAX_VARIANT_KEY_CHARS = 1024
_NOT_MODIFIED = HTTPStatus.NOT_MODIFIED
"""Looked up once, as in `web.exchange`."""


def find_page_response(headers: Mapping[str, str], route: SimpleProject, judged: JudgedPage) -> BufferedResponse | None:
    """Return the response of a page if this variant was rendered before, or None."""
    if judged.page.is_stale:
        return None  # it says how old it is, and what was kept was rendered while it was fresh
    prepared = judged.prepared.get(_get_variant_key(headers, route))
    return None if prepared is None else _build_response(prepared, headers)


async def render_page_response(
    exchange: Exchange,
    route: SimpleProject,
    judged: JudgedPage,
    settings: ServerSettings,
    *,
    prefix: str,
    now: datetime,
) -> BufferedResponse:
    """Render a page for a request and keep the response for later requests for the same variant.

    Args:
        exchange: the request.
        route: its route.
        judged: the page.
        settings: the proxy's own address, and how long clients may keep a page.
        prefix: of the page's view, and so of its provenance addresses.
        now: UTC.
    """
    asked, peer = exchange.head.headers, exchange.peer
    form = negotiate(asked.get("Accept"), route.format)
    coding = negotiate_coding(asked.get("Accept-Encoding"), CONTENT_CODINGS)
    origin = resolve_secure_origin(asked, peer=peer.address, tls=peer.is_tls, settings=settings)
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
    prepared = PreparedPage(
        not_modified_headers=FixedHeaders(headers), headers=FixedHeaders(headers | body), rendered=rendered
    )
    # Neither the clock nor a front proxy's word plays a part in what is kept.
    if not judged.page.is_stale and not settings.page_max_age and not settings.trusted_proxies:
        key = _get_variant_key(asked, route)
        if sum(len(part or "") for part in key) <= _MAX_VARIANT_KEY_CHARS:
            judged.prepared.put(key, prepared)
    return _build_response(prepared, asked)


def _build_response(prepared: PreparedPage, headers: Mapping[str, str]) -> BufferedResponse:
    if etag_matches(headers.get("If-None-Match"), prepared.rendered.etag):
        return BufferedResponse(status=_NOT_MODIFIED, headers=prepared.not_modified_headers)
    return BufferedResponse(body=prepared.rendered.body, headers=prepared.headers)


def _get_variant_key(headers: Mapping[str, str], route: SimpleProject) -> VariantKey:
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
    format_param: str | None, root_lists: RootListCache, view: str, request: web.BaseRequest
) -> web.StreamResponse:
    """Send a view's list of all projects that policy does not deny by name, from its spool.

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
