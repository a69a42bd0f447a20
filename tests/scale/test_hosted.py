"""Hosted indexes on shared storage: an upload to one replica can be installed from any other at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scale.engines import SharedEngines
from tests.scale.same_process import run_test_replicas
from tests.world.clients.installers import pip_install
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.hosting_proxy import INDEX_TABLE, TOKENS, HostingProxy, write_tokens
from tests.world.proxy.running_proxy import ATTESTED_ONLY_POLICY, ManualClock, make_configuration
from tests.world.sigstore.private_sigstore import SIGNING_TIME, PrivateSigstore

pytestmark = pytest.mark.scale


@dataclass(frozen=True)
class HostingReplicas:
    """Replicas with the hosted index of `hosting_proxy`, and nginx before them."""

    balanced: HostingProxy
    replicas: list[HostingProxy]


@asynccontextmanager
async def run_hosting_replicas(directory: Path, shared: SharedEngines) -> AsyncIterator[HostingReplicas]:
    sigstore = PrivateSigstore(seed=1)
    async with Index() as index:
        public = {"name": "test", "url": index.url, "file-hosts": [index.files_host]}
        server = {"port": 0, "auth": {"tokens": str(write_tokens(directory / "tokens"))}}
        storage = {"directory": str(directory / "assay"), "hosted": str(directory / "hosted")}
        configuration = make_configuration(
            index, directory / "assay", sigstore, server=server, storage=storage, indexes=[INDEX_TABLE, public]
        )
        async with run_test_replicas(
            index,
            directory,
            storage=shared,
            policy=ATTESTED_ONLY_POLICY,
            configuration=configuration,
            clock=ManualClock(SIGNING_TIME),
        ) as proxy:
            made = [HostingProxy(each, index, sigstore, directory) for each in (proxy, *proxy.replicas)]
            yield HostingReplicas(made[0], made[1:])


async def test_an_upload_to_one_replica_is_installed_from_the_others_at_once(
    tmp_path: Path, shared: SharedEngines
) -> None:
    async with run_hosting_replicas(tmp_path, shared) as world:
        first, *others = world.replicas
        for number in range(1, 4):
            built = wheel("acme-app", f"{number}.0", padding=100_000)
            for replica in world.replicas:
                await replica.get("/simple/acme-app/")
            assert (await first.upload(built)).status == 200
            for replica in others:
                (entry,) = (
                    each
                    for each in (await replica.fetch_page("acme-app"))["files"]
                    if each["filename"] == built.filename
                )
                answer = await replica.get(entry["url"].removeprefix("../.."))
                assert (answer.status, answer.body) == (200, built.content)
        url = world.balanced.proxy.url.replace("http://", f"http://__token__:{TOKENS['bot']}@")
        installed = await pip_install(url, "acme-app", home=tmp_path, target=tmp_path / "target")
        assert installed.status == 0, installed.output
        assert (tmp_path / "target" / "acme_app-3.0.dist-info").is_dir()


async def test_of_uploads_of_one_name_to_all_replicas_at_once_one_is_accepted(
    tmp_path: Path, shared: SharedEngines
) -> None:
    async with run_hosting_replicas(tmp_path, shared) as world:
        contents = [wheel("acme-app", "1.0", padding=1000 + number) for number in range(3)]
        uploads = [replica.upload(built) for replica, built in zip(world.replicas, contents, strict=True)]
        answers = await asyncio.gather(*uploads)
        accepted = [built for built, answer in zip(contents, answers, strict=True) if answer.status == 200]
        assert len(accepted) == 1, [(answer.status, answer.reason) for answer in answers]
        for replica in world.replicas:
            (entry,) = (await replica.fetch_page("acme-app"))["files"]
            assert entry["hashes"]["sha256"] == accepted[0].sha256
