"""The two ways of a request: written by its connection when its head was read, or answered by aiohttp's task.

::

    tasks = count_tasks(monkeypatch)          # "GET /simple/foo/" of each request that a task answered
    answer_in_tasks(monkeypatch)              # proxies started from now on answer every request in a task
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
from assay.web.routes import resolve_target
from assay.web.server import server
from assay.web.server.connection import Connection


def count_tasks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect method and target of each request whose response was not begun to be written by its connection."""
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
    """Let no connection of a proxy that is started from now on begin a request."""

    async def find_none() -> server.Shortcuts:
        return server.Shortcuts(takes_requests=False, sends_buffered=True)

    monkeypatch.setattr(server, "find_shortcuts", find_none)


def make_exchange(head: RequestHead, peer: Peer) -> Exchange:
    """A request to the view at ``/`` of a proxy with default settings."""
    return Exchange(head, peer, resolve_target(head.target, ("",)), None, ServerSettings())


class RespondingApp:
    """An application that leaves every request to `respond`."""

    def __init__(self, respond: Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]]) -> None:
        self._respond = respond

    def begin(self, head: RequestHead, peer: Peer) -> web.StreamResponse | Pending:
        return Pending(make_exchange(head, peer), partial(self._respond))

    async def complete(self, pending: Pending, request: web.BaseRequest) -> web.StreamResponse:
        return await pending.rest(request)
