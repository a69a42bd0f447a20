"""Server of a feed, on loopback: it answers as the storage behind OSV's exports does, with ETag and 304."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.world.advisories.feeds import make_zip
from tests.world.advisories.records import RecordDict

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FeedServer:
    """Feed whose content the test sets. `answer` replaces the response, for faults."""

    content: bytes = b""
    answer: Answer | None = None
    statuses: list[int] = field(default_factory=list)
    """Statuses of all responses."""
    url: str = ""

    def offer(self, *records: RecordDict) -> None:
        """Serve a zip of these records from now on."""
        self.content = make_zip(*records)

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        if self.answer is not None:
            self.statuses.append(0)
            return await self.answer(request)
        etag = f'"{hashlib.md5(self.content, usedforsecurity=False).hexdigest()}"'
        headers = {"ETag": etag, "Last-Modified": "Sat, 28 Nov 2026 10:00:00 GMT"}
        is_known = request.headers.get("If-None-Match") == etag
        self.statuses.append(304 if is_known else 200)
        if is_known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=self.content, content_type="application/zip", headers=headers)

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/PyPI/all.zip", self._respond)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/PyPI/all.zip"
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
