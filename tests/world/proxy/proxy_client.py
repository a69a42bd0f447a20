"""Client of a proxy under test, which may run in the test's process, in another one, or behind a load balancer."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from tests.world.index.listing import SIMPLE_JSON, ListedFile

__all__ = ["SIMPLE_JSON", "ProxyClient", "ReadResponse"]


@dataclass(frozen=True)
class ReadResponse:
    """Response with its whole body."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ProxyClient:
    """Client of the proxy at an origin."""

    origin: str
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"{self.origin}/simple/"

    @asynccontextmanager
    async def open(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a streaming response; the path is sent without normalisation."""
        target = URL(f"{self.origin}{path}", encoded=True)
        async with self.session.request(method, target, headers=headers, allow_redirects=False) as response:
            yield response

    async def request(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> ReadResponse:
        async with self.open(method, path, headers) as response:
            return ReadResponse(response.status, response.reason or "", response.headers, await response.read())

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> ReadResponse:
        return await self.request("GET", path, headers)

    async def head(self, path: str, headers: Mapping[str, str] | None = None) -> ReadResponse:
        return await self.request("HEAD", path, headers)

    async def post(self, path: str, body: bytes | object, headers: Mapping[str, str] | None = None) -> ReadResponse:
        """Send bytes, or any other value as JSON."""
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.session.post(f"{self.origin}{path}", data=data, headers=headers) as response:
            return ReadResponse(response.status, response.reason or "", response.headers, await response.read())

    async def fetch_page(self, project: str) -> Any:
        """Return the JSON page of a project."""
        answer = await self.get(f"/simple/{project}/", {"Accept": SIMPLE_JSON})
        assert answer.status == 200, (answer.status, answer.reason, answer.body)
        return answer.json()

    async def fetch_listed(self, project: str) -> set[str]:
        """Return the filenames on the JSON page of a project, without the tombstones, which are never served."""
        page = await self.fetch_page(project)
        return {entry["filename"] for entry in page["files"] if not entry["url"].endswith("?withheld")}

    async def fetch_withheld(self, project: str) -> dict[str, list[str]]:
        """Return the reason codes on the JSON page by filename."""
        page = await self.fetch_page(project)
        return {
            entry["filename"]: [reason["code"] for reason in entry["reasons"]] for entry in page.get("_withheld", [])
        }

    @staticmethod
    def files_path(listed: ListedFile) -> str:
        return f"/files/{listed.url.partition('://')[2]}"

    @staticmethod
    def provenance_path(listed: ListedFile) -> str:
        return listed.provenance_path
