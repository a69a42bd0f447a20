"""Load generators: wrk for many small responses, and a client for one large response."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_READ_BYTES = 2**20
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Rate:
    """Result of a run of wrk."""

    per_second: float
    p99: float
    """Latency in milliseconds."""
    failed: int
    """Number of responses that are neither 2xx nor 3xx, and of failed connections."""
    answers: int
    cpu: float = 0.0
    """CPU time of the server for one response in seconds; other load on the machine affects it least."""

    def with_cpu(self, seconds: float) -> Rate:
        """Return the same result with the CPU time that the server used for all responses."""
        return replace(self, cpu=seconds / self.answers)


def wrk(url: str, headers: Mapping[str, str], *, seconds: int, connections: int = 16) -> Rate:
    """Run wrk with one thread and keep-alive connections, and return the result."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    flags = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    limits = [f"-d{seconds}s", f"--timeout={_TIMEOUT_SECONDS}s"]
    command = ["wrk", "-t1", f"-c{connections}", *limits, "--latency", *flags, url]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", told)
    if rate is None or p99 is None:
        raise SystemExit(f"unexpected output of wrk: {told}")
    count = re.search(r"(\d+) requests in", told)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    broken = [int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", told)]
    failed = (int(bad[1]) if bad else 0) + sum(broken)
    return Rate(float(rate[1]), float(p99[1]) * _UNITS[p99[2]], failed, int(count[1]) if count else 0)


@dataclass(frozen=True)
class Fetched:
    """Response that was read to its end."""

    status: int
    headers: Mapping[str, str]
    size: int
    first: float
    """Seconds until the first byte of the body."""
    total: float
    body: bytes = b""


def fetch(url: str, headers: Mapping[str, str] | None = None, *, keep: bool = False, timeout: float = 300) -> Fetched:
    """Read a response to its end; if `keep`, return its body as well."""
    parts = urlsplit(url)
    started = time.perf_counter()
    connection = connect(parts.scheme, parts.port or 0, timeout)
    try:
        connection.request("GET", parts.path, headers=dict(headers or {}))
        answer = connection.getresponse()
        buffer, kept, size, first = bytearray(_READ_BYTES), bytearray(), 0, 0.0
        while count := answer.readinto1(buffer) if hasattr(answer, "readinto1") else answer.readinto(buffer):
            first = first or time.perf_counter() - started
            size += count
            if keep:
                kept += buffer[:count]
        total = time.perf_counter() - started
        return Fetched(answer.status, dict(answer.getheaders()), size, first or total, total, bytes(kept))
    finally:
        connection.close()


def fetch_ok(url: str, headers: Mapping[str, str] | None = None) -> Fetched:
    """Read a response to its end; exit if its status is not 200."""
    answer = fetch(url, headers)
    if answer.status != 200:
        raise SystemExit(f"{url} is answered {answer.status}")
    return answer


def connect(scheme: str, port: int, timeout: float) -> http.client.HTTPConnection:
    """Return a connection to a server on loopback, whose certificate is not verified."""
    if scheme == "https":
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=_tls())
    return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)


def cipher(port: int) -> tuple[str, str, int] | None:
    """Return the name, protocol version and secret bits of the cipher that a server on loopback negotiates."""
    with socket.create_connection(("127.0.0.1", port)) as plain, _tls().wrap_socket(plain) as secured:
        return secured.cipher()


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
