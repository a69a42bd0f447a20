"""Workflows in repositories: what GitHub and GitLab have in common. Pure.

A claim is taken only when the certificate agrees with itself about it: repository, owner and workflow in every URI that
names them, the ref and commit, and the environment in the token's subject.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import ClassVar, Final
from urllib.parse import unquote

from assay.evidence import Claims
from assay.publishers.base import (
    BlockKey,
    ClaimKey,
    ClaimReader,
    IdentityClaim,
    NumericId,
    PrintableText,
    PublisherTable,
    match_builder,
    match_glob,
)
from assay.publishers.extensions import (
    EXTENSION_NAMES,
    CertificateFacts,
    Extensions,
    InvalidClaimsError,
    check_equal,
    read_common_claims,
)

WORKFLOW_DIRECTORY: Final = ".github/workflows/"
# The same fact by an older and a newer extension: Fulcio fills both from one token.
_EQUIVALENT_ARCS: Final = ((2, 20), (3, 13), (6, 14))


class RepositoryPublisher(PublisherTable):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryLayout:
    """How a kind of host writes repositories and workflows in certificates."""

    issuer: str
    """The public host's issuer."""
    server: str
    """The public host, whose issuer speaks for no other; a self-managed issuer's repositories are wherever its owner
    put them."""
    separator: str
    """Between repository and workflow in the Build Config URI."""
    directory: str
    """Of the workflows, each of which is a file directly in it; empty where they can be anywhere."""
    has_groups: bool
    """Owners nest: ``group/…/name``."""
    always_names_ref: bool
    """Certificates always carry both ref and commit."""

    def recognizes(self, extensions: Extensions) -> bool:
        """Whether the Build Config URI is of this kind and names the repository."""
        repository = extensions.get(12, "")
        return bool(repository) and extensions.get(18, "").startswith(f"{repository}{self.separator}{self.directory}")

    def read_claims(self, facts: CertificateFacts) -> Claims:
        """Read the claims of a workflow.

        Raises:
            InvalidClaimsError: the certificate contradicts itself, or lacks what such certificates have.
        """
        extensions = facts.extensions
        repository_uri = facts.require(12)
        facts.require_builder()
        for older, newer in _EQUIVALENT_ARCS:
            check_equal(extensions, older, newer)
        repository = self._parse_repository(facts.issuer, repository_uri)
        if 5 in extensions and extensions[5] != repository:  # noqa: PLR2004 - OID .5
            raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[5]} {repository}", extensions[5])
        owner_uri = extensions.get(16)
        if owner_uri is not None and not repository_uri.startswith(f"{owner_uri}/"):
            raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[16]} of {repository_uri}", owner_uri)
        workflow, suffix = self._parse_workflow(facts, repository_uri)
        return replace(
            read_common_claims(facts),
            email=None,
            repository=repository,
            owner=repository.rpartition("/")[0],
            workflow=workflow,
            workflow_ref=suffix,
            environment=_read_environment(extensions),
        )

    def _parse_repository(self, issuer: str, uri: str) -> str:
        """``owner/name`` from ``https://host/owner/name``."""
        if issuer == self.issuer and not uri.startswith(f"{self.server}/"):
            raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[12]} on {self.server}", uri)
        path = uri.split("/", 3)[3] if uri.startswith("https://") and uri.count("/") > 3 else ""  # noqa: PLR2004 - scheme, host, owner, name
        parts = path.split("/")
        if not all(parts) or (len(parts) != 2 and not self.has_groups):  # noqa: PLR2004 - owner and name
            raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[12]} like https://host/owner/name", uri)
        return path

    def _parse_workflow(self, facts: CertificateFacts, repository_uri: str) -> tuple[str, str]:
        """Path and ref from the Build Config URI, which ends in ``@`` and the certificate's own ref or commit."""
        config = facts.require(18)
        suffixes = [facts.extensions[arc] for arc in (13, 14) if arc in facts.extensions]
        if not suffixes or (self.always_names_ref and len(suffixes) != 2):  # noqa: PLR2004 - both
            names = f"{EXTENSION_NAMES[13]} and {EXTENSION_NAMES[14]}"
            raise InvalidClaimsError("certificate claims", names, "neither or one")
        for suffix in suffixes:
            start, end = f"{repository_uri}{self.separator}", f"@{suffix}"
            path = config[len(start) : -len(end)] if config.startswith(start) and config.endswith(end) else ""
            if self._is_workflow(path):
                return path, suffix
        shape = f"{repository_uri}{self.separator}{self.directory}…@{' or '.join(suffixes)}"
        raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[18]} {shape}", config)

    def _is_workflow(self, path: str) -> bool:
        if not self.directory:
            return bool(path)
        name = path.removeprefix(self.directory)
        return name != path and bool(name) and "/" not in name


def _read_environment(extensions: Extensions) -> str | None:
    """The proven environment: .23, and what the token's subject says of it must be the same.

    GitHub's default subject is ``repo:o/r:environment:x``; it ends otherwise (``:ref:…``) where the job had none.
    """
    stated = extensions.get(23)
    subject = extensions.get(24, "")
    _, marker, rest = subject.partition(":environment:")
    # A customised subject may go on; a colon in the name itself is written %3A.
    named = unquote(rest.partition(":")[0]) if marker else None
    if named is not None and stated is not None and named.casefold() != stated.casefold():
        raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[24]} with environment {stated}", subject)
    return stated or named or None


def read_workflow_name(claims: Claims) -> str:
    """Return the workflow as PyPI names it: without GitHub's folder."""
    return (claims.workflow or "").removeprefix(WORKFLOW_DIRECTORY)


def _check_environment(stated_environment: str, claims: Claims) -> None:
    """Compare the index's environment with the certificate's.

    An older certificate proves no environment, and then the index's word is nobody's evidence.

    A newer one carries the token's subject, which in GitHub's default form names the ref only where no environment was.
    Environment names compare without case, as GitHub's do.
    """
    without = claims.token_subject is not None and re.fullmatch(
        r"repo:[^:]+:(ref:.*|pull_request)", claims.token_subject, re.DOTALL
    )
    if claims.environment is None and not without:
        return
    if (claims.environment or "").casefold() != stated_environment.casefold():
        proven = claims.environment or "no environment"
        raise InvalidClaimsError(
            "publisher environment", f"the certificate's {proven}", f"{stated_environment}, says the index"
        )


# PyPI wrote "" for no environment for years, and for no other key: the reference compares any other "" as a text.
ENVIRONMENT_BLOCK_KEY: Final = BlockKey(
    name="environment", is_required=False, check=_check_environment, absent=(None, "")
)
REPOSITORY_KEY: Final = match_glob("repository", ignore_case=True)
WORKFLOW_PATH_KEY: Final = match_glob("workflow")
COMMON_KEYS: Final[dict[str, ClaimKey]] = {
    "ref": match_glob("ref"),
    "environment": match_glob("environment", ignore_case=True),
    "trigger": match_glob("trigger"),
    "runner": match_glob("runner", ignore_case=True),
    "visibility": match_glob("visibility", ignore_case=True),
    "repository_id": match_glob("repository_id"),
    "owner_id": match_glob("owner_id"),
    "builder": match_builder(),
}
"""Keys that have the same name for both kinds. Names compare without case, as GitHub and GitLab compare them."""
REPOSITORY_IDENTITY: Final = (
    IdentityClaim(claim="repository_id", label="repository-id"),
    IdentityClaim(claim="repository", label="repository", ignore_case=True),  # older certificates have no number
)
JOB_DETAILS: Final[tuple[tuple[str, ClaimReader], ...]] = (
    ("workflow", read_workflow_name),
    ("environment", attrgetter("environment")),
    ("ref", attrgetter("ref")),
)
