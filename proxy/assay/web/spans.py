"""A request as a span: its route and status, and of whom the trace's beginning is believed.

A ``traceparent`` counts from `trusted-proxies` alone: anybody else could write into other people's traces, or turn
sampling on for himself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from assay import telemetry
from assay.config import ServerSettings
from assay.telemetry import tracing
from assay.web.origin import is_trusted_proxy

ROUTE_KEY = web.RequestKey("route", str)
"""The route's label, put there by whoever found it out."""
Responder = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def trace_requests(responder: Responder, settings: ServerSettings) -> Responder:
    """`responder` within a span; as it is, where spans go nowhere."""
    if not tracing.is_enabled():
        return responder

    async def within(request: web.BaseRequest) -> web.StreamResponse:
        parent = request.headers.get("traceparent") if is_trusted_proxy(request.remote, settings) else None
        # Semantic conventions: a method that is not known is "_OTHER", or names of spans would be without number.
        method = request.method if request.method in {"GET", "HEAD"} else "_OTHER"
        with tracing.span(method, kind="server", parent=parent, method=method) as span:
            try:
                response = await responder(request)
                wrong = str(response.status) if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
                span.set_attributes(status=response.status, error=wrong)
            finally:
                route = request.get(ROUTE_KEY)
                span.rename(f"{method} {route}" if route else method)
                span.set_attributes(route=route, request=telemetry.current_request_id.get())
        return response

    return within
