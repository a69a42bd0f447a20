"""Sixteen large uploads at once: the memory of the proxy stays small, and installs continue."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.hosting_process import HostingProcess, run_hosting_process
from tests.world.sigstore.private_sigstore import GitHub, PrivateSigstore

_UPLOADS = 16
_SIZE = 100 * 1000 * 1000
_MAX_GROWTH_BYTES = 64 * 2**20


async def _install_until(done: asyncio.Event, proxy: HostingProcess, project: str, path: str) -> list[float]:
    """Request a page and a file as an installer does, until `done` is set; return the times in milliseconds."""
    times: list[float] = []
    while not done.is_set():
        for target in (f"/simple/{project}/", path):
            started = time.perf_counter()
            status, _ = await proxy.get(target)
            times.append((time.perf_counter() - started) * 1000)
            assert status == 200
        await asyncio.sleep(0.005)
    return times


@pytest.mark.long
async def test_many_large_uploads_need_little_memory(tmp_path: Path) -> None:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index, run_hosting_process(index, tmp_path, sigstore) as proxy:
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
        done = asyncio.Event()
        installing = asyncio.create_task(_install_until(done, proxy, "acme-small", path))
        started = time.perf_counter()
        results = await asyncio.gather(*map(proxy.upload, built, attestations))
        seconds = time.perf_counter() - started
        done.set()
        times = sorted(await installing)
        growth = proxy.served.read_memory("VmHWM") - idle
        print(
            f"{_UPLOADS} uploads in {seconds:.1f} s; memory {growth / 2**20:.1f} MiB over idle;"
            f" {len(times)} requests, p50 {times[len(times) // 2]:.1f} ms, p99 {times[len(times) * 99 // 100]:.1f} ms"
        )
        assert {status for status, _ in results} == {200}
        assert growth <= _MAX_GROWTH_BYTES
