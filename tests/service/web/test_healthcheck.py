"""HEALTHCHECK of the image: it finds the proxy by its configuration, over http and https, and reports its readiness."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.world.index.fake_index import Index
from tests.world.proxy.certificate_authority import CertificateAuthority
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy


def command() -> list[str]:
    """Return the command of the image's HEALTHCHECK."""
    [found] = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    words: list[str] = json.loads(found)
    assert words[0] == "python"
    return [sys.executable, *words[1:]]


async def probed(environ: dict[str, str]) -> tuple[int, str]:
    """Run the health check and return its exit status and standard error."""
    process = await asyncio.create_subprocess_exec(
        *command(), env=environ, cwd=ROOT.parent, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, said.decode()


def port_of(proxy: RunningProxy) -> str:
    return proxy.origin.rpartition(":")[2]


def certified(directory: Path) -> dict[str, str]:
    files = {"certificate": str(directory / "server.pem"), "key": str(directory / "server.key")}
    CertificateAuthority.create().issue(Path(files["certificate"]), Path(files["key"]))
    return files


@pytest.mark.parametrize("https", [False, True], ids=["http", "https"])
async def test_it_is_healthy_when_it_is_ready(tmp_path: Path, https: bool) -> None:
    server = {"port": 0, **({"tls": certified(tmp_path)} if https else {})}
    async with Index() as index:
        configuration = make_configuration(index, tmp_path / "assay", server=server)
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            environ = {"ASSAY_SERVER__HOST": "0.0.0.0", "ASSAY_SERVER__PORT": port_of(proxy)}  # noqa: S104 - as in the image
            wrong = dict(environ)
            if https:
                environ["ASSAY_SERVER__TLS__CERTIFICATE"] = server["tls"]["certificate"]  # type: ignore[index]  # set above
            else:
                wrong["ASSAY_SERVER__TLS__CERTIFICATE"] = "/none.pem"
            assert await probed(environ) == (0, "")
            status, said = await probed(wrong)
            assert (status, bool(said)) == (1, True), "a probe by the wrong scheme fails"
            proxy.readiness.is_stopping = True
            status, said = await probed(environ)
            assert (status, "shutting down" in said) == (1, True)
    status, said = await probed(environ)
    assert (status, "no connection to the proxy: Connection refused" in said) == (1, True)


async def test_a_configuration_file_says_it_as_well(tmp_path: Path) -> None:
    tls = certified(tmp_path)
    async with Index() as index:
        configuration = make_configuration(index, tmp_path / "assay", server={"port": 0, "tls": tls})
        async with run_test_proxy(index, tmp_path, configuration=configuration) as proxy:
            file = tmp_path / "proxy.toml"
            file.write_text(
                f'[server]\nport = {port_of(proxy)}\n[server.tls]\ncertificate = "server.pem"\nkey = "server.key"\n',
                "utf-8",
            )
            assert await probed({"ASSAY_CONFIG": str(file)}) == (0, "")
            file.write_text("[sever]", "utf-8")
            status, said = await probed({"ASSAY_CONFIG": str(file)})
            assert (status, "expected a known key" in said) == (1, True)
