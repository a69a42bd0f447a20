"""nginx and HAProxy in front of Assay, configured as in docs/front-proxies.md: no important behaviour is lost."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from tests.paths import DOCS
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.index.faulty_server import CannedResponse, Stall
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.sigstore.private_sigstore import PrivateSigstore

PAGE = (DOCS / "front-proxies.md").read_text("utf-8")
SECONDS = 20
POLICY = """
version = 1
[[rules]]
name = "not this one"
projects = ["denied"]
deny = "use another library"
[[rules]]
name = "all"
projects = ["*"]
"""
SERVERS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name, path=f"/usr/sbin:{where}") is None, reason=reason))
    for name, where in (("nginx", "/usr/bin"), ("haproxy", "/usr/bin"))
    for reason in [f"no {name} here: see tests/install-upstreams.sh"]
]


def lines_of(name: str) -> str:
    """Return the code block of docs/front-proxies.md for the front proxy `name`."""
    (found,) = re.findall(rf"```{name}\n(.*?)```", PAGE, re.DOTALL)
    assert "127.0.0.1:8080" in found
    return str(found)


def nginx(home: Path, port: int, upstream: str) -> tuple[str, ...]:
    path = home / "nginx.conf"
    inner = lines_of("nginx").replace("127.0.0.1:8080", upstream)
    temporary = "".join(
        f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path.write_text(
        f"daemon off; master_process off; pid {home}/pid; error_log {home}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port};\n{inner} }} }}"
    )
    return ("/usr/sbin/nginx", "-p", str(home), "-c", str(path))


def haproxy(home: Path, port: int, upstream: str) -> tuple[str, ...]:
    path = home / "haproxy.cfg"
    path.write_text(
        f"defaults\n    mode http\n    timeout client 120s\nfrontend front\n    bind 127.0.0.1:{port}\n"
        f"    default_backend assay\n{lines_of('haproxy').replace('127.0.0.1:8080', upstream)}"
    )
    return ("/usr/sbin/haproxy", "-db", "-f", str(path))


@asynccontextmanager
async def before(name: str, home: Path, proxy: RunningProxy) -> AsyncIterator[str]:
    """Run a front proxy before `proxy`, and yield its origin."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = {"nginx": nginx, "haproxy": haproxy}[name](home, port, urlsplit(proxy.origin).netloc)
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(SECONDS):
            while not await _listens(port):
                assert process.returncode is None, "the front proxy has ended"
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("name", SERVERS)
async def test_what_matters_gets_through(tmp_path: Path, name: str) -> None:
    sigstore = PrivateSigstore()
    async with Index() as index:
        denied = index.add(wheel("denied", "1.0"))
        good = index.add(wheel("good", "1.0", padding=300_000))
        bad = index.add(wheel("bad", "1.0", padding=300_000))
        index.serve_fixed(bad.path, CannedResponse(body=bad.built.content[:-1] + b"!"))
        stall = index.stall(bad.path, after=200_000)
        attested = wheel("attested", "1.0")
        index.add(
            attested,
            provenance=sigstore.provenance(attested.filename, attested.sha256),
            upload_time="2026-06-01T12:00:05Z",
        )
        server = {"port": 0, "trusted-proxies": ["127.0.0.0/8"]}
        chosen = make_configuration(index, tmp_path / "assay", sigstore, server=server)
        async with (
            run_test_proxy(index, tmp_path, policy=POLICY, configuration=chosen) as proxy,
            before(name, tmp_path, proxy) as origin,
            aiohttp.ClientSession() as session,
        ):

            def address(path: str) -> URL:
                return URL(f"{origin}{path.replace('127.0.0.1:', '127.0.0.1%3A')}", encoded=True)

            async with session.get(address(proxy.files_path(denied))) as answer:
                assert answer.status == 403
                assert (
                    answer.reason == "withheld, denied: denied by the policy: use another library (rule: not this one)"
                )
            for _ in range(2):
                async with session.get(address(proxy.files_path(good))) as answer:
                    assert answer.status == 200
                    assert await answer.read() == good.built.content, "from the index, then from the storage"
            async with session.get(address(proxy.files_path(good)), headers={"Range": "bytes=-10"}) as answer:
                assert (answer.status, await answer.read()) == (206, good.built.content[-10:])
            with pytest.raises(aiohttp.ClientPayloadError):
                await _to_the_end(session, address(proxy.files_path(bad)), stall)
            assert index.count(bad.path) == 1, "the front proxy does not retry"
            page = await _json(session, f"{origin}/simple/attested/")
            assert [urlsplit(entry["provenance"]).netloc for entry in page["files"]] == [urlsplit(origin).netloc]


async def _to_the_end(session: aiohttp.ClientSession, address: URL, stall: Stall) -> None:
    """Read the whole response, releasing the index after the first bytes have arrived."""
    async with session.get(address) as answer:
        assert await answer.content.readany(), "the front proxy passes on the first bytes at once"
        stall.release.set()
        await answer.read()


async def _json(session: aiohttp.ClientSession, address: str) -> Any:
    async with session.get(address, headers={"Accept": "application/vnd.pypi.simple.v1+json"}) as answer:
        return await answer.json(content_type=None)
