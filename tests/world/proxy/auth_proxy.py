"""A proxy that asks for names, and one with a certificate of a private authority: what both take to set up."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.web.auth import hashed
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, Listed
from tests.world.proxy.certificate_authority import Authority
from tests.world.proxy.running_proxy import Running, configured, running

TOKEN, PASSWORD = secrets.token_urlsafe(24), "correct horse: battery é"
ROUTES = ["/", "/simple/", "/simple/widget/", "/simple/Widget/", "/project/widget", "/policy", "/metrics", "/nowhere"]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Guarded:
    """A proxy that asks for names, and a file that it serves."""

    proxy: Running
    index: Index
    listed: Listed
    directory: Path

    @property
    def routes(self) -> list[str]:
        """Every kind of route that gives anything away."""
        file = self.proxy.files_path(self.listed)
        return [*ROUTES, file, f"{file}.metadata", self.listed.provenance_path]

    async def statuses(self, headers: dict[str, str]) -> set[int]:
        """Of all routes, GET and HEAD."""
        return {
            (await self.proxy.request(method, route, headers)).status
            for route in self.routes
            for method in ("GET", "HEAD")
        }


def credentials(directory: Path) -> dict[str, str]:
    """Both files, with one user and one token."""
    (directory / "passwords").write_text(f"# people\n{hashed('alice', PASSWORD)}\n", "utf-8")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    (directory / "tokens").write_text(f"ci:{digest}\n", "utf-8")
    return {"passwords": str(directory / "passwords"), "tokens": str(directory / "tokens")}


@asynccontextmanager
async def guarded(tmp_path: Path, **server: Any) -> AsyncIterator[Guarded]:
    table = {"port": 0, **server} if server else {"port": 0, "auth": credentials(tmp_path)}
    async with Index() as index:
        listed = index.add(wheel("widget", "1.0"))
        configuration = configured(index, tmp_path / "assay", server=table)
        async with running(index, tmp_path, configuration=configuration) as proxy:
            yield Guarded(proxy, index, listed, tmp_path)


@dataclass(frozen=True)
class Secure:
    """The files of an https server, and the authority that its clients know."""

    authority: Authority
    ca: Path
    certificate: Path
    key: Path
    serial: int

    @property
    def settings(self) -> dict[str, str]:
        return {"certificate": str(self.certificate), "key": str(self.key)}


def secure(directory: Path) -> Secure:
    authority = Authority.new()
    certificate, key = directory / "server.pem", directory / "server.key"
    serial = authority.certify(certificate, key)
    return Secure(authority, authority.write(directory / "ca.pem"), certificate, key, serial)
