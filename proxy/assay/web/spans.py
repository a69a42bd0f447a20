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
from assay.web.origin import is_trusted

ROUTE = web.RequestKey("route", str)
"""The route's label, put there by whoever found it out."""
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def traced(answer: Answer, settings: ServerSettings) -> Answer:
    """`answer` within a span; as it is, where spans go nowhere."""
    if not tracing.is_on():
        return answer

    async def within(request: web.BaseRequest) -> web.StreamResponse:
        parent = request.headers.get("traceparent") if is_trusted(request.remote, settings) else None
        # Semantic conventions: a method that is not known is "_OTHER", or names of spans would be without number.
        method = request.method if request.method in {"GET", "HEAD"} else "_OTHER"
        with tracing.span(method, kind="server", parent=parent, method=method) as span:
            try:
                response = await answer(request)
                wrong = str(response.status) if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
                span.note(status=response.status, error=wrong)
            finally:
                route = request.get(ROUTE)
                span.rename(f"{method} {route}" if route else method)
                span.note(route=route, request=telemetry.request_id.get())
        return response

    return within
