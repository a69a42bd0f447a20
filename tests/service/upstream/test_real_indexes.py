"""pip and uv install through Assay from real devpi-server, pypiserver and nginx.

tests/install-upstreams.sh installs the servers; without a server, its tests are skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.paths import TOOLS
from tests.world.clients.installers import ClientResult, pip_install, uv_install
from tests.world.index.distributions import sdist, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy

pytestmark = pytest.mark.clients

PROGRAMS = TOOLS / "upstreams" / "bin"
NGINX = Path("/usr/sbin/nginx")
BOTH = pytest.mark.parametrize("installer", [pip_install, uv_install])
SECONDS = 60
WIDGET, GADGET = wheel("widget", "1.0", requires=["gadget"]), sdist("gadget", "2.0")


def needs(program: Path) -> pytest.MarkDecorator:
    """Return a mark that skips a test, with a message, if the server is missing."""
    reason = f"{program} is not on this machine: tests/install-upstreams.sh installs it"
    return pytest.mark.skipif(not program.exists(), reason=reason)


def free_port() -> int:
    """Return a port that was free a moment ago, because these servers cannot report a port that they choose."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def shelf(directory: Path) -> Path:
    """Create a directory with the two distributions."""
    directory.mkdir()
    for built in (WIDGET, GADGET):
        (directory / built.filename).write_bytes(built.content)
    return directory


@asynccontextmanager
async def serving(url: str, *command: str | Path, home: Path) -> AsyncIterator[None]:
    """Run a server, wait until it answers at `url`, and terminate it on exit."""
    with (home / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"},
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as session:
            while not await _answers(session, url):
                assert process.returncode is None, (home / "server.log").read_text("utf-8")
                await asyncio.sleep(0.1)  # such a server does not report when it is ready
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        async with session.get(url) as response:
            return response.status < 500
    return False


@asynccontextmanager
async def pypiserver(home: Path) -> AsyncIterator[str]:
    """Run pypiserver with a directory of the two distributions; yield the URL of its index."""
    url, packages = f"http://127.0.0.1:{(port := free_port())}/", shelf(home / "packages")
    command = ("run", "-p", str(port), "-i", "127.0.0.1", "--disable-fallback", str(packages))
    async with serving(url, PROGRAMS / "pypi-server", *command, home=home):
        yield f"{url}simple/"


@asynccontextmanager
async def devpi(home: Path) -> AsyncIterator[str]:
    """Run devpi with a new index and upload the two distributions as twine does; yield the URL of the index."""
    port, state = free_port(), home / "devpi"
    making = await asyncio.create_subprocess_exec(
        PROGRAMS / "devpi-init", "--serverdir", str(state), "--no-root-pypi", "--root-passwd", "secret",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await making.wait() == 0
    url = f"http://127.0.0.1:{port}/"
    command = ("--serverdir", str(state), "--host", "127.0.0.1", "--port", str(port))
    async with serving(f"{url}+api", PROGRAMS / "devpi-server", *command, home=home):
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.post(f"{url}+login", json={"user": "root", "password": "secret"}) as response:
                token = (await response.json(content_type=None))["result"]["password"]
            login = aiohttp.encode_basic_auth("root", token, "utf-8")
            headers = {"X-Devpi-Auth": login.removeprefix("Basic ")}
            async with session.put(f"{url}root/prod", json={"type": "stage", "bases": []}, headers=headers):
                pass
            for built in (WIDGET, GADGET):
                form = aiohttp.FormData(
                    {
                        ":action": "file_upload",
                        "name": built.project,
                        "version": built.version,
                        "metadata_version": "2.1",
                    }
                )
                form.add_field("filetype", "bdist_wheel" if built is WIDGET else "sdist")
                form.add_field("pyversion", "py3" if built is WIDGET else "source")
                form.add_field("content", built.content, filename=built.filename)
                async with session.post(f"{url}root/prod/", data=form, headers=headers):
                    pass
        yield f"{url}root/prod/+simple/"


@asynccontextmanager
async def nginx(home: Path, *, hashed: bool = True) -> AsyncIterator[str]:
    """Run nginx on a directory of files; yield the URL of the index.

    Args:
        home: directory for the files.
        hashed: True for a page of links with digests for each project, False for nginx's own listing.
    """
    port, root = free_port(), home / "www"
    for built in (WIDGET, GADGET):
        project = root / "simple" / built.project
        project.mkdir(parents=True)
        (project / built.filename).write_bytes(built.content)
        if hashed:
            link = f'<a href="{built.filename}#sha256={built.sha256}">{built.filename}</a>'
            (project / "index.html").write_text(f"<!doctype html>{link}\n", "utf-8")
    temporary = "".join(
        f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = home / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {home}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary} types {{ text/html html; }} default_type application/octet-stream;\n"
        f"server {{ listen 127.0.0.1:{port}; root {root}; autoindex on; }} }}\n",
        "utf-8",
    )
    url = f"http://127.0.0.1:{port}/simple/"
    async with serving(url, NGINX, "-c", str(config), "-e", "stderr", home=home):
        yield url


@asynccontextmanager
async def before(url: str, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    """Run the proxy with the index at `url`."""
    async with Index() as unused:
        configuration = make_configuration(unused, tmp_path / "assay", indexes=[{"name": "real", "url": url}])
        async with run_test_proxy(unused, tmp_path, configuration=configuration) as proxy:
            yield proxy


def installed(tmp_path: Path) -> list[str]:
    """Return the names of the installed distributions."""
    return sorted(path.name for path in tmp_path.glob("target/*.dist-info"))


Server = Callable[[Path], AbstractAsyncContextManager[str]]
Installer = Callable[..., Awaitable[ClientResult]]


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(devpi, marks=[needs(PROGRAMS / "devpi-server"), pytest.mark.long]),
        pytest.param(pypiserver, marks=needs(PROGRAMS / "pypi-server")),
        pytest.param(nginx, marks=needs(NGINX)),
    ],
)
async def test_installers_install_from_a_real_index_through_the_proxy(tmp_path: Path, server: Server) -> None:
    async with server(tmp_path) as url:
        for installer in (pip_install, uv_install):  # each with a new proxy and an empty cache
            home = tmp_path / installer.__name__
            home.mkdir()
            async with before(url, home) as proxy:
                assert await proxy.fetch_listed("widget") == {WIDGET.filename}
                outcome = await installer(
                    proxy.url, "widget", "--no-build-isolation", home=home, target=home / "target"
                )
                assert outcome.status == 0, outcome.output
                assert (await proxy.get("/simple/nobodys/")).status == 404
            assert installed(home) == ["gadget-2.0.dist-info", "widget-1.0.dist-info"]


@needs(NGINX)
@BOTH
async def test_a_listing_without_digests_is_withheld_with_that_reason(tmp_path: Path, installer: Installer) -> None:
    async with nginx(tmp_path, hashed=False) as url, before(url, tmp_path) as proxy:
        assert await proxy.fetch_withheld("widget") == {WIDGET.filename: ["no-sha256"]}
        outcome = await installer(proxy.url, "widget", home=tmp_path, target=tmp_path / "target")
        assert outcome.status != 0, outcome.output
    assert installed(tmp_path) == []
