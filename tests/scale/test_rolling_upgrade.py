"""Replicas that are replaced one by one by another version and back, while pip and uv install: no install fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from tests.scale.engines import SharedEngines
from tests.scale.published import ATTESTED_POLICY, Publisher
from tests.scale.replicas import Cluster, ClusterSettings, run_cluster
from tests.world.clients.installers import ClientResult, pip_install, uv_install
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.sigstore.private_sigstore import PrivateSigstore

pytestmark = pytest.mark.scale

PREVIOUS = os.environ.get("ASSAY_PREVIOUS", "HEAD~1")
"""Commit of the version before this one."""
SETTINGS = ClusterSettings(policy=ATTESTED_POLICY, freshness="1 second")
Install = Callable[..., Coroutine[Any, Any, ClientResult]]


@dataclass(frozen=True)
class Version:
    """Installed version of Assay.

    Attributes:
        revision: its commit; None for this checkout.
        path: directory to import it from; None for this checkout.
    """

    revision: str | None = None
    path: Path | None = None


THIS = Version()


def install_version(commit: str, directory: Path) -> Version:
    """Build the wheel of a commit, and install it without dependencies."""
    revision = subprocess.run(["git", "rev-parse", commit], cwd=ROOT, check=True, capture_output=True, text=True)
    checkout, target = directory / "checkout", directory / "installed"
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    checkout.mkdir(parents=True)
    subprocess.run(["tar", "-x"], cwd=checkout, check=True, input=archive)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    environ = {**os.environ, "ASSAY_REVISION": revision.stdout.strip()}
    subprocess.run(build, cwd=checkout, check=True, capture_output=True, env=environ)
    (built,) = directory.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(built)], check=True, capture_output=True)
    shutil.rmtree(checkout)
    return Version(revision.stdout.strip(), target)


async def install_until(over: asyncio.Event, cluster: Cluster, home: Path, install: Install) -> list[ClientResult]:
    """Install the newest version again and again; return the results."""
    results: list[ClientResult] = []
    while not over.is_set():
        target = home / f"{install.__name__}-{len(results)}"
        results.append(await install(cluster.url, "app", home=home, target=target))
        await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
    return results


async def replace_one_by_one(cluster: Cluster, version: Version) -> None:
    """Replace each replica by another version as a Deployment does: stop it gently, then start its successor."""
    for replica in cluster.replicas:
        assert await replica.stop() == 0
        replica.search_path = version.path
        await replica.start()
        assert await replica.read_metric("assay_build_info", revision=version.revision or "unknown") == 1


@pytest.mark.long
async def test_no_install_fails_while_replicas_change_their_version_and_back(
    tmp_path: Path, shared: SharedEngines
) -> None:
    previous = await asyncio.to_thread(install_version, PREVIOUS, tmp_path / "previous")
    sigstore, over = PrivateSigstore(), asyncio.Event()
    async with Index() as index, run_cluster(index, tmp_path, shared, sigstore=sigstore, settings=SETTINGS) as cluster:
        publisher = Publisher(index, sigstore)
        publisher.publish(wheel("app", "1.0", requires=["library"], padding=200_000))
        publisher.publish_releases("library", 5, padding=100_000)
        await replace_one_by_one(cluster, previous)

        async with asyncio.TaskGroup() as tasks:
            installing = [
                tasks.create_task(install_until(over, cluster, tmp_path, install))
                for install in (pip_install, uv_install)
            ]
            for number, version in enumerate((THIS, previous, THIS), start=2):
                publisher.publish(wheel("app", f"{number}.0", requires=["library"], padding=200_000))
                await replace_one_by_one(cluster, version)
            over.set()
        results = [result for task in installing for result in task.result()]
        print(f"{len(results)} installs")
        assert [result.output for result in results if result.status != 0] == []
        assert len(results) > 6
