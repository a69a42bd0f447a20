"""Tests of internal packages with internal provenance: the trust root of an index vouches for its issuers only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import RunningProxy, make_configuration, run_test_proxy
from tests.world.sigstore.private_sigstore import GitHub, GitLab, PrivateSigstore, Signer

GITLAB = "https://gitlab.acme.example"
OURS = GitLab(repository="platform/core/acme-core", issuer=GITLAB)
POLICY = f"""
version = 1
[[rules]]
name = "our names come from our index, signed by our pipelines"
projects = ["acme", "acme-*"]
indexes = ["internal"]
trust = ["acme"]
publishers = [
  {{ kind = "GitLab", issuer = "{GITLAB}", repository = "platform/**", workflow_filepath = ".gitlab-ci.yml" }},
]
[[rules]]
name = "signed on GitHub"
projects = ["*"]
publishers = [{{ kind = "GitHub", repository = "acme/*" }}]
"""


@dataclass(frozen=True)
class Company:
    """Two indexes, each with the Sigstore instance that its provenance comes from."""

    internal: Index
    public: Index
    own: PrivateSigstore
    everybodys: PrivateSigstore
    proxy: RunningProxy

    def publish(self, index: Index, project: str, sigstore: PrivateSigstore, signer: Signer) -> str:
        """Publish a wheel with provenance and return its filename."""
        built = wheel(project, "1.0")
        document = sigstore.provenance(built.filename, built.sha256, signer)
        index.add(built, upload_time="2026-06-01T12:00:05Z", provenance=document)
        return built.filename


@asynccontextmanager
async def company(tmp_path: Path, *, patterns: tuple[str, ...] = ("acme", "acme-*")) -> AsyncIterator[Company]:
    """Run a proxy whose internal index trusts the company's own Sigstore, for the company's GitLab only."""
    own, everybodys = PrivateSigstore(seed=7, host="sigstore.acme.example"), PrivateSigstore(seed=1)
    (tmp_path / "own.json").write_bytes(own.trusted_root())
    (tmp_path / "everybodys.json").write_bytes(everybodys.trusted_root())
    async with Index() as internal, Index() as public:
        indexes: list[dict[str, Any]] = [
            {"name": "internal", "url": internal.url, "projects": list(patterns), "trust": "acme"},
            {"name": "public", "url": public.url},
        ]
        trust = {
            "root": str(tmp_path / "everybodys.json"),
            "refresh": False,
            "roots": {"acme": {"path": str(tmp_path / "own.json"), "issuers": [GITLAB]}},
        }
        configuration = make_configuration(public, tmp_path / "assay", indexes=indexes, trust=trust)
        async with run_test_proxy(public, tmp_path, policy=POLICY, configuration=configuration) as proxy:
            yield Company(internal, public, own, everybodys, proxy)


async def test_an_internal_package_is_approved_by_its_own_root(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        filename = there.publish(there.internal, "acme-core", there.own, OURS)
        assert await there.proxy.fetch_listed("acme-core") == {filename}


async def test_a_public_package_beside_it_is_approved_by_the_public_root(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        filename = there.publish(there.public, "widget", there.everybodys, GitHub(repository="acme/widget"))
        assert await there.proxy.fetch_listed("widget") == {filename}


@pytest.mark.parametrize("signer", [GitHub(repository="acme/widget"), GitHub(repository="platform/core")])
async def test_the_companys_root_does_not_speak_for_github(tmp_path: Path, signer: Signer) -> None:
    async with company(tmp_path, patterns=("acme-*", "widget")) as there:
        filename = there.publish(there.internal, "widget", there.own, signer)
        assert await there.proxy.fetch_listed("widget") == set()
        assert await there.proxy.fetch_withheld("widget") == {filename: ["forged"]}


async def test_nor_for_another_gitlab(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        there.publish(there.internal, "acme-core", there.own, GitLab(repository="platform/core"))
        assert await there.proxy.fetch_listed("acme-core") == set()


async def test_the_companys_root_counts_for_nothing_on_the_public_index(tmp_path: Path) -> None:
    async with company(tmp_path, patterns=("other",)) as there:
        there.publish(there.public, "acme-core", there.own, OURS)
        there.publish(there.public, "widget", there.own, GitHub(repository="acme/widget"))
        assert await there.proxy.fetch_listed("acme-core") == set()
        assert await there.proxy.fetch_listed("widget") == set()


async def test_the_public_root_counts_for_nothing_on_the_internal_index(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        there.publish(there.internal, "acme-core", there.everybodys, OURS)
        assert await there.proxy.fetch_listed("acme-core") == set()


async def test_another_group_of_the_same_gitlab_does_not_publish_for_us(tmp_path: Path) -> None:
    async with company(tmp_path) as there:
        theirs = GitLab(repository="sandbox/acme-core", issuer=GITLAB)
        filename = there.publish(there.internal, "acme-core", there.own, theirs)
        assert await there.proxy.fetch_withheld("acme-core") == {filename: ["publisher"]}
