"""Peers: devpi-server, proxpi, simple-repository-server, peryx and nginx, each started as its documentation says.

`install-peers.sh` installs them. A peer that is not installed is left out, with a message.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from benchmarks import servers
from benchmarks.content import JSON
from benchmarks.load import fetch

BIN = servers.HERE.parent / ".tools" / "peers" / "bin"
WARM_PROJECTS = ("hundred", "many", "small")
PERYX_TOML = """
host = "127.0.0.1"
port = {port}
data_dir = "{root}/data"
[[index]]
name = "local"
ecosystem = "pypi"
[[index.upstream]]
name = "primary"
url = "{upstream}/simple/"
"""


@dataclass(frozen=True)
class Running:
    """Running peer."""

    name: str
    server: servers.Server
    index: str
    """Path of its Simple API."""
    translates: bool = True
    """True if it has its own pages, as JSON and HTML. Otherwise its pages and files are at the paths of the index."""

    def url(self, path: str) -> str | None:
        """Return the peer's URL for Assay's `path`; None if the peer has no such resource."""
        if not self.translates and path.startswith("/files/"):
            return f"{self.server.origin}/{path.split('/', 3)[3]}"
        if path.startswith("/simple/"):
            return f"{self.server.origin}{self.index}{path.removeprefix('/simple/')}"
        filename = path.rpartition("/")[2]
        page = f"{self.server.origin}{self.index}{filename.partition('-')[0]}/"
        body = fetch(page, {"Accept": "text/html"}, keep=True).body.decode()
        links = re.findall(r'href="([^"#]*)', body)
        found = [urljoin(page, link) for link in links if link.endswith(filename)]
        return found[0] if found and found[0].startswith(self.server.origin) else None


@dataclass(frozen=True)
class Peer:
    """Peer with the command that starts it."""

    name: str
    program: Path
    start: Callable[[Path, servers.Server, int], AbstractContextManager[servers.Server]]
    index: str
    prepare: Callable[[servers.Server, servers.Server], None] | None = None
    translates: bool = True
    """True if it has its own pages, as `Running` says."""

    def started(
        self, stack: ExitStack, root: Path, upstream: servers.Server, projects: Sequence[str] = WARM_PROJECTS
    ) -> Running:
        """Start the peer in front of `upstream`, and fetch the page of each project once."""
        server = stack.enter_context(self.start(root, upstream, servers.free_port()))
        if self.prepare is not None:
            self.prepare(server, upstream)
        running = Running(self.name, server, self.index, self.translates)
        for project in projects:
            answer = fetch(f"{server.origin}{self.index}{project}/", {"Accept": JSON}, keep=True)
            if answer.status != 200 or project.encode() not in answer.body:
                raise SystemExit(f"{self.name} answers {answer.status} for {project}: {answer.body[:300]!r}")
        return running


def installed(wanted: Sequence[Peer]) -> list[Peer]:
    """Return those of the peers that are installed; print a message for each missing one."""
    found = [peer for peer in wanted if peer.program.exists()]
    for peer in wanted:
        if peer not in found:
            print(f"left out: {peer.name} is not installed (bash benchmarks/install-peers.sh)")
    return found


def _devpi(root: Path, _upstream: servers.Server, port: int) -> AbstractContextManager[servers.Server]:
    state = root / "state"
    root.mkdir(parents=True, exist_ok=True)
    flags = ["--serverdir", str(state), "--no-root-pypi", "--root-passwd", "secret"]
    subprocess.run([BIN / "devpi-init", *flags], check=True, capture_output=True)
    command = [str(BIN / "devpi-server"), "--serverdir", str(state), "--host", "127.0.0.1", "--port", str(port)]
    return servers.started("devpi", command, port, root, ready="/+api")


def _mirrored(peer: servers.Server, upstream: servers.Server) -> None:
    """Create a mirror of `upstream` through devpi's API."""
    token = _asked("POST", f"{peer.origin}/+login", {"user": "root", "password": "secret"}, {})["result"]["password"]
    auth = {"X-Devpi-Auth": base64.b64encode(f"root:{token}".encode()).decode()}
    index = {"type": "mirror", "mirror_url": f"{upstream.origin}/simple/", "mirror_use_external_urls": False}
    _asked("PUT", f"{peer.origin}/root/mirror", index, auth)


def _asked(method: str, url: str, body: object, headers: dict[str, str]) -> dict[str, dict[str, str]]:
    headers = {"Content-Type": "application/json", "Accept": "application/json", **headers}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        return dict(json.load(answer))


def _proxpi(root: Path, upstream: servers.Server, port: int) -> AbstractContextManager[servers.Server]:
    environ = {
        "PROXPI_INDEX_URL": f"{upstream.origin}/simple/",
        "PROXPI_CACHE_DIR": str(root / "cache"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    # The command of proxpi's container image: one process with two threads.
    command = [str(BIN / "gunicorn"), "--preload", "--access-logfile", "-", "--bind", f"127.0.0.1:{port}"]
    command += ["--threads", "2", "proxpi.server:app"]
    return servers.started("proxpi", command, port, root, ready="/health", environ=environ)


def _simple(root: Path, upstream: servers.Server, port: int) -> AbstractContextManager[servers.Server]:
    command = [str(BIN / "simple-repository-server"), "--port", str(port), "--host", "127.0.0.1"]
    command += ["--stream-http-resources", f"{upstream.origin}/simple/"]
    return servers.started("simple", command, port, root, ready="/simple/hundred/")


def _peryx(root: Path, upstream: servers.Server, port: int) -> AbstractContextManager[servers.Server]:
    root.mkdir(parents=True, exist_ok=True)
    (root / "peryx.toml").write_text(PERYX_TOML.format(root=root, port=port, upstream=upstream.origin))
    command = [str(BIN / "peryx"), "serve", "--config", str(root / "peryx.toml")]
    return servers.started("peryx", command, port, root, ready="/+health")


PYTHON = (
    Peer("devpi", BIN / "devpi-server", _devpi, "/root/mirror/+simple/", _mirrored),
    Peer("proxpi", BIN / "gunicorn", _proxpi, "/index/"),
    Peer("simple-repository-server", BIN / "simple-repository-server", _simple, "/simple/"),
)
PERYX = Peer("peryx", BIN / "peryx", _peryx, "/local/simple/")
NGINX = Peer("nginx proxy_cache", servers.NGINX_PROGRAM, servers.caching_nginx, "/simple/", translates=False)
