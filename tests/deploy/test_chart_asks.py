"""Rendered code of `helm test`, run against a proxy over http and https, with and without authentication."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.tools import documents, only
from tests.world.clients.installers import ClientResult, run_client
from tests.world.index.fake_index import Index
from tests.world.proxy.certificate_authority import CertificateAuthority
from tests.world.proxy.running_proxy import make_configuration, run_test_proxy

pytestmark = pytest.mark.deploy


async def asked(tmp_path: Path, origin: str, *, secret: str) -> ClientResult:
    """Run the code of the test pod against the proxy at `origin`; `secret` is the chart's Secret for https."""
    [container] = only(documents("minimal-values.yaml", {"server.tls.secretName": secret}), "Pod")["spec"]["containers"]
    host, _, port = origin.partition("://")[2].partition(":")
    code, count = re.subn(r'connection\("[a-z-]+", 80,', f'connection("{host}", {port},', container["args"][0])
    assert (container["command"], count) == (["python", "-c"], 1)
    return await run_client(sys.executable, "-c", code, home=tmp_path)


@pytest.mark.parametrize("secret", ["", "assay-tls"], ids=["http", "https"])
@pytest.mark.parametrize("named", [False, True], ids=["open", "authenticated"])
async def test_it_is_content_with_a_good_proxy_and_not_with_one_that_speaks_otherwise(
    tmp_path: Path, secret: str, named: bool
) -> None:
    server: dict[str, Any] = {"port": 0}
    if secret:
        server["tls"] = {"certificate": str(tmp_path / "tls.crt"), "key": str(tmp_path / "tls.key")}
        CertificateAuthority.create().issue(tmp_path / "tls.crt", tmp_path / "tls.key")
    if named:
        (tmp_path / "tokens").write_text(f"ci:{'0' * 64}\n")
        server["auth"] = {"tokens": str(tmp_path / "tokens")}
    async with Index() as index:
        configuration = make_configuration(index, tmp_path / "assay", server=server)
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            good = await asked(tmp_path, proxy.origin, secret=secret)
            assert good.status == 0, good.output
            assert "/readyz 200" in good.output
            assert (await asked(tmp_path, proxy.origin, secret="" if secret else "assay-tls")).status != 0
            proxy.readiness.is_stopping = True
            assert (await asked(tmp_path, proxy.origin, secret=secret)).status == 1
