"""Sixteen large uploads at once: the memory of the proxy stays small, and installs continue."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.auth_proxy import make_basic_header
from tests.world.proxy.hosting_process import HostingProcess, run_hosting_process
from tests.world.proxy.hosting_proxy import TOKENS
from tests.world.sigstore.private_sigstore import GitHub, PrivateSigstore

_UPLOADS = 16
_SIZE = 100 * 1000 * 1000
_MAX_GROWTH_BYTES = 64 * 2**20


@asynccontextmanager
async def _measure(proxy: HostingProcess, paths: list[str]) -> AsyncIterator[list[float]]:
    """Request paths in another process while the context is open; then add the times in milliseconds to the list."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.world.clients.latency_probe",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    host, _, port = proxy.served.origin.removeprefix("http://").partition(":")
    authorization = make_basic_header("__token__", TOKENS["bot"])["Authorization"]
    asked = {"host": host, "port": int(port), "authorization": authorization, "paths": paths}
    process.stdin.write(json.dumps(asked).encode() + b"\n")
    times: list[float] = []
    yield times
    output, _ = await process.communicate(b"")
    assert process.returncode == 0
    times += sorted(json.loads(output))


@pytest.mark.long
async def test_many_large_uploads_need_little_memory(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index, run_hosting_process(index, tmp_path, sigstore, workers=1) as proxy:
        small = wheel("acme-small", "1.0")
        signed = sigstore.attestation(small.filename, small.sha256, GitHub(repository="acme/app"))
        assert (await proxy.upload(small, signed))[0] == 200
        path = f"/files/internal.hosted.invalid/acme-small/{small.filename}"
        for _ in range(20):
            await proxy.get("/simple/acme-small/")
            await proxy.get(path)
        idle = proxy.served.read_memory("VmRSS")
        built = [wheel(f"acme-{number}", "1.0", padding=_SIZE) for number in range(_UPLOADS)]
        attestations = [
            sigstore.attestation(each.filename, each.sha256, GitHub(repository="acme/app")) for each in built
        ]
        # Hashed now, because the client's event loop must send the heads of all requests within 10 seconds.
        assert len({each.blake2_256 for each in built}) == _UPLOADS
        async with _measure(proxy, ["/simple/acme-small/", path]) as idle_times:
            await asyncio.sleep(5)
        async with _measure(proxy, ["/simple/acme-small/", path]) as times:
            started = time.perf_counter()
            results = await asyncio.gather(*map(proxy.upload, built, attestations))
            seconds = time.perf_counter() - started
        growth = proxy.served.read_memory("VmHWM") - idle
        print(
            f"{_UPLOADS} uploads in {seconds:.1f} s; memory {growth / 2**20:.1f} MiB over idle;"
            f" {len(times)} requests, p50 {times[len(times) // 2]:.1f} ms, p99 {times[len(times) * 99 // 100]:.1f} ms;"
            f" without uploads p99 {idle_times[len(idle_times) * 99 // 100]:.1f} ms"
        )
        assert {status for status, _ in results} == {200}
        assert growth <= _MAX_GROWTH_BYTES
