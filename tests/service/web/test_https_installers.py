"""pip and uv over https with a private certificate authority, and with authentication."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.world.clients.installers import ClientResult, pip_install, run_client
from tests.world.proxy.auth_proxy import TOKEN, make_tls_files, run_auth_proxy, write_credentials
from tests.world.proxy.certificate_authority import CertificateAuthority


async def uv_with(ca: Path, url: str, *arguments: str, home: Path, target: Path) -> ClientResult:
    """Run uv, configured for a private certificate authority."""
    uv = str(Path(sys.executable).parent / "uv")
    return await run_client(
        "env", f"SSL_CERT_FILE={ca}", uv, "pip", "install", "--no-cache", "--default-index", url,
        "--python", sys.executable, "--target", str(target), *arguments, home=home,
    )  # fmt: skip


async def pip_with(ca: Path, url: str, *arguments: str, home: Path, target: Path) -> ClientResult:
    """Run pip, configured for a private certificate authority."""
    return await pip_install(url, "--cert", str(ca), *arguments, home=home, target=target)


BOTH = pytest.mark.parametrize("installer", [pip_with, uv_with], ids=["pip", "uv"])


def installed(tmp_path: Path) -> list[str]:
    """Return the names of the distributions that an installer has installed into its target."""
    return [path.name for path in tmp_path.glob("target/*.dist-info")]


def with_user(url: str, user: str) -> str:
    return url.replace("https://127.0.0.1", f"https://{user}localhost")


@pytest.mark.clients
@BOTH
@pytest.mark.parametrize(
    "user", [f"__token__:{TOKEN}@", "alice:correct%20horse%3A%20battery%20%C3%A9@"], ids=["token", "password"]
)
async def test_installers_install_over_https_with_a_name(tmp_path: Path, installer: Any, user: str) -> None:
    own = make_tls_files(tmp_path)
    async with run_auth_proxy(tmp_path, tls=own.settings, auth=write_credentials(tmp_path)) as there:
        url = with_user(there.proxy.url, user)
        outcome = await installer(own.ca, url, "widget", home=tmp_path, target=tmp_path / "target")
        assert outcome.status == 0, outcome.output
    assert installed(tmp_path) == ["widget-1.0.dist-info"]


@pytest.mark.clients
@BOTH
@pytest.mark.parametrize("user", ["", "__token__:wrong@", "alice:wrong@"])
async def test_installers_get_nothing_without_the_right_one(tmp_path: Path, installer: Any, user: str) -> None:
    own = make_tls_files(tmp_path)
    async with run_auth_proxy(tmp_path, tls=own.settings, auth=write_credentials(tmp_path)) as there:
        url = with_user(there.proxy.url, user)
        outcome = await installer(own.ca, url, "widget", home=tmp_path, target=tmp_path / "target")
        assert outcome.status != 0
        assert there.index.requests == []
        if installer is uv_with:
            assert "401" in outcome.output
    assert installed(tmp_path) == []


@pytest.mark.clients
@BOTH
async def test_installers_trust_no_other_authority(tmp_path: Path, installer: Any) -> None:
    own = make_tls_files(tmp_path)
    other = CertificateAuthority.create("another").write_certificate(tmp_path / "other-ca.pem")
    async with run_auth_proxy(tmp_path, tls=own.settings) as there:
        url = with_user(there.proxy.url, "")
        more = ["--retries", "0"] if installer is pip_with else []
        outcome = await installer(other, url, "widget", *more, home=tmp_path, target=tmp_path / "target")
        assert outcome.status != 0
        assert "certificate" in outcome.output.lower()
