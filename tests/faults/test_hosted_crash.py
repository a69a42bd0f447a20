"""kill -9 of the real proxy during uploads: each file is whole with its provenance, or absent and uploadable again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from tests.world.index.distributions import BuiltDistribution, wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.hosting_process import HostingProcess, run_hosting_process
from tests.world.sigstore.private_sigstore import GitHub, PrivateSigstore

_UPLOADERS = 3


@dataclass
class Uploads:
    """Uploads that were tried, and those that were answered with 200."""

    sigstore: PrivateSigstore
    random: Random
    tried: dict[str, tuple[BuiltDistribution, Mapping[str, Any]]] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)

    def make_next(self) -> BuiltDistribution:
        number = len(self.tried)
        built = wheel(f"acme-{number % 5}", f"{number}.0", padding=self.random.randrange(400_000))
        attestation = self.sigstore.attestation(built.filename, built.sha256, GitHub(repository="acme/app"))
        self.tried[built.filename] = built, attestation
        return built


async def _upload_until_killed(proxy: HostingProcess, uploads: Uploads) -> None:
    while proxy.served.process.returncode is None:
        built = uploads.make_next()
        try:
            status, reason = await proxy.upload(*uploads.tried[built.filename])
        except (aiohttp.ClientError, ConnectionError):
            continue
        assert status == 200, reason
        uploads.accepted.add(built.filename)


async def _check(proxy: HostingProcess, uploads: Uploads) -> None:
    """Check each upload that was tried since the last check."""
    pages = {f"acme-{number}": await proxy.fetch_entries(f"acme-{number}") for number in range(5)}
    for filename, (built, attestation) in uploads.tried.items():
        if filename in uploads.whole:
            continue
        if filename not in pages[built.project]:
            assert filename not in uploads.accepted, f"{filename} is lost"
            uploads.absent.add(filename)
            status, reason = await proxy.upload(built, attestation)
            assert status == 200, reason
            assert filename in await proxy.fetch_entries(built.project)
        path = f"/files/internal.hosted.invalid/{built.project}/{filename}"
        assert await proxy.get(path) == (200, built.content)
        assert await proxy.get(f"{path}.metadata") == (200, built.metadata)
        status, document = await proxy.get(f"/integrity/{built.project}/{built.version}/{filename}/provenance")
        assert status == 200
        assert json.loads(document)["attestation_bundles"][0]["attestations"] == [attestation]
        uploads.whole.add(filename)


async def _crash(directory: Path, kills: int, seed: int) -> None:
    uploads = Uploads(PrivateSigstore(seed=1), Random(seed))
    async with Index() as index:
        for _ in range(kills):
            async with run_hosting_process(index, directory, uploads.sigstore) as proxy:
                await _check(proxy, uploads)
                first = uploads.make_next()  # the first upload of a process takes longer
                assert (await proxy.upload(*uploads.tried[first.filename]))[0] == 200
                uploads.accepted.add(first.filename)
                uploading = [asyncio.create_task(_upload_until_killed(proxy, uploads)) for _ in range(_UPLOADERS)]
                await asyncio.sleep(uploads.random.uniform(0.0, 0.5))  # a random moment for the kill
                proxy.served.process.kill()
                await proxy.served.process.wait()
                await asyncio.gather(*uploading)
        async with run_hosting_process(index, directory, uploads.sigstore) as proxy:
            await _check(proxy, uploads)
            assert list((directory / "hosted" / "internal" / "incoming").iterdir()) == []
    assert uploads.whole == uploads.tried.keys()
    assert uploads.accepted
    counts = f"{len(uploads.tried)} uploads, {len(uploads.accepted)} answered 200, {len(uploads.absent)} absent"
    print(f"{kills} kills: {counts}")


async def test_a_kill_during_uploads(tmp_path: Path) -> None:
    await _crash(tmp_path, kills=1, seed=20261129)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_two_hundred_kills_during_uploads(tmp_path: Path, seed: int) -> None:
    await _crash(tmp_path, kills=50, seed=seed)
