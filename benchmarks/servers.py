"""Servers under test: nginx (the limit, and the index of all servers), a bare aiohttp server, and Assay.

Each is started on loopback by its own command, is ready after its first response, and is stopped by its process id.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.checkout import HERE as THIS
from benchmarks.checkout import Checkout

HERE = Path(__file__).parent
_START_TIMEOUT_SECONDS = 60.0

NGINX = """
daemon off; master_process on; worker_processes 1; pid {root}/nginx.pid; error_log {root}/nginx-error.log warn;
events {{ worker_connections 1024; }}
http {{
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 60s; keepalive_requests 100000000; etag on;
  log_format one '$request_uri';
  access_log {root}/access.log one;
  client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;
  uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp; types {{ }}
  server {{
    listen 127.0.0.1:{port} backlog=1024; root {tree}; default_type application/octet-stream;
    location /simple/ {{ default_type application/vnd.pypi.simple.v1+json; index index.json; }}
    location /integrity/ {{ default_type application/vnd.pypi.integrity.v1+json; }}
    location /slow/ {{ limit_rate 100m; }}
    location /trickle/ {{ limit_rate 200k; }}
  }}
}}
"""


@dataclass(frozen=True)
class Server:
    """Server process on loopback."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    root: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def pss(self) -> float:
        """Return the proportional set size of the process and its descendants in MB."""
        return sum(_pss(pid) for pid in _family(self.process.pid)) / 1e3

    def held(self) -> float:
        """Return the memory of the process and its descendants in MB, even if other processes map the same files.

        Comparisons of checkouts use it: the benchmarks map the libraries of this checkout too, which would halve its
        proportional share.
        """
        each = [_rollup(pid) for pid in _family(self.process.pid)]
        mapped = max((one["Rss"] - one["Anonymous"] for one in each), default=0.0)
        return (sum(one["Pss_Anon"] for one in each) + mapped) / 1e3

    def cpu(self) -> float:
        """Return the CPU time of the process and its descendants in seconds."""
        return sum(_cpu(pid) for pid in _family(self.process.pid))

    def asked(self, prefix: str = "") -> int:
        """Return the number of requests in nginx's log whose path starts with `prefix`."""
        lines = (self.root / "access.log").read_text().splitlines()
        return sum(line.startswith(prefix) for line in lines)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    port: int,
    root: Path,
    *,
    ready: str = "/healthz",
    environ: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server, wait for its first response, and stop it at the end. Its output is written to a file."""
    root.mkdir(parents=True, exist_ok=True)
    log = root / f"{name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(environ or {})}, cwd=root)
    try:
        _wait(name, process, port, ready, log)
        yield Server(name, port, process, root)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(name: str, process: subprocess.Popen[bytes], port: int, ready: str, log: Path) -> None:
    until = time.monotonic() + _START_TIMEOUT_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"{name} ended with {process.returncode}: {log.read_text()[-2000:]}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", ready)
            if connection.getresponse().status < 500:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.01)
    raise SystemExit(f"{name} did not answer within {_START_TIMEOUT_SECONDS:.0f} s: {log.read_text()[-2000:]}")


@contextmanager
def nginx(root: Path, tree: Path, port: int | None = None) -> Iterator[Server]:
    """Start nginx with one worker, which serves the directory `tree`."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        raise SystemExit("nginx is not installed: bash tests/install-upstreams.sh")
    port = port or free_port()
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    (root / "nginx.conf").write_text(f"user root;{NGINX.format(root=root, tree=tree, port=port)}")
    with started("nginx", [program, "-c", str(root / "nginx.conf"), "-p", str(root)], port, root) as server:
        yield server


@contextmanager
def bare(root: Path, bodies: Path) -> Iterator[Server]:
    """Start the bare aiohttp server, which serves the files of `bodies` from memory."""
    port = free_port()
    command = [sys.executable, str(HERE / "bare.py"), str(port), str(bodies)]
    with started("bare", command, port, root) as server:
        yield server


@contextmanager
def assay(
    root: Path,
    upstream: Server,
    *,
    workers: int = 0,
    trust: Path | None = None,
    ready: str = "/healthz",
    port: int | None = None,
    checkout: Checkout = THIS,
    settings: str = "",
) -> Iterator[Server]:
    """Start Assay like its users: with its command and the built-in policy, and its log in a file."""
    port = port or free_port()
    root.mkdir(parents=True, exist_ok=True)
    root_line = "" if trust is None else f'root = "{trust}"'
    lines = [
        f'[server]\nport = {port}\n[storage]\ndirectory = "{root}/storage"\n[verification]\nworkers = {workers}',
        f"[trust]\nrefresh = false\n{root_line}",
        f'[[indexes]]\nname = "local"\nurl = "{upstream.origin}/simple/"',
        settings,
    ]
    (root / "proxy.toml").write_text("\n".join(lines) + "\n")
    command = [*checkout.serve, "--config", str(root / "proxy.toml"), "--log", "json"]
    with started("assay", command, port, root, ready=ready, environ=checkout.environ) as server:
        yield server


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [pid]
    try:
        for child in children.read_text().split():
            found += _family(int(child))
    except OSError:
        return []
    return found


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss(pid: int) -> float:
    return _rollup(pid)["Pss"]


def _rollup(pid: int) -> Mapping[str, float]:
    """Return the kilobytes of each kind of memory; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        lines = []
    return defaultdict(float, {key: float(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines)})
