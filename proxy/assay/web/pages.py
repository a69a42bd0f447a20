"""Responses of the Simple API: judged project pages, and the list of projects.

This module selects the format and the content coding, and sets the ETag and the cache headers. The gate decides the
content of a page, and `render` writes it.
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
from assay.web.origin import is_expected_origin, resolve_secure_origin
from assay.web.response import BufferedResponse, FixedHeaders
from assay.web.routing.routes import SimpleProject

_MAX_VARIANT_KEY_CHARS = 1024
"""Maximum size of a variant key in characters. A response with a longer key is not kept for later requests."""
_NOT_MODIFIED = HTTPStatus.NOT_MODIFIED
"""Constant, because each reading of an enum member takes time."""


def find_page_response(headers: Mapping[str, str], route: SimpleProject, judged: JudgedPage) -> BufferedResponse | None:
    """Return the response that `render_page_response` kept for requests with the same relevant headers, or None."""
    if judged.page.is_stale:
        return None  # the response must state the age of the page; kept responses were made while it was fresh
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
    """Render a page for a request. Keep the response for later requests for the same variant of the page.

    Args:
        exchange: the request.
        route: route of the request.
        judged: page to render.
        settings: settings for the proxy's own origin, and for the time for which clients may cache a page.
        prefix: path prefix of the view. The path of each provenance URL on the page begins with it.
        now: current time in UTC.
    """
    asked, peer = exchange.head.headers, exchange.peer
    form = negotiate(asked.get("Accept"), route.format)
    coding = negotiate_coding(asked.get("Accept-Encoding"), CONTENT_CODINGS)
    origin = resolve_secure_origin(asked, peer=peer.address, tls=peer.is_tls, settings=settings)
    is_expected = origin is None or is_expected_origin(origin, peer.own_port, settings)
    base = None if origin is None else f"{origin}{prefix}"
    rendered = await judged.render(form, base, coding, is_expected=is_expected)
    headers = {
        "ETag": rendered.etag,
        "Cache-Control": _cache_control(judged, settings, now),
        "Vary": "Accept, Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if judged.page.project.serial is not None:
        headers["X-PyPI-Last-Serial"] = str(judged.page.project.serial)
    if judged.page.is_stale:
        # RFC 9211: the response comes from the cache, because the index is unavailable.
        headers["Age"] = str(int((now - judged.page.confirmed_at).total_seconds()))
        headers["Cache-Status"] = 'assay; hit; detail="the index is unavailable"'
    body = {"Content-Type": form.content_type} | ({} if coding == "identity" else {"Content-Encoding": coding})
    prepared = PreparedPage(
        not_modified_headers=FixedHeaders(headers), headers=FixedHeaders(headers | body), rendered=rendered
    )
    # A response that depends on the clock or on the headers of a front proxy is not kept: they are not in the key. One
    # for an origin that a client may have invented is not kept either, since it would displace those of others.
    if is_expected and not judged.page.is_stale and not settings.page_max_age and not settings.trusted_proxies:
        key = _get_variant_key(asked, route)
        if sum(len(part or "") for part in key) <= _MAX_VARIANT_KEY_CHARS:
            judged.prepared.put(key, prepared)
    return _build_response(prepared, asked)


def _build_response(prepared: PreparedPage, headers: Mapping[str, str]) -> BufferedResponse:
    if etag_matches(headers.get("If-None-Match"), prepared.rendered.etag):
        return BufferedResponse(status=_NOT_MODIFIED, headers=prepared.not_modified_headers)
    return BufferedResponse(body=prepared.rendered.body, headers=prepared.headers)


def _get_variant_key(headers: Mapping[str, str], route: SimpleProject) -> VariantKey:
    """Return the parts of a request that select a variant of the page."""
    return route.format, headers.get("Accept"), headers.get("Accept-Encoding"), headers.get("Host")


def _cache_control(judged_page: JudgedPage, settings: ServerSettings, now: datetime) -> str:
    """Return the Cache-Control value of a page: ``no-cache``, or ``max-age`` if the settings have a `page_max_age`.

    If a verdict on the page will change at a known time, ``max-age`` ends at that time or earlier.
    """
    if not settings.page_max_age:
        return "private, no-cache"
    seconds = settings.page_max_age.total_seconds()
    if judged_page.valid_until is not None:
        seconds = min(seconds, (judged_page.valid_until - now).total_seconds())
    return f"private, max-age={int(seconds)}" if seconds >= 1 else "private, no-cache"


async def serve_root_list(
    format_param: str | None, root_lists: RootListCache, view: str, request: web.BaseRequest
) -> web.StreamResponse:
    """Send the list of projects of a view, which is a file on disk in each format.

    The list leaves out the projects that the view's policy denies by name.

    Raises:
        AssayError: no list has been made yet, and the index is unavailable.
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
