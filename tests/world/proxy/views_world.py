"""Proxy with three views in front of a test index: one at ``/``, a strict one, and one for developers.

::

    async with run_views_world(tmp_path, strict=POLICY, dev=POLICY) as there:
        there.proxy, there.strict, there.dev          # `RunningProxy`: each sends requests to its view
        await is_served(there.strict, listed)         # True or False; fails if two routes disagree
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from assay.config import Configuration
from tests.world.index.distributions import BuiltDistribution
from tests.world.index.fake_index import Index, ListedFile
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.sigstore.private_sigstore import GitHub, PrivateSigstore, Signer

OPEN_POLICY = 'version = 1\n[[rules]]\nname = "open"\nprojects = ["*"]\nratchet = "off"\n'
CLOSED_POLICY = 'version = 1\n[[rules]]\nname = "closed"\nprojects = ["*"]\ndeny = "nothing today"\n'
RATCHET_POLICY = 'version = 1\n[[rules]]\nname = "everything"\nprojects = ["*"]\n'
SIGNED_POLICY = OPEN_POLICY.replace("open", "signed") + 'attestations = "required"\npublishers = "any"\n'
VIEW_TABLES = [{"name": "strict", "path": "/strict/"}, {"name": "dev", "path": "/teams/dev/"}]
GENUINE, STRANGER = GitHub(repository="acme/widget"), GitHub(repository="mallory/widget")


def make_view_configuration(
    index: Index, directory: Path, sigstore: PrivateSigstore | None = None, **tables: Any
) -> Configuration:
    return make_configuration(index, directory / "assay", sigstore, views=VIEW_TABLES, **tables)


@dataclass(frozen=True)
class ViewsWorld:
    """Index, Sigstore, and a proxy with a view for all users, a strict view and a lax view."""

    index: Index
    sigstore: PrivateSigstore
    proxy: RunningProxy

    @property
    def strict(self) -> RunningProxy:
        return self.proxy.at_path("/strict/")

    @property
    def dev(self) -> RunningProxy:
        return self.proxy.at_path("/teams/dev/")

    def publish(self, built: BuiltDistribution, when: datetime, signer: Signer | None = GENUINE) -> ListedFile:
        document = None
        if signer is not None:
            document = self.sigstore.provenance(built.filename, built.sha256, signer, when)
        return self.index.add(built, upload_time=when, provenance=document)


@asynccontextmanager
async def run_views_world(
    tmp_path: Path, *, strict: str, dev: str = OPEN_POLICY, policy: str = OPEN_POLICY, **tables: Any
) -> AsyncIterator[ViewsWorld]:
    sigstore = PrivateSigstore()
    async with Index() as index:
        configuration = make_view_configuration(index, tmp_path, sigstore, **tables)
        policies = {"strict": strict, "dev": dev}
        async with run_test_proxy(
            index, tmp_path, policy=policy, policies=policies, configuration=configuration
        ) as proxy:
            yield ViewsWorld(index, sigstore, proxy)


async def is_served(view: RunningProxy, listed: ListedFile) -> bool:
    """Return whether the view lists and serves a file, and check that all its routes agree."""
    path, project = view.files_path(listed), listed.built.project
    shown = listed.built.filename in await view.fetch_listed(project)
    html = (await view.get(f"/simple/{project}/", {"Accept": "text/html"})).body.decode()
    assert (f'href="../..{path}#' in html) == shown
    answers = [
        await view.get(path),
        await view.head(path),
        await view.get(path, {"Range": "bytes=0-9"}),
        await view.get(f"{path}.metadata"),
        await view.get(listed.provenance_path),
    ]
    if shown:
        expected = [200, 200, 206, 200, 200 if listed.provenance else 404]
        assert [answer.status for answer in answers] == expected
        assert answers[0].body == listed.built.content
    else:
        assert {answer.status for answer in answers} == {403}
    return shown
