"""How long indexes take and how they answer, by host: hosts are those of the configuration alone, so they are few.

Owns the hooks into aiohttp's client, for metrics and for spans, and tells indexes nothing of a trace; what an answer
means is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import aiohttp

from proxy.telemetry import tracing
from proxy.telemetry.metrics import UPSTREAM, UPSTREAM_SECONDS, status_class
from proxy.upstream.addresses import host_of


def measuring() -> aiohttp.TraceConfig:
    """A trace that counts every request of a session."""
    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(_begin)
    trace.on_request_end.append(_end)
    trace.on_request_exception.append(_fail)
    return trace


async def _begin(
    _session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams
) -> None:
    context.started = asyncio.get_running_loop().time()
    context.span = tracing.begin("upstream", kind="client", method=params.method, host=host_of(params.url))


async def _end(
    _session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
) -> None:
    host = host_of(params.url)
    UPSTREAM_SECONDS.labels(host).observe(asyncio.get_running_loop().time() - context.started)
    UPSTREAM.labels(host, status_class(params.response.status)).inc()
    context.span.note(status=params.response.status)
    context.span.end()


async def _fail(
    _session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
) -> None:
    UPSTREAM.labels(host_of(params.url), "error").inc()
    context.span.end(type(params.exception).__name__)
