"""Who may have signed: the four kinds of publisher, as policies name them, and the match against a certificate. Pure.

Keys are PyPI's own, in snake_case, so that a block of a provenance object or of pylock.toml's attestation-identities
can be pasted. Only the certificate's claims are compared, never what the index says of the publisher. What is named
must be proven: a claim that the certificate lacks matches nothing, but for `environment`, see `ENVIRONMENT_SINCE`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from assay.evidence import Attestation, Claims, PublisherKind
from assay.policy.language.patterns import Matches, glob
from assay.settings import Settings, wrong

ENVIRONMENT_SINCE = datetime(2026, 6, 1, tzinfo=UTC)
"""Certificates issued from here on carry the deployment environment (Fulcio OID 1.3.6.1.4.1.57264.1.23), if there was
one: "from about May 2026" (POLICY.md, reference/verification.md). The month's end is taken, so that none of a
roll-out's certificates is refused for what its issuer did not write yet."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]
Number = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")]


class _Publisher(Settings):
    """What all kinds share; keys stay as PyPI spells them."""

    model_config = ConfigDict(alias_generator=None)
    identifying: ClassVar[tuple[str, ...]]
    issuer: str
    """OIDC issuer of the certificate."""

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if not any(getattr(self, key) for key in self.identifying):
            expected = f"one of {', '.join(self.identifying)}, so that it names somebody"
            raise wrong(self.identifying[0], expected=expected, found=None)
        return self


class _Forge(_Publisher):
    """A workflow in a repository: the claims that GitHub and GitLab have in common."""

    identifying: ClassVar[tuple[str, ...]] = ("repository", "repository_id", "owner_id")
    repository: Text | None = None
    """``owner/name``; ``*`` doesn't cross a ``/``, ``**`` does; compared without case."""
    environment: str | None = None
    """Deployment environment, proven by certificates since June 2026; for older ones it is a note. ``""`` is how older
    provenance objects write that there is none; it asks for nothing."""
    ref: Text | None = None
    """Git ref, such as ``refs/tags/*``."""
    trigger: Text | None = None
    """Event that started the job, such as ``release``."""
    runner: Text | None = None
    """Such as ``github-hosted``."""
    visibility: Text | None = None
    """Of the repository: ``public`` or ``private``."""
    repository_id: Number | None = None
    """Number of the repository, which survives renaming and is nobody else's."""
    owner_id: Number | None = None
    """Number of its owner."""
    builder: Text | None = None
    """Build Signer URI: a reusable workflow."""


class GitHub(_Forge):
    """GitHub Actions, github.com unless `issuer` names an enterprise's."""

    kind: Literal["GitHub"]
    """Says which kind of publisher it is."""
    issuer: Text = "https://token.actions.githubusercontent.com"
    workflow: Text | None = None
    """A file in ``.github/workflows``, as PyPI has it; with a ``/``, a whole path."""


class GitLab(_Forge):
    """GitLab CI/CD, gitlab.com unless `issuer` names a self-managed one."""

    kind: Literal["GitLab"]
    """Says which kind of publisher it is."""
    issuer: Text = "https://gitlab.com"
    workflow_filepath: Text | None = None
    """Path of the pipeline's file in the repository."""


class Google(_Publisher):
    """A Google service account."""

    identifying: ClassVar[tuple[str, ...]] = ("email",)
    kind: Literal["Google"]
    """Says which kind of publisher it is."""
    issuer: Text = "https://accounts.google.com"
    email: Text
    """Of the service account."""


class CircleCI(_Publisher):
    """A CircleCI pipeline."""

    identifying: ClassVar[tuple[str, ...]] = ("project_id",)
    kind: Literal["CircleCI"]
    """Says which kind of publisher it is."""
    issuer: Text = "https://oidc.circleci.com"
    project_id: Uuid
    """UUID of the project."""
    pipeline_definition_id: Uuid | None = None
    """UUID of the pipeline's definition."""
    vcs_origin: Text | None = None
    """Repository that it was built from."""
    vcs_ref: Text | None = None
    """Git ref."""
    builder: Text | None = None
    """Build Signer URI."""


_Claim: TypeAlias = Callable[[Claims], str | None]
Publisher: TypeAlias = Annotated[GitHub | GitLab | Google | CircleCI, Field(discriminator="kind")]

_FOLDED = frozenset(
    {"repository", "environment", "email", "visibility", "runner", "project_id", "pipeline_definition_id"}
)
"""Claims whose owners compare them without case: "GitHub and GitLab names compare without case"."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One publisher, compiled."""

    publisher: GitHub | GitLab | Google | CircleCI
    kind: PublisherKind
    issuer: str
    tests: tuple[tuple[_Claim, Matches], ...]
    """What to read of the claims, and what it has to be."""
    environment: Matches | None

    def covers(self, attestation: Attestation) -> bool:
        """Whether the certificate proves this publisher."""
        claims = attestation.claims
        if claims.kind is not self.kind:
            return False
        if claims.issuer != self.issuer and claims.issuer.rstrip("/") != self.issuer:
            return False
        for read, matches in self.tests:
            claim = read(claims)
            if claim is None or not matches(claim):
                return False
        return self.environment is None or self._in_environment(attestation, self.environment)

    def notes(self, attestation: Attestation) -> tuple[str, ...]:
        """What the match rests on without proof."""
        if self.environment is None or attestation.claims.environment is not None:
            return ()
        named = getattr(self.publisher, "environment", None)
        return (f"environment {named} is not proven: older certificates do not carry it",)

    @staticmethod
    def _in_environment(attestation: Attestation, matches: Matches) -> bool:
        found = attestation.claims.environment
        return matches(found) if found is not None else attestation.not_before < ENVIRONMENT_SINCE


def matcher(publisher: GitHub | GitLab | Google | CircleCI) -> Matcher:
    """Compile one publisher of a rule or revocation."""
    stated = publisher.model_dump(exclude_none=True, exclude={"kind", "issuer", "environment"})
    # Remembered, since the thousands of files of a page are signed by few: a glob takes 0.4 µs, a look-up 0.1.
    tests = tuple(
        (_CLAIMS[_spelling(key, value)], lru_cache(maxsize=32)(_test(key, value))) for key, value in stated.items()
    )
    environment = getattr(publisher, "environment", None)
    return Matcher(
        publisher=publisher,
        kind=PublisherKind(publisher.kind),
        issuer=publisher.issuer.rstrip("/"),
        tests=tests,
        environment=glob(environment, fold=True) if environment else None,
    )


def builder(pattern: str) -> Matches:
    """Whether a Build Signer URI is covered; a pattern without ``@`` takes it at any ref."""
    matches = glob(pattern)
    return matches if "@" in pattern else lambda uri: matches(uri.partition("@")[0])


def describe(publisher: GitHub | GitLab | Google | CircleCI) -> str:
    """A publisher in one line: ``GitHub pyca/cryptography (workflow pypi-publish.yml)``."""
    stated = publisher.model_dump(exclude_none=True, exclude={"kind"})
    if publisher.issuer == type(publisher).model_fields["issuer"].default:
        del stated["issuer"]
    name = next((str(stated.pop(key)) for key in publisher.identifying if key in stated), "")
    rest = ", ".join(f"{key} {value}" for key, value in stated.items() if value)
    return f"{publisher.kind} {name} ({rest})" if rest else f"{publisher.kind} {name}"


def describe_claims(claims: Claims) -> str:
    """Who signed, in one line, in the same words."""
    if claims.kind is None:
        return f"{claims.email or claims.san} of {claims.issuer}, who is no Trusted Publisher"
    workflow = (claims.workflow or "").removeprefix(_WORKFLOWS)
    stated = (("workflow", workflow), ("environment", claims.environment), ("ref", claims.ref))
    rest = ", ".join(f"{key} {value}" for key, value in stated if value)
    return f"{name_claims(claims)} ({rest})" if rest else name_claims(claims)


def name_claims(claims: Claims) -> str:
    """Who signed, by kind and name alone."""
    name = claims.repository or claims.email or claims.project_id or claims.san
    return f"{claims.kind} {name}" if claims.kind is not None else name


_WORKFLOWS = ".github/workflows/"


def _workflow_name(claims: Claims) -> str | None:
    if claims.workflow is None or not claims.workflow.startswith(_WORKFLOWS):
        return None
    return claims.workflow[len(_WORKFLOWS) :]


_CLAIMS: dict[str, _Claim] = {
    "repository": attrgetter("repository"),
    "workflow": _workflow_name,
    "workflow_filepath": attrgetter("workflow"),
    "ref": attrgetter("ref"),
    "trigger": attrgetter("trigger"),
    "runner": attrgetter("runner"),
    "visibility": attrgetter("visibility"),
    "repository_id": attrgetter("repository_id"),
    "owner_id": attrgetter("owner_id"),
    "builder": attrgetter("builder"),
    "email": attrgetter("email"),
    "project_id": attrgetter("project_id"),
    "pipeline_definition_id": attrgetter("pipeline_definition_id"),
    "vcs_origin": attrgetter("vcs_origin"),
    "vcs_ref": attrgetter("vcs_ref"),
}


def _spelling(key: str, value: str) -> str:
    """A GitHub workflow with a ``/`` is a whole path, as GitLab's is."""
    return "workflow_filepath" if key == "workflow" and "/" in value else key


def _test(key: str, value: str) -> Matches:
    return builder(value) if key == "builder" else glob(value, fold=key in _FOLDED)
