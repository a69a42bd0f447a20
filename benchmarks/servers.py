"""Servers under test: nginx (the limit, and the index of all servers), a bare aiohttp server, and Assay.

Each is started on loopback by its own command, is ready after its first response, and is stopped by its process id.
"""

from __future__ import annotations

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
from benchmarks.load import connect

HERE = Path(__file__).parent
NGINX_PROGRAM = Path(shutil.which("nginx") or "/usr/sbin/nginx")
_START_TIMEOUT_SECONDS = 60.0

NGINX = """
user root; daemon off; master_process on; worker_processes 1; pid {root}/nginx.pid;
error_log {root}/nginx-error.log warn;
events {{ worker_connections 1024; }}
http {{
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 60s; keepalive_requests 100000000; etag on;
  log_format one '$request_uri';
  access_log {root}/access.log one;
  client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;
  uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp; types {{ }}
  {rest}
}}
"""
STATIC = """
  server {{
    listen 127.0.0.1:{port}{ssl} backlog=1024; {certificate}
    root {tree}; default_type application/octet-stream;
    location /simple/ {{ default_type application/vnd.pypi.simple.v1+json; index index.json; }}
    location /integrity/ {{ default_type application/vnd.pypi.integrity.v1+json; }}
    location /slow/ {{ limit_rate 100m; }}
    location /trickle/ {{ limit_rate 200k; }}
  }}
"""
CERTIFICATE = """
    ssl_certificate {certificate}; ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_prefer_server_ciphers off;
"""
CACHING = """
  proxy_cache_path {root}/cache levels=1:2 keys_zone=index:16m max_size=50g inactive=7d use_temp_path=off;
  upstream index {{ server 127.0.0.1:{upstream}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    tcp_nopush off;  # with it, each cached file waits 40 ms for a delayed acknowledgement
    proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_cache index; proxy_cache_lock on; proxy_cache_use_stale error timeout updating;
    location / {{ proxy_pass http://index; proxy_cache_valid 200 7d; }}
    location /simple/ {{
      proxy_pass http://index; proxy_cache_valid 200 10m;
      sub_filter 'http://127.0.0.1:{upstream}/' 'http://127.0.0.1:{port}/'; sub_filter_once off;
      sub_filter_types application/vnd.pypi.simple.v1+json;
    }}
  }}
"""


@dataclass(frozen=True)
class Certificate:
    """PEM files of a server certificate and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Server:
    """Server process on loopback."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    root: Path
    scheme: str = "http"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

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
    scheme: str = "http",
) -> Iterator[Server]:
    """Start a server, wait for its first response, and stop it at the end. Its output is written to a file.

    A server in Python stores the bytecode of its modules, as an installed one does, whatever the environment says.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    root.mkdir(parents=True, exist_ok=True)
    log = root / f"{name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**inherited, **(environ or {})}, cwd=root)
    try:
        server = Server(name, port, process, root, scheme)
        _wait(server, ready, log)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Server, ready: str, log: Path) -> None:
    until = time.monotonic() + _START_TIMEOUT_SECONDS
    while time.monotonic() < until:
        if server.process.poll() is not None:
            raise SystemExit(f"{server.name} ended with {server.process.returncode}: {log.read_text()[-2000:]}")
        connection = connect(server.scheme, server.port, timeout=5)
        try:
            connection.request("GET", ready)
            if connection.getresponse().status < 500:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.01)
    raise SystemExit(f"{server.name} did not answer within {_START_TIMEOUT_SECONDS:.0f} s: {log.read_text()[-2000:]}")


@contextmanager
def nginx(
    root: Path, tree: Path, port: int | None = None, *, certificate: Certificate | None = None
) -> Iterator[Server]:
    """Start nginx with one worker, which serves the directory `tree`; with a certificate, over TLS."""
    port, ssl, lines = port or free_port(), "", ""
    if certificate is not None:
        ssl, lines = " ssl", CERTIFICATE.format(certificate=certificate.certificate, key=certificate.key)
    rest = STATIC.format(tree=tree, port=port, ssl=ssl, certificate=lines)
    with _nginx("nginx", root, rest, port, scheme="https" if certificate else "http") as server:
        yield server


@contextmanager
def caching_nginx(root: Path, upstream: Server, port: int | None = None) -> Iterator[Server]:
    """Start nginx with one worker and `proxy_cache`, which caches pages and files of `upstream` and verifies nothing.

    It replaces the addresses on pages, so that clients request the files from it.
    """
    port = port or free_port()
    rest = CACHING.format(root=root, upstream=upstream.port, port=port)
    with _nginx("nginx-cache", root, rest, port) as server:
        yield server


@contextmanager
def _nginx(name: str, root: Path, rest: str, port: int, *, scheme: str = "http") -> Iterator[Server]:
    if not NGINX_PROGRAM.exists():
        raise SystemExit("nginx is not installed: bash tests/install-upstreams.sh")
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    (root / "nginx.conf").write_text(NGINX.format(root=root, rest=rest))
    command = [str(NGINX_PROGRAM), "-c", str(root / "nginx.conf"), "-p", str(root)]
    with started(name, command, port, root, scheme=scheme) as server:
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
    environ: Mapping[str, str] | None = None,
    certificate: Certificate | None = None,
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
    if certificate is not None:
        lines.append(f'[server.tls]\ncertificate = "{certificate.certificate}"\nkey = "{certificate.key}"')
    (root / "proxy.toml").write_text("\n".join(lines) + "\n")
    command = [*checkout.serve, "--config", str(root / "proxy.toml"), "--log", "json"]
    variables = {**checkout.environ, **(environ or {})}
    scheme = "https" if certificate else "http"
    with started("assay", command, port, root, ready=ready, environ=variables, scheme=scheme) as server:
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
