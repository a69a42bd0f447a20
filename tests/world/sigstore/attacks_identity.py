"""Attacks on the identity: names and claims in the certificate, and what the index says of them."""

from __future__ import annotations

from typing import Any, Final

from cryptography import x509

from tests.world.sigstore.attacks import UNVERIFIABLE, Attack, claims, put, signed
from tests.world.sigstore.private_sigstore import CircleCI, GitHub, GitLab, Google, Leaf, Person


def _a_person(leaf: Leaf) -> None:
    leaf.claims, leaf.names = dict(Person().claims()), [Person().name()]


def _no_pipeline(leaf: Leaf) -> None:
    leaf.claims[9], leaf.names = "https://circleci.com/x", [x509.UniformResourceIdentifier("https://circleci.com/x")]


_GITHUB: Final = GitHub()
_URI: Final = x509.UniformResourceIdentifier

NAMES: Final = (
    signed("no name", "subject alternative name", "0 names", leaf=put(names=[])),
    signed(
        "two names",
        "subject alternative name",
        "2 names",
        leaf=lambda leaf: leaf.names.append(_URI("https://x.example")),
    ),
    signed("a name of a machine", UNVERIFIABLE, "DNSName", leaf=put(names=[x509.DNSName("acme.example")])),
    signed(
        "a name unrelated to the claims",
        "subject alternative name",
        "evil",
        leaf=put(names=[_URI("https://github.com/evil/evil/.github/workflows/x.yml@refs/heads/main")]),
    ),
    signed(
        "GitLab: a name unrelated to the claims",
        "subject alternative name",
        "evil",
        signer=GitLab(),
        leaf=put(names=[_URI("https://gitlab.com/evil/evil//x.yml@refs/heads/main")]),
    ),
    signed(
        "CircleCI: a name unrelated to the claims",
        "subject alternative name",
        "evil",
        signer=CircleCI(),
        leaf=put(names=[_URI("https://circleci.com/evil")]),
    ),
    signed(
        "Google: an address of a page",
        "subject alternative name",
        "https://x.example",
        signer=Google(),
        leaf=put(names=[_URI("https://x.example")]),
    ),
)


def _claim(
    name: str, because: str, changes: dict[int, str | bytes | None], step: str = "certificate claims", **more: Any
) -> Attack:
    return signed(name, step, because, leaf=claims(changes), **more)


_REPOSITORY: Final = "https://github.com/acme/widget"
CLAIMS: Final = (
    _claim("no Build Config URI", "Build Config URI", {18: None}),
    _claim("no Build Signer URI", "Build Signer URI", {9: None}),
    _claim("no Source Repository URI", "Source Repository URI", {12: None}),
    _claim("neither ref nor commit", "neither", {3: None, 6: None, 13: None, 14: None}),
    _claim("no issuer", "OIDC issuer", {1: None, 8: None}, step="issuer"),
    _claim("two issuers", "https://evil.example", {1: "https://evil.example"}),
    _claim("a repository on another server", "https://github.com", {12: "https://evil.example/acme/widget"}),
    _claim("a repository without a name", "owner/name", {12: "https://github.com/acme"}),
    _claim("a repository with a group", "owner/name", {12: f"{_REPOSITORY}/more"}),
    _claim("an older claim names another repository", "evil/widget", {5: "evil/widget"}),
    _claim("an older claim names another commit", "0" * 40, {3: "0" * 40}),
    _claim("an older claim names another ref", "refs/heads/evil", {6: "refs/heads/evil"}),
    _claim("an older claim names another trigger", "schedule", {2: "schedule"}),
    _claim("another owner", "https://github.com/evil", {16: "https://github.com/evil"}),
    _claim(
        "a workflow of another repository",
        "github.com/evil",
        {18: "https://github.com/evil/widget/.github/workflows/release.yml@refs/tags/v1.0"},
    ),
    _claim(
        "a workflow at another ref",
        "refs/heads/evil",
        {18: f"{_REPOSITORY}/.github/workflows/release.yml@refs/heads/evil"},
    ),
    _claim(
        "a workflow outside the workflows",
        "scripts/release.yml",
        {18: f"{_REPOSITORY}/scripts/release.yml@refs/tags/v1.0"},
    ),
    _claim(
        "a workflow in a folder",
        "workflows/a/release.yml",
        {18: f"{_REPOSITORY}/.github/workflows/a/release.yml@refs/tags/v1.0"},
    ),
    _claim("a workflow without a name", "workflows/@", {18: f"{_REPOSITORY}/.github/workflows/@refs/tags/v1.0"}),
    _claim("a claim in raw text", "as text", {12: _REPOSITORY.encode()}),
    _claim("a claim with a byte too many", "as text", {14: b"\x0c\x01a" + b"b"}),
    _claim("a claim that is cut", "as text", {14: b"\x0c\x09a"}),
    _claim("a claim in a length too long", "as text", {14: b"\x0c\x81\x01a"}),
    _claim("a claim in Latin-1", "as text", {14: b"\x0c\x01\xe9"}),
    _claim("a claim that is empty DER", "as text", {14: b""}),
    _claim(
        "an environment that the token's subject contradicts",
        "environment",
        {23: "production"},
        signer=GitHub(environment="pypi"),
    ),
    _claim("GitLab: no commit", "Source Repository Digest", {13: None}, signer=GitLab()),
    _claim(
        "GitLab: a pipeline of another project",
        "evil",
        {18: "https://gitlab.com/evil/widget//.gitlab-ci.yml@refs/heads/main"},
        signer=GitLab(),
    ),
    _claim(
        "GitLab: a project on another server",
        "https://gitlab.com",
        {12: "https://evil.example/acme/tools/widget"},
        signer=GitLab(),
    ),
    _claim("Google: no issuer in the first encoding", "Issuer", {1: None}, signer=Google()),
    _claim("CircleCI: no Build Signer URI", "Build Signer URI", {9: None}, signer=CircleCI()),
    signed(
        "CircleCI: no pipeline definition",
        "certificate claims",
        "pipeline definition",
        signer=CircleCI(),
        leaf=_no_pipeline,
    ),
)


def _said(name: str, step: str, because: str, signer: Any, **changes: object) -> Attack:
    return signed(name, step, because, signer=signer, publisher={**signer.publisher(), **changes})


_PROVEN: Final = GitHub(environment="pypi")
_REUSED: Final = GitHub(builder="acme/widget/.github/workflows/build.yml@refs/tags/v1.0")
PUBLISHER: Final = (
    _said(
        "the index names another repository", "publisher repository", "evil/widget", _GITHUB, repository="evil/widget"
    ),
    _said(
        "the index spells the repository in capitals",
        "publisher repository",
        "ACME/widget",
        _GITHUB,
        repository="ACME/widget",
    ),
    _said("the index names another workflow", "publisher workflow", "evil.yml", _GITHUB, workflow="evil.yml"),
    _said("the index names the reused workflow", "publisher workflow", "build.yml", _REUSED, workflow="build.yml"),
    _said("the index names another environment", "publisher environment", "staging", _PROVEN, environment="staging"),
    _said(
        "the index names an environment where the token had none",
        "publisher environment",
        "no environment",
        _GITHUB,
        environment="pypi",
    ),
    _said(
        "the index calls GitHub GitLab",
        "publisher kind",
        "kind GitLab",
        _GITHUB,
        kind="GitLab",
        workflow_filepath="release.yml",
    ),
    _said(
        "the index calls GitHub Google", "publisher kind", "kind Google", _GITHUB, kind="Google", email="a@example.org"
    ),
    signed(
        "the index passes a person off as GitHub",
        "publisher kind",
        "jku@example.org",
        leaf=_a_person,
    ),
    _said(
        "GitLab: the index names another project", "publisher repository", "evil", GitLab(), repository="evil/widget"
    ),
    _said(
        "GitLab: the index names another file",
        "publisher workflow_filepath",
        "evil.yml",
        GitLab(),
        workflow_filepath="evil.yml",
    ),
    _said(
        "Google: the index names another account",
        "publisher email",
        "evil@",
        Google(),
        email="evil@acme.iam.gserviceaccount.com",
    ),
    _said("CircleCI: the index names another project", "publisher project_id", "0000", CircleCI(), project_id="0000"),
    _said(
        "CircleCI: the index names another pipeline",
        "publisher pipeline_definition_id",
        "0000",
        CircleCI(),
        pipeline_definition_id="0000",
    ),
    _said(
        "CircleCI: the index names another origin",
        "publisher vcs_origin",
        "evil",
        CircleCI(),
        vcs_origin="github.com/evil/widget",
    ),
    _said(
        "CircleCI: the index names another ref",
        "publisher vcs_ref",
        "refs/heads/evil",
        CircleCI(),
        vcs_ref="refs/heads/evil",
    ),
    _said(
        "CircleCI: the index names an origin where there was none",
        "publisher vcs_origin",
        "None",
        CircleCI(vcs_origin=None),
        vcs_origin="github.com/acme/widget",
    ),
    _said("the index names a publisher of a new kind", UNVERIFIABLE, "publisher kind Gitea", _GITHUB, kind="Gitea"),
    _said("the index leaves the repository out", "publisher", "repository", _GITHUB, repository=None),
    _said("the index gives the workflow as a list", "publisher", "list", _GITHUB, workflow=["release.yml"]),
    _said("the index gives the environment as a number", "publisher", "int", _GITHUB, environment=1),
    _said("the index gives the kind as a number", "publisher", "kind", _GITHUB, kind=1),
)
