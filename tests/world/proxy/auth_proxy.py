"""Proxy with authentication, and proxy with a certificate of a private authority."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.web.auth import format_password_entry
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.certificate_authority import CertificateAuthority
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy

TOKEN, PASSWORD = secrets.token_urlsafe(24), "correct horse: battery é"
ROUTES = ["/", "/simple/", "/simple/widget/", "/simple/Widget/", "/project/widget", "/policy", "/metrics", "/nowhere"]


def make_basic_header(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def make_bearer_header(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class AuthProxy:
    """Proxy with authentication, and a file that it serves."""

    proxy: RunningProxy
    index: Index
    listed: ListedFile
    directory: Path

    @property
    def routes(self) -> list[str]:
        """Routes of every kind that reveal anything."""
        file = self.proxy.files_path(self.listed)
        return [*ROUTES, file, f"{file}.metadata", self.listed.provenance_path]

    async def collect_statuses(self, headers: dict[str, str]) -> set[int]:
        """Return the statuses of all routes for GET and HEAD."""
        return {
            (await self.proxy.request(method, route, headers)).status
            for route in self.routes
            for method in ("GET", "HEAD")
        }


def write_credentials(directory: Path) -> dict[str, str]:
    """Write the files of passwords and tokens, with one user and one token."""
    (directory / "passwords").write_text(f"# people\n{format_password_entry('alice', PASSWORD)}\n", "utf-8")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    (directory / "tokens").write_text(f"ci:{digest}\n", "utf-8")
    return {"passwords": str(directory / "passwords"), "tokens": str(directory / "tokens")}


@asynccontextmanager
async def run_auth_proxy(tmp_path: Path, **server: Any) -> AsyncIterator[AuthProxy]:
    table = {"port": 0, **server} if server else {"port": 0, "auth": write_credentials(tmp_path)}
    async with Index() as index:
        listed = index.add(wheel("widget", "1.0"))
        configuration = make_configuration(index, tmp_path / "assay", server=table)
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            yield AuthProxy(proxy, index, listed, tmp_path)


@dataclass(frozen=True)
class TlsFiles:
    """Files of an https server, and the authority that its clients trust."""

    authority: CertificateAuthority
    ca: Path
    certificate: Path
    key: Path
    serial: int

    @property
    def settings(self) -> dict[str, str]:
        return {"certificate": str(self.certificate), "key": str(self.key)}


def make_tls_files(directory: Path) -> TlsFiles:
    authority = CertificateAuthority.create()
    certificate, key = directory / "server.pem", directory / "server.key"
    serial = authority.issue(certificate, key)
    return TlsFiles(authority, authority.write_certificate(directory / "ca.pem"), certificate, key, serial)
