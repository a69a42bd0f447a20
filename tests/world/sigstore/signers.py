"""Signers of the private Sigstore: the claims in the certificate of each kind, and its publisher block.

The shapes follow real certificates (tests/corpus) and Fulcio's documentation of its OIDs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from cryptography import x509


class Signer(Protocol):
    """Identity that a certificate can be issued to."""

    def claims(self) -> dict[int, str]:
        """Return Fulcio's extensions by the last arc of their OID."""

    def name(self) -> x509.GeneralName:
        """Return the Subject Alternative Name."""

    def publisher(self) -> dict[str, Any]:
        """Return the publisher block of an honest index."""


def _derive_number(text: str) -> str:
    return str(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"))


def _derive_commit(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _make_uri_name(uri: str) -> x509.GeneralName:
    """Return a Subject Alternative Name as Fulcio writes it: with the characters encoded that no URI contains."""
    return x509.UniformResourceIdentifier(quote(uri, safe="/:@&=+$,;#~"))


@dataclass(frozen=True, kw_only=True)
class GitHub:
    """A GitHub Actions workflow."""

    repository: str = "acme/widget"
    workflow: str = "release.yml"
    ref: str = "refs/tags/v1.0"
    environment: str | None = None
    proves_environment: bool = True
    """False for a certificate older than the claims .23 and .24."""
    trigger: str = "release"
    runner: str = "github-hosted"
    visibility: str = "public"
    repository_id: str = ""
    owner_id: str = ""
    builder: str = ""
    """Path of a reusable workflow with its repository, ``acme/ci/.github/workflows/build.yml@refs/heads/main``."""
    issuer: str = "https://token.actions.githubusercontent.com"
    server: str = "https://github.com"
    required_by: str = field(default="", repr=False)  # not in the seed of keys, which were recorded before it existed
    """Other repository, whose workflow the owner requires at ``refs/heads/main``; empty: a workflow of `repository`."""

    @property
    def path(self) -> str:
        """Path of the workflow in its repository."""
        return f".github/workflows/{self.workflow}"

    @property
    def digest(self) -> str:
        """The commit."""
        return _derive_commit(f"{self.repository} {self.ref}")

    @property
    def config(self) -> str:
        """Build Config URI."""
        ref = "refs/heads/main" if self.required_by else self.ref
        return f"{self.server}/{self.required_by or self.repository}/{self.path}@{ref}"

    @property
    def builder_uri(self) -> str:
        """Build Signer URI."""
        return f"{self.server}/{self.builder}" if self.builder else self.config

    def claims(self) -> dict[int, str]:
        owner = self.repository.split("/")[0]
        repository = f"{self.server}/{self.repository}"
        claims = {
            1: self.issuer,
            2: self.trigger,
            3: self.digest,
            4: "release",
            5: self.repository,
            6: self.ref,
            8: self.issuer,
            9: self.builder_uri,
            10: self.digest,
            11: self.runner,
            12: repository,
            13: self.digest,
            14: self.ref,
            15: self.repository_id or _derive_number(self.repository),
            16: f"{self.server}/{owner}",
            17: self.owner_id or _derive_number(owner),
            18: self.config,
            19: self.digest,
            20: self.trigger,
            21: f"{repository}/actions/runs/{_derive_number(self.ref)}/attempts/1",
            22: self.visibility,
        }
        if self.proves_environment:
            if self.environment:
                claims[23] = self.environment
            context = f"environment:{self.environment.replace(':', '%3A')}" if self.environment else f"ref:{self.ref}"
            claims[24] = f"repo:{self.repository}:{context}"
        return claims

    def name(self) -> x509.GeneralName:
        return _make_uri_name(self.builder_uri)

    def publisher(self) -> dict[str, Any]:
        return {
            "kind": "GitHub",
            "repository": self.repository,
            "workflow": self.workflow,
            "environment": self.environment,
        }


@dataclass(frozen=True, kw_only=True)
class GitLab:
    """A GitLab CI job."""

    repository: str = "acme/tools/widget"
    workflow_filepath: str = ".gitlab-ci.yml"
    ref: str = "refs/heads/main"
    environment: str | None = None
    proves_environment: bool = field(default=False, repr=False)
    """False for a certificate without the claim .23."""
    runner: str = "gitlab-hosted"
    trigger: str = "push"
    visibility: str = "private"
    issuer: str = "https://gitlab.com"
    server: str = ""
    """Server in all URIs but those of the pipeline's configuration; empty: the issuer. Fulcio's template has gitlab.com
    there for every server."""

    @property
    def digest(self) -> str:
        """The commit."""
        return _derive_commit(f"{self.repository} {self.ref}")

    @property
    def config(self) -> str:
        """Build Config URI."""
        return f"{self.issuer}/{self.repository}//{self.workflow_filepath}@{self.ref}"

    def claims(self) -> dict[int, str]:
        server = self.server or self.issuer
        owner = self.repository.rsplit("/", 1)[0]
        claims = {
            1: self.issuer,
            8: self.issuer,
            9: self.config,
            10: self.digest,
            11: self.runner,
            12: f"{server}/{self.repository}",
            13: self.digest,
            14: self.ref,
            15: _derive_number(self.repository),
            16: f"{server}/{owner}",
            17: _derive_number(owner),
            18: self.config,
            19: self.digest,
            20: self.trigger,
            21: f"{server}/{self.repository}/-/jobs/{_derive_number(self.ref)}",
            22: self.visibility,
        }
        if self.environment and self.proves_environment:
            claims[23] = self.environment
        return claims

    def name(self) -> x509.GeneralName:
        return _make_uri_name(self.config)

    def publisher(self) -> dict[str, Any]:
        return {
            "kind": "GitLab",
            "repository": self.repository,
            "workflow_filepath": self.workflow_filepath,
            "environment": self.environment,
        }


@dataclass(frozen=True, kw_only=True)
class Google:
    """A Google Cloud service account."""

    email: str = "builder@acme.iam.gserviceaccount.com"
    issuer: str = "https://accounts.google.com"

    def claims(self) -> dict[int, str]:
        return {1: self.issuer, 8: self.issuer}

    def name(self) -> x509.GeneralName:
        return x509.RFC822Name(self.email)

    def publisher(self) -> dict[str, Any]:
        return {"kind": "Google", "email": self.email}


@dataclass(frozen=True, kw_only=True)
class CircleCI:
    """A CircleCI pipeline."""

    project_id: str = "fdd9283f-e619-46af-8f9c-851f7d3e8b2b"
    pipeline_definition_id: str = "8e4f8ab2-8d7c-4827-9f15-de076d6d647f"
    vcs_origin: str | None = "github.com/acme/widget"
    vcs_ref: str | None = "refs/heads/main"
    issuer: str = "https://oidc.circleci.com"

    @property
    def builder_uri(self) -> str:
        """Build Signer URI."""
        return (
            f"https://circleci.com/api/v2/projects/{self.project_id}/pipeline-definitions/{self.pipeline_definition_id}"
        )

    def claims(self) -> dict[int, str]:
        claims = {
            1: self.issuer,
            8: self.issuer,
            9: self.builder_uri,
            # Real certificates contain two quotation marks here.
            11: '""',
            18: "https://circleci.com/api/v2/pipeline/f3f6eb86-f260-445b-b9c9-32a2cb5a3a61/config",
            21: "https://app.circleci.com//workflow/61718d02-ce24-4f1f-bc8e-aad538307302/job/1",
        }
        if self.vcs_origin is not None:
            claims[12] = self.vcs_origin
        if self.vcs_ref is not None:
            claims[14] = self.vcs_ref
        return claims

    def name(self) -> x509.GeneralName:
        return x509.UniformResourceIdentifier(self.builder_uri)

    def publisher(self) -> dict[str, Any]:
        return {
            "kind": "CircleCI",
            "project_id": self.project_id,
            "pipeline_definition_id": self.pipeline_definition_id,
            "vcs_origin": self.vcs_origin,
            "vcs_ref": self.vcs_ref,
        }


@dataclass(frozen=True, kw_only=True)
class ActiveState:
    """A build of an ActiveState project. No public certificate is known; the subject is as PyPI documents it."""

    organization: str = "acme"
    project: str = "widget"
    issuer: str = "https://platform.activestate.com/api/v1/oauth/oidc"

    def claims(self) -> dict[int, str]:
        return {1: self.issuer, 8: self.issuer, 24: f"org:{self.organization}:project:{self.project}"}

    def name(self) -> x509.GeneralName:
        return x509.UniformResourceIdentifier(f"https://platform.activestate.com/{self.organization}/{self.project}")

    def publisher(self) -> dict[str, Any]:
        return {"kind": "ActiveState", "organization": self.organization, "project": self.project}


@dataclass(frozen=True, kw_only=True)
class Person:
    """Person who signed in with a browser: an identity that is not a Trusted Publisher."""

    email: str = "jku@example.org"
    issuer: str = "https://github.com/login/oauth"

    def claims(self) -> dict[int, str]:
        return {1: self.issuer, 8: self.issuer}

    def name(self) -> x509.GeneralName:
        return x509.RFC822Name(self.email)

    def publisher(self) -> dict[str, Any]:
        return {"kind": "Person", "email": self.email}


def make_slsa_predicate(signer: GitHub) -> dict[str, Any]:
    """Return the SLSA Provenance v1 predicate that GitHub's attest-build-provenance action writes for a job."""
    server = signer.server
    return {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {
                "workflow": {
                    "ref": signer.config.rpartition("@")[2],
                    "repository": f"{server}/{signer.repository}",
                    "path": f"{signer.required_by}/{signer.path}".lstrip("/"),
                }
            },
            "internalParameters": {
                "github": {
                    "event_name": signer.trigger,
                    "repository_id": signer.claims()[15],
                    "repository_owner_id": signer.claims()[17],
                    "runner_environment": signer.runner,
                }
            },
            "resolvedDependencies": [
                {
                    "uri": f"git+{server}/{signer.repository}@{signer.ref}",
                    "digest": {"gitCommit": signer.digest},
                }
            ],
        },
        "runDetails": {
            "builder": {"id": signer.builder_uri},
            "metadata": {"invocationId": signer.claims()[21]},
        },
    }
