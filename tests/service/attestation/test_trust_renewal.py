"""Tests of a new log key that the root does not list: unverifiable without an alarm, and approved after a renewal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assay.attestation.config import TrustSettings
from assay.attestation.pool.pool import VerifierPool
from assay.attestation.renewal.schedule import create_root_refreshers
from assay.attestation.renewal.tuf import RefreshError, TufRefresher
from assay.attestation.trust_roots import TrustRoot
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import ManualClock, RunningProxy, run_test_proxy
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitHub, PrivateSigstore
from tests.world.sigstore.tuf_repository import TufRepository

Clock = Callable[[], datetime]
REQUIRED = """
version = 1
[[rules]]
name = "attested"
projects = ["*"]
attestations = "required"
publishers = "any"
"""


@dataclass
class InThread:
    """Trust root client that uses a TUF repository in this process; `SubprocessRefresher` uses the network."""

    refresher: TufRefresher

    @property
    def name(self) -> str:
        return self.refresher.name

    async def refresh(self, root: TrustRoot) -> TrustRoot | None:
        try:
            return await asyncio.to_thread(self.refresher.refresh, root)
        except RefreshError:
            return None


async def turned_once(verifier: VerifierPool, settings: TrustSettings, clock: Clock, *refreshers: InThread) -> None:
    """Run one turn of the schedule of each root."""
    pauses = asyncio.Queue[float]()

    async def pause(seconds: float) -> None:
        pauses.put_nowait(seconds)
        await asyncio.Event().wait()

    made = create_root_refreshers(verifier, refreshers, settings, clock, pause)
    for each in made:
        each.start()
    for _ in made:
        assert await pauses.get() == settings.refresh_every.total_seconds()
    for each in made:
        await each.close()


async def renewed_once(proxy: RunningProxy, refresher: TufRefresher, settings: TrustSettings) -> None:
    await turned_once(proxy.assembly.verifier, settings, lambda: datetime.now(UTC), InThread(refresher))


async def test_a_new_log_key_is_verified_without_restart_once_the_root_is_renewed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sigstore = PrivateSigstore(seed=1)
    tuf = TufRepository(sigstore.trusted_root())
    old = sigstore.trusted_root()
    async with Index() as index, run_test_proxy(index, tmp_path, policy=REQUIRED, sigstore=sigstore) as proxy:
        verifier = proxy.assembly.verifier
        # The root is like the bundled one: older than the interval, and renewed by TUF.
        verifier.replace_roots(verifier.roots.with_refreshed(TrustRoot(name="default", content=old)))
        sigstore.new_rekor_key()
        built = wheel("foo", "1.0")
        index.add(
            built,
            upload_time=SIGNING_TIME,
            provenance=sigstore.provenance(built.filename, built.sha256, GitHub(repository="acme/foo")),
        )
        assert await proxy.fetch_withheld("foo") == {built.filename: ["unverifiable"]}
        assert not [record for record in caplog.records if record.name == "assay.security"]

        refresher = TufRefresher(
            name="default", directory=tmp_path / "tuf", url=TufRepository.URL, fetch=tuf.fetch, anchor=tuf.anchor
        )
        settings = TrustSettings(refresh_every=timedelta(minutes=1))
        tuf.down = True
        await renewed_once(proxy, refresher, settings)
        assert await proxy.fetch_withheld("foo") == {built.filename: ["unverifiable"]}, "the last good root stays"
        tuf.down = False
        tuf.publish(sigstore.trusted_root())
        await renewed_once(proxy, refresher, settings)
        assert await proxy.fetch_listed("foo") == {built.filename}


async def test_an_old_root_that_nobody_renews_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, sigstore=PrivateSigstore(seed=1)) as proxy:
        now = datetime.now(UTC)
        for days, warns in ((10, False), (100, True)):
            clock = ManualClock(now + timedelta(days=days))
            caplog.clear()
            await turned_once(proxy.assembly.verifier, TrustSettings(), clock)
            assert any(record.message == "trust-root-outdated" for record in caplog.records) is warns
