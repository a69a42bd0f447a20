"""Control of the two ways to answer a request: by its connection when the head was read, or in a task of aiohttp.

::

    tasks = count_tasks(monkeypatch)          # "GET /simple/foo/" of each request that a task answered
    answer_in_tasks(monkeypatch)              # later proxies answer every request in a task
    server._HttpServer(RespondingApp(respond), …)   # an application that awaits `respond` for every request
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from assay.config import ServerSettings
from assay.web.exchange import Exchange, Peer, Pending, RequestHead
from assay.web.response import BufferedResponse
from assay.web.routing.targets import resolve_target
from assay.web.server import server
from assay.web.server.connection import Connection


def count_tasks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that collects method and target of each request that a task answers, not its connection."""
    found: list[str] = []
    respond = server._HttpServer._respond

    async def counting(self: server._HttpServer, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        if not isinstance(connection._begun, BufferedResponse):
            found.append(f"{request.method} {request.raw_path}")
        return await respond(self, request)

    monkeypatch.setattr(server._HttpServer, "_respond", counting)
    return found


def answer_in_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make proxies that start later answer every request in a task."""

    async def find_none() -> server.Shortcuts:
        return server.Shortcuts(takes_requests=False, sends_buffered=True)

    monkeypatch.setattr(server, "find_shortcuts", find_none)


def make_exchange(head: RequestHead, peer: Peer) -> Exchange:
    """Return an exchange for a request to the view at ``/`` of a proxy with default settings."""
    return Exchange(head, peer, resolve_target(head.path, ("",)), None, ServerSettings())


class RespondingApp:
    """Application that passes every request to `respond`."""

    def __init__(self, respond: Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]]) -> None:
        self._respond = respond

    def begin(self, head: RequestHead, peer: Peer) -> web.StreamResponse | Pending:
        return Pending(make_exchange(head, peer), partial(self._respond))

    async def complete(self, pending: Pending, request: web.BaseRequest) -> web.StreamResponse:
        return await pending.rest(request)
