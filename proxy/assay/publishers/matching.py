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
from assay.publishers.globs import StringPredicate, compile_builder_pattern, compile_glob
from assay.settings import Settings, make_key_error

ENVIRONMENT_SINCE = datetime(2026, 6, 1, tzinfo=UTC)
"""Certificates issued from here on carry the deployment environment (Fulcio OID 1.3.6.1.4.1.57264.1.23), if there was
one (docs/policy-semantics.md, "Claims"). Fulcio began in about May 2026. The month's end is taken, so that none of a
roll-out's certificates is refused for what its issuer did not write yet."""

PrintableText = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]
NumericId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")]


class _PublisherBase(Settings):
    """What all kinds share; keys stay as PyPI spells them."""

    model_config = ConfigDict(alias_generator=None)
    identifying_keys: ClassVar[tuple[str, ...]]
    issuer: str
    """OIDC issuer of the certificate."""

    @model_validator(mode="after")
    def _check_identifying_keys(self) -> Self:
        if not any(getattr(self, key) for key in self.identifying_keys):
            expected = f"one of {', '.join(self.identifying_keys)}, so that it names somebody"
            raise make_key_error(self.identifying_keys[0], expected=expected, found=None)
        return self


class _RepositoryPublisher(_PublisherBase):
    """A workflow in a repository: the claims that GitHub and GitLab have in common."""

    identifying_keys: ClassVar[tuple[str, ...]] = ("repository", "repository_id", "owner_id")
    repository: PrintableText | None = None
    """``owner/name``; ``*`` doesn't cross a ``/``, ``**`` does; compared without case."""
    environment: str | None = None
    """Deployment environment, proven by certificates since June 2026; for older ones it is a note. ``""`` is how older
    provenance objects write that there is none; it asks for nothing."""
    ref: PrintableText | None = None
    """Git ref, such as ``refs/tags/*``."""
    trigger: PrintableText | None = None
    """Event that started the job, such as ``release``."""
    runner: PrintableText | None = None
    """Such as ``github-hosted``."""
    visibility: PrintableText | None = None
    """Of the repository: ``public`` or ``private``."""
    repository_id: NumericId | None = None
    """Number of the repository, which survives renaming and is nobody else's."""
    owner_id: NumericId | None = None
    """Number of its owner."""
    builder: PrintableText | None = None
    """Build Signer URI: a reusable workflow."""


class GitHub(_RepositoryPublisher):
    """GitHub Actions, github.com unless `issuer` names an enterprise's."""

    kind: Literal["GitHub"]
    """Says which kind of publisher it is."""
    issuer: PrintableText = "https://token.actions.githubusercontent.com"
    workflow: PrintableText | None = None
    """A file in ``.github/workflows``, as PyPI has it; with a ``/``, a whole path."""


class GitLab(_RepositoryPublisher):
    """GitLab CI/CD, gitlab.com unless `issuer` names a self-managed one."""

    kind: Literal["GitLab"]
    """Says which kind of publisher it is."""
    issuer: PrintableText = "https://gitlab.com"
    workflow_filepath: PrintableText | None = None
    """Path of the pipeline's file in the repository."""


class Google(_PublisherBase):
    """A Google service account."""

    identifying_keys: ClassVar[tuple[str, ...]] = ("email",)
    kind: Literal["Google"]
    """Says which kind of publisher it is."""
    issuer: PrintableText = "https://accounts.google.com"
    email: PrintableText
    """Of the service account."""


class CircleCI(_PublisherBase):
    """A CircleCI pipeline."""

    identifying_keys: ClassVar[tuple[str, ...]] = ("project_id",)
    kind: Literal["CircleCI"]
    """Says which kind of publisher it is."""
    issuer: PrintableText = "https://oidc.circleci.com"
    project_id: Uuid
    """UUID of the project."""
    pipeline_definition_id: Uuid | None = None
    """UUID of the pipeline's definition."""
    vcs_origin: PrintableText | None = None
    """Repository that it was built from."""
    vcs_ref: PrintableText | None = None
    """Git ref."""
    builder: PrintableText | None = None
    """Build Signer URI."""


_ClaimReader: TypeAlias = Callable[[Claims], str | None]
Publisher: TypeAlias = Annotated[GitHub | GitLab | Google | CircleCI, Field(discriminator="kind")]

_CASE_INSENSITIVE_CLAIMS = frozenset(
    {"repository", "environment", "email", "visibility", "runner", "project_id", "pipeline_definition_id"}
)
"""Claims whose owners compare them without case: "GitHub and GitLab names compare without case"."""


@dataclass(frozen=True, slots=True)
class PublisherMatcher:
    """One publisher, compiled."""

    publisher: GitHub | GitLab | Google | CircleCI
    kind: PublisherKind
    issuer: str
    claim_tests: tuple[tuple[_ClaimReader, StringPredicate], ...]
    """What to read of the claims, and what it has to be."""
    environment: StringPredicate | None

    def covers(self, attestation: Attestation) -> bool:
        """Whether the certificate proves this publisher."""
        claims = attestation.claims
        if claims.kind is not self.kind:
            return False
        if claims.issuer != self.issuer and claims.issuer.rstrip("/") != self.issuer:
            return False
        for read, matches in self.claim_tests:
            claim = read(claims)
            if claim is None or not matches(claim):
                return False
        return self.environment is None or self._matches_environment(attestation, self.environment)

    def note_unproven(self, attestation: Attestation) -> tuple[str, ...]:
        """What the match rests on without proof."""
        if self.environment is None or attestation.claims.environment is not None:
            return ()
        named = getattr(self.publisher, "environment", None)
        return (f"environment {named} is not proven: older certificates do not carry it",)

    @staticmethod
    def _matches_environment(attestation: Attestation, predicate: StringPredicate) -> bool:
        found = attestation.claims.environment
        return predicate(found) if found is not None else attestation.not_before < ENVIRONMENT_SINCE


def compile_publisher(publisher: GitHub | GitLab | Google | CircleCI) -> PublisherMatcher:
    """Compile one publisher of a rule or revocation."""
    stated = publisher.model_dump(exclude_none=True, exclude={"kind", "issuer", "environment"})
    # Remembered, since the thousands of files of a page are signed by few: a glob takes 0.4 µs, a look-up 0.1.
    tests = tuple(
        (_CLAIM_READERS[_choose_reader_key(key, value)], lru_cache(maxsize=32)(_compile_claim_test(key, value)))
        for key, value in stated.items()
    )
    environment = getattr(publisher, "environment", None)
    return PublisherMatcher(
        publisher=publisher,
        kind=PublisherKind(publisher.kind),
        issuer=publisher.issuer.rstrip("/"),
        claim_tests=tests,
        environment=compile_glob(environment, ignore_case=True) if environment else None,
    )


def describe_publisher(publisher: GitHub | GitLab | Google | CircleCI) -> str:
    """A publisher in one line: ``GitHub pyca/cryptography (workflow pypi-publish.yml)``."""
    stated = publisher.model_dump(exclude_none=True, exclude={"kind"})
    if publisher.issuer == type(publisher).model_fields["issuer"].default:
        del stated["issuer"]
    name = next((str(stated.pop(key)) for key in publisher.identifying_keys if key in stated), "")
    rest = ", ".join(f"{key} {value}" for key, value in stated.items() if value)
    return f"{publisher.kind} {name} ({rest})" if rest else f"{publisher.kind} {name}"


def describe_signer(claims: Claims) -> str:
    """Who signed, in one line, in the same words."""
    if claims.kind is None:
        return f"{claims.email or claims.san} of {claims.issuer}, who is no Trusted Publisher"
    workflow = (claims.workflow or "").removeprefix(_WORKFLOWS_DIRECTORY)
    stated = (("workflow", workflow), ("environment", claims.environment), ("ref", claims.ref))
    rest = ", ".join(f"{key} {value}" for key, value in stated if value)
    return f"{name_signer(claims)} ({rest})" if rest else name_signer(claims)


def name_signer(claims: Claims) -> str:
    """Who signed, by kind and name alone."""
    name = claims.repository or claims.email or claims.project_id or claims.san
    return f"{claims.kind} {name}" if claims.kind is not None else name


_WORKFLOWS_DIRECTORY = ".github/workflows/"


def _read_workflow_name(claims: Claims) -> str | None:
    if claims.workflow is None or not claims.workflow.startswith(_WORKFLOWS_DIRECTORY):
        return None
    return claims.workflow[len(_WORKFLOWS_DIRECTORY) :]


_CLAIM_READERS: dict[str, _ClaimReader] = {
    "repository": attrgetter("repository"),
    "workflow": _read_workflow_name,
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


def _choose_reader_key(key: str, value: str) -> str:
    """A GitHub workflow with a ``/`` is a whole path, as GitLab's is."""
    return "workflow_filepath" if key == "workflow" and "/" in value else key


def _compile_claim_test(key: str, value: str) -> StringPredicate:
    return (
        compile_builder_pattern(value)
        if key == "builder"
        else compile_glob(value, ignore_case=key in _CASE_INSENSITIVE_CLAIMS)
    )
