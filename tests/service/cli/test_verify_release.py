"""Command verify with the example policy for Assay's own releases, over a wheel that is built from this repository."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest

from assay.cli import run
from tests.deploy.repository import copy_repository
from tests.paths import ROOT
from tests.project.test_version import VERSION
from tests.project.test_wheel import build
from tests.world.index.distributions import wheel as make_wheel
from tests.world.proxy.cli_sandbox import write_configuration
from tests.world.sigstore.private_sigstore import SLSA_PREDICATE, GitHub, GitLab, PrivateSigstore, Signer
from tests.world.sigstore.private_sigstore import make_slsa_predicate as make_slsa

POLICY = ROOT / "config" / "examples" / "policy-assay.toml"
REPOSITORY = tomllib.loads(POLICY.read_text("utf-8"))["rules"][0]["publishers"][0]["repository"]
RELEASE = GitHub(
    repository=REPOSITORY,
    workflow="release.yml",
    environment="pypi",
    ref=f"refs/tags/v{VERSION}",
    trigger="push",
)
"""The release workflow, started by a version tag."""
FOREIGN: dict[str, Signer] = {
    "another repository": replace(RELEASE, repository="mallory/assay"),
    "another repository of the owner": replace(RELEASE, repository=f"{REPOSITORY}-fork"),
    "another workflow": replace(RELEASE, workflow="ci.yml"),
    "no environment": replace(RELEASE, environment=None),
    "another environment": replace(RELEASE, environment="testpypi"),
    "a branch": replace(RELEASE, ref="refs/heads/main"),
    "another tag": replace(RELEASE, ref="refs/tags/nightly"),
    "started by hand": replace(RELEASE, trigger="workflow_dispatch"),
    "a self-hosted runner": replace(RELEASE, runner="self-hosted"),
    "another server": replace(RELEASE, issuer="https://ghes.example/_services/token", server="https://ghes.example"),
    "GitLab": GitLab(repository=REPOSITORY, environment="pypi", ref=f"refs/tags/v{VERSION}"),
}


@dataclass
class Download:
    """A wheel beside its provenance document, and a configuration that trusts the private Sigstore."""

    directory: Path
    wheel: Path
    sigstore: PrivateSigstore
    capsys: pytest.CaptureFixture[str]

    def verify(self, document: bytes) -> tuple[int, str]:
        """Write the document, run `assay verify` with the policy, and return status and standard output."""
        provenance = self.directory / "provenance.json"
        provenance.write_bytes(document)
        arguments = ["--provenance", provenance, "--policy", POLICY, "--config", self.directory / "proxy.toml"]
        return run(["verify", str(self.wheel), *map(str, arguments)]), self.capsys.readouterr().out

    def sign(self, signer: Signer) -> bytes:
        return self.sigstore.provenance(self.wheel.name, digest(self.wheel), signer)


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("release")
    return build("build_wheel", copy_repository(work / "source"), work / "dist")


@pytest.fixture
def download(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Download:
    sigstore = PrivateSigstore(seed=28)
    write_configuration(tmp_path, "https://index.example/simple/", "index.example", sigstore)
    wheel = tmp_path / built.name
    wheel.write_bytes(built.read_bytes())
    return Download(tmp_path, wheel, sigstore, capsys)


def test_a_wheel_that_the_release_workflow_signed_is_approved(download: Download) -> None:
    status, shown = download.verify(download.sign(RELEASE))
    assert status == 0, shown
    assert "approved by rule Assay is released by its own workflow" in shown
    assert download.wheel.name == f"assay_proxy-{VERSION}-py3-none-any.whl"


@pytest.mark.parametrize("signer", FOREIGN.values(), ids=FOREIGN.keys())
def test_the_same_wheel_signed_by_another_identity_is_withheld(download: Download, signer: Signer) -> None:
    status, shown = download.verify(download.sign(signer))
    assert status == 1
    assert f"{download.wheel.name}: attested" in shown
    assert "withheld: [publisher]" in shown


def test_other_bytes_under_the_same_name_are_withheld(download: Download) -> None:
    document = download.sign(RELEASE)
    download.wheel.write_bytes(download.wheel.read_bytes() + b"\0")
    status, shown = download.verify(document)
    assert status == 1
    assert "FORGED" in shown


def test_an_attestation_that_is_not_of_the_upload_is_not_enough(download: Download) -> None:
    document = download.sigstore.provenance(
        download.wheel.name,
        digest(download.wheel),
        RELEASE,
        predicate_type=SLSA_PREDICATE,
        predicate=make_slsa(RELEASE),
    )
    status, shown = download.verify(document)
    assert (status, "withheld: [predicate]" in shown) == (1, True), shown


def test_another_project_of_the_same_workflow_is_withheld(download: Download) -> None:
    other = make_wheel("widget", "1.0")
    download.wheel = download.directory / other.filename
    download.wheel.write_bytes(other.content)
    status, shown = download.verify(download.sign(RELEASE))
    assert status == 1
    assert "attested" in shown
    assert "withheld: [no-rule]" in shown
