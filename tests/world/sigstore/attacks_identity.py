"""Attacks on the identity: names and claims in the certificate, and the index's publisher block."""

from __future__ import annotations

from typing import Any, Final

from cryptography import x509

from tests.world.sigstore.attacks import UNVERIFIABLE, Attack, attack_while_signing, set_claims, set_fields
from tests.world.sigstore.private_sigstore import CircleCI, GitHub, GitLab, Google, LeafPlan, Person
from tests.world.sigstore.signers import ActiveState


def _become_person(leaf: LeafPlan) -> None:
    leaf.claims, leaf.names = dict(Person().claims()), [Person().name()]


def _drop_pipeline(leaf: LeafPlan) -> None:
    leaf.claims[9], leaf.names = "https://circleci.com/x", [x509.UniformResourceIdentifier("https://circleci.com/x")]


_GITHUB: Final = GitHub()
_REPOSITORY: Final = "https://github.com/acme/widget"
_SELF_MANAGED: Final = GitLab(issuer="https://gitlab.acme.example", server="https://gitlab.com")
_REQUIRED: Final = GitHub(required_by="acme/policies")
_URI: Final = x509.UniformResourceIdentifier

SUBJECT_NAME_ATTACKS: Final = (
    attack_while_signing("no name", "subject alternative name", "0 names", leaf=set_fields(names=[])),
    attack_while_signing(
        "two names",
        "subject alternative name",
        "2 names",
        leaf=lambda leaf: leaf.names.append(_URI("https://x.example")),
    ),
    attack_while_signing(
        "a name of a machine", UNVERIFIABLE, "DNSName", leaf=set_fields(names=[x509.DNSName("acme.example")])
    ),
    attack_while_signing(
        "a name unrelated to the claims",
        "subject alternative name",
        "evil",
        leaf=set_fields(names=[_URI("https://github.com/evil/evil/.github/workflows/x.yml@refs/heads/main")]),
    ),
    attack_while_signing(
        "a name that is encoded twice",
        "subject alternative name",
        "%2520",
        signer=GitHub(workflow="Publish to PyPI.yml"),
        leaf=set_fields(names=[_URI(f"{_REPOSITORY}/.github/workflows/Publish%2520to%2520PyPI.yml@refs/tags/v1.0")]),
    ),
    attack_while_signing(
        "a name with a plus sign for a blank",
        "subject alternative name",
        "Publish+to",
        signer=GitHub(workflow="Publish to PyPI.yml"),
        leaf=set_fields(names=[_URI(f"{_REPOSITORY}/.github/workflows/Publish+to+PyPI.yml@refs/tags/v1.0")]),
    ),
    attack_while_signing(
        "GitLab: a name unrelated to the claims",
        "subject alternative name",
        "evil",
        signer=GitLab(),
        leaf=set_fields(names=[_URI("https://gitlab.com/evil/evil//x.yml@refs/heads/main")]),
    ),
    attack_while_signing(
        "CircleCI: a name unrelated to the claims",
        "subject alternative name",
        "evil",
        signer=CircleCI(),
        leaf=set_fields(names=[_URI("https://circleci.com/evil")]),
    ),
    attack_while_signing(
        "Google: an address of a page",
        "subject alternative name",
        "https://x.example",
        signer=Google(),
        leaf=set_fields(names=[_URI("https://x.example")]),
    ),
)


def _attack_claims(
    name: str, because: str, changes: dict[int, str | bytes | None], step: str = "certificate claims", **more: Any
) -> Attack:
    return attack_while_signing(name, step, because, leaf=set_claims(changes), **more)


CLAIM_ATTACKS: Final = (
    _attack_claims("no Build Config URI", "Build Config URI", {18: None}),
    _attack_claims("no Build Signer URI", "Build Signer URI", {9: None}),
    _attack_claims("no Source Repository URI", "Source Repository URI", {12: None}),
    _attack_claims("neither ref nor commit", "at most one of them", {3: None, 6: None, 13: None, 14: None}),
    _attack_claims("no issuer", "OIDC issuer", {1: None, 8: None}, step="issuer"),
    _attack_claims("two issuers", "https://evil.example", {1: "https://evil.example"}),
    _attack_claims("a repository on another server", "https://github.com", {12: "https://evil.example/acme/widget"}),
    _attack_claims("a repository without a name", "owner/name", {12: "https://github.com/acme"}),
    _attack_claims("a repository with a group", "owner/name", {12: f"{_REPOSITORY}/more"}),
    _attack_claims("an older claim names another repository", "evil/widget", {5: "evil/widget"}),
    _attack_claims("an older claim names another commit", "0" * 40, {3: "0" * 40}),
    _attack_claims("an older claim names another ref", "refs/heads/evil", {6: "refs/heads/evil"}),
    _attack_claims("an older claim names another trigger", "schedule", {2: "schedule"}),
    _attack_claims("another owner", "https://github.com/evil", {16: "https://github.com/evil"}),
    _attack_claims(
        "a workflow of another repository",
        "github.com/evil",
        {18: "https://github.com/evil/widget/.github/workflows/release.yml@refs/tags/v1.0"},
    ),
    _attack_claims(
        "a workflow at another ref",
        "refs/heads/evil",
        {18: f"{_REPOSITORY}/.github/workflows/release.yml@refs/heads/evil"},
    ),
    _attack_claims(
        "a required workflow of another owner",
        "github.com/evil",
        {18: "https://github.com/evil/policies/.github/workflows/release.yml@refs/heads/main"},
        signer=_REQUIRED,
    ),
    _attack_claims(
        "a required workflow on another server",
        "evil.example",
        {18: "https://evil.example/acme/policies/.github/workflows/release.yml@refs/heads/main"},
        signer=_REQUIRED,
    ),
    _attack_claims(
        "a required workflow outside the workflows",
        "scripts/release.yml",
        {18: "https://github.com/acme/policies/scripts/release.yml@refs/heads/main"},
        signer=_REQUIRED,
    ),
    _attack_claims(
        "a required workflow without a ref",
        "policies/.github",
        {18: "https://github.com/acme/policies/.github/workflows/release.yml"},
        signer=_REQUIRED,
    ),
    _attack_claims(
        "a required workflow at no ref",
        "@main",
        {18: "https://github.com/acme/policies/.github/workflows/release.yml@main"},
        signer=_REQUIRED,
    ),
    _attack_claims(
        "a workflow outside the workflows",
        "scripts/release.yml",
        {18: f"{_REPOSITORY}/scripts/release.yml@refs/tags/v1.0"},
    ),
    _attack_claims(
        "a workflow in a folder",
        "workflows/a/release.yml",
        {18: f"{_REPOSITORY}/.github/workflows/a/release.yml@refs/tags/v1.0"},
    ),
    _attack_claims(
        "a workflow without a name", "workflows/@", {18: f"{_REPOSITORY}/.github/workflows/@refs/tags/v1.0"}
    ),
    _attack_claims("a claim in raw text", "as text", {12: _REPOSITORY.encode()}),
    _attack_claims("a claim with a byte too many", "as text", {14: b"\x0c\x01a" + b"b"}),
    _attack_claims("a claim that is cut", "as text", {14: b"\x0c\x09a"}),
    _attack_claims("a claim in a length too long", "as text", {14: b"\x0c\x81\x01a"}),
    _attack_claims("a claim in Latin-1", "as text", {14: b"\x0c\x01\xe9"}),
    _attack_claims("a claim that is empty DER", "as text", {14: b""}),
    _attack_claims(
        "an environment that the token's subject contradicts",
        "environment",
        {23: "production"},
        signer=GitHub(environment="pypi"),
    ),
    _attack_claims(
        "an environment with a look-alike letter",
        "environment",
        {23: "\u212aubernetes"},
        signer=GitHub(environment="kubernetes"),
    ),
    _attack_claims(
        "an environment that is encoded in the token's subject",
        "environment",
        {24: "repo:acme/widget:environment:a%2541b"},
        signer=GitHub(environment="a%41b"),
    ),
    _attack_claims(
        "an environment that only decoding makes equal",
        "environment",
        {23: "aAb"},
        signer=GitHub(environment="a%41b"),
    ),
    _attack_claims(
        "GitLab: an environment in another case than in the token's subject",
        "environment",
        {24: "project_path:acme/tools/widget:environment:Production"},
        signer=GitLab(environment="production", proves_environment=True),
    ),
    _attack_claims(
        "GitLab, self-managed: a pipeline on another server",
        "https://gitlab.acme.example/acme/tools/widget",
        {18: "https://gitlab.com/acme/tools/widget//.gitlab-ci.yml@refs/heads/main"},
        signer=_SELF_MANAGED,
    ),
    _attack_claims(
        "GitLab, self-managed: a pipeline of another project",
        "no Trusted Publisher",
        {18: "https://gitlab.acme.example/evil/widget//.gitlab-ci.yml@refs/heads/main"},
        step="publisher kind",
        signer=_SELF_MANAGED,
    ),
    _attack_claims(
        "GitLab, self-managed: a project on a third server",
        "https://gitlab.com or https://gitlab.acme.example",
        {12: "https://evil.example/acme/tools/widget"},
        signer=_SELF_MANAGED,
    ),
    _attack_claims(
        "GitLab: a pipeline on a self-managed server",
        "gitlab.acme.example",
        {18: "https://gitlab.acme.example/acme/tools/widget//.gitlab-ci.yml@refs/heads/main"},
        signer=GitLab(),
    ),
    _attack_claims("GitLab: no commit", "Source Repository Digest", {13: None}, signer=GitLab()),
    _attack_claims(
        "GitLab: a pipeline of another project",
        "evil",
        {18: "https://gitlab.com/evil/widget//.gitlab-ci.yml@refs/heads/main"},
        signer=GitLab(),
    ),
    _attack_claims(
        "GitLab: a project on another server",
        "https://gitlab.com",
        {12: "https://evil.example/acme/tools/widget"},
        signer=GitLab(),
    ),
    _attack_claims("Google: no issuer in the first encoding", "Issuer", {1: None}, signer=Google()),
    _attack_claims("CircleCI: no Build Signer URI", "Build Signer URI", {9: None}, signer=CircleCI()),
    attack_while_signing(
        "CircleCI: no pipeline definition",
        "certificate claims",
        "pipeline definition",
        signer=CircleCI(),
        leaf=_drop_pipeline,
    ),
)


def _attack_publisher(name: str, step: str, because: str, signer: Any, **changes: object) -> Attack:
    return attack_while_signing(name, step, because, signer=signer, publisher={**signer.publisher(), **changes})


_WITH_ENVIRONMENT: Final = GitHub(environment="pypi")
_WITH_REUSABLE_WORKFLOW: Final = GitHub(builder="acme/widget/.github/workflows/build.yml@refs/tags/v1.0")
PUBLISHER_ATTACKS: Final = (
    _attack_publisher(
        "the index names another repository", "publisher repository", "evil/widget", _GITHUB, repository="evil/widget"
    ),
    _attack_publisher(
        "the index spells the repository with a look-alike letter",
        "publisher repository",
        "\u212aeys",
        GitHub(repository="acme/keys"),
        repository="acme/\u212aeys",
    ),
    _attack_publisher(
        "the index spells the workflow in capitals",
        "publisher workflow",
        "RELEASE.yml",
        _GITHUB,
        workflow="RELEASE.yml",
    ),
    _attack_publisher(
        "the index names another workflow than the required one",
        "publisher workflow",
        "evil.yml",
        _REQUIRED,
        workflow="evil.yml",
    ),
    _attack_publisher(
        "GitLab: the index spells the environment in capitals",
        "publisher environment",
        "PRODUCTION",
        GitLab(environment="production", proves_environment=True),
        environment="PRODUCTION",
    ),
    _attack_publisher(
        "Google: the index names another person",
        "publisher email",
        "evil@gmail.com",
        Google(email="jane@gmail.com"),
        email="evil@gmail.com",
    ),
    _attack_publisher(
        "the index names another workflow", "publisher workflow", "evil.yml", _GITHUB, workflow="evil.yml"
    ),
    _attack_publisher(
        "the index names the reused workflow",
        "publisher workflow",
        "build.yml",
        _WITH_REUSABLE_WORKFLOW,
        workflow="build.yml",
    ),
    _attack_publisher(
        "the index names another environment",
        "publisher environment",
        "staging",
        _WITH_ENVIRONMENT,
        environment="staging",
    ),
    _attack_publisher(
        "the index names an environment where the token had none",
        "publisher environment",
        "no environment",
        _GITHUB,
        environment="pypi",
    ),
    _attack_publisher(
        "the index calls GitHub GitLab",
        "publisher kind",
        "kind GitLab",
        _GITHUB,
        kind="GitLab",
        workflow_filepath="release.yml",
    ),
    _attack_publisher(
        "the index calls GitHub Google", "publisher kind", "kind Google", _GITHUB, kind="Google", email="a@example.org"
    ),
    attack_while_signing(
        "the index passes a person off as GitHub",
        "publisher kind",
        "jku@example.org",
        leaf=_become_person,
    ),
    _attack_publisher(
        "GitLab: the index names another project", "publisher repository", "evil", GitLab(), repository="evil/widget"
    ),
    _attack_publisher(
        "GitLab: the index names another file",
        "publisher workflow_filepath",
        "evil.yml",
        GitLab(),
        workflow_filepath="evil.yml",
    ),
    _attack_publisher(
        "Google: the index names another account",
        "publisher email",
        "evil@",
        Google(),
        email="evil@acme.iam.gserviceaccount.com",
    ),
    _attack_publisher(
        "ActiveState: the index names another organization",
        "publisher organization",
        "evil",
        ActiveState(),
        organization="evil",
    ),
    _attack_publisher(
        "ActiveState: the index names another project", "publisher project", "gadget", ActiveState(), project="gadget"
    ),
    _attack_publisher(
        "CircleCI: the index names another project", "publisher project_id", "0000", CircleCI(), project_id="0000"
    ),
    _attack_publisher(
        "CircleCI: the index names another pipeline",
        "publisher pipeline_definition_id",
        "0000",
        CircleCI(),
        pipeline_definition_id="0000",
    ),
    _attack_publisher(
        "CircleCI: the index names another origin",
        "publisher vcs_origin",
        "evil",
        CircleCI(),
        vcs_origin="github.com/evil/widget",
    ),
    _attack_publisher(
        "CircleCI: the index names another ref",
        "publisher vcs_ref",
        "refs/heads/evil",
        CircleCI(),
        vcs_ref="refs/heads/evil",
    ),
    _attack_publisher(
        "CircleCI: the index names an origin where there was none",
        "publisher vcs_origin",
        "no value",
        CircleCI(vcs_origin=None),
        vcs_origin="github.com/acme/widget",
    ),
    *(
        _attack_publisher(
            f"{signer.publisher()['kind']}: the index says that the {field} is empty",
            f"publisher {field}",
            "an empty text",
            signer,
            **{field: ""},
        )
        for signer, fields in (
            (_GITHUB, ("repository", "workflow")),
            (GitLab(), ("repository", "workflow_filepath")),
            (Google(), ("email",)),
            (CircleCI(), ("project_id", "pipeline_definition_id", "vcs_origin", "vcs_ref")),
        )
        for field in fields
    ),
    *(
        _attack_publisher(
            f"CircleCI: the index says that the {field} is empty where there was none",
            f"publisher {field}",
            "no value",
            CircleCI(vcs_origin=None, vcs_ref=None),
            **{field: ""},
        )
        for field in ("vcs_origin", "vcs_ref")
    ),
    _attack_publisher(
        "the index names a publisher of a new kind", UNVERIFIABLE, "publisher kind Gitea", _GITHUB, kind="Gitea"
    ),
    _attack_publisher("the index leaves the repository out", "publisher", "repository", _GITHUB, repository=None),
    _attack_publisher("the index gives the workflow as a list", "publisher", "list", _GITHUB, workflow=["release.yml"]),
    _attack_publisher("the index gives the environment as a number", "publisher", "int", _GITHUB, environment=1),
    _attack_publisher("the index gives the kind as a number", "publisher", "kind", _GITHUB, kind=1),
)
