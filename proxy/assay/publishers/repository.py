"""Common parts of the publisher kinds GitHub and GitLab, whose publishers are workflows in repositories. Pure.

A certificate must not contradict itself. All its URIs must name the same repository, owner and workflow. The ref, the
commit, and the environment in the subject of the OIDC token must also agree with the other claims.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import ClassVar, Final

from assay.evidence import Claims
from assay.publishers.base import (
    BlockKey,
    ClaimKey,
    ClaimReader,
    IdentityClaim,
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
from assay.publishers.globs import lower_ascii
from assay.publishers.texts import Builder, ClaimText, Environment, Event, NumericId, Ref, Runner, Visibility

WORKFLOW_DIRECTORY: Final = ".github/workflows/"
# Pairs of an older and a newer extension with the same fact: Fulcio fills both from one OIDC token.
_EQUIVALENT_ARCS: Final = ((2, 20), (3, 13), (6, 14))

_SHARED_WORKFLOW: Final = re.compile(
    r"(?P<path>(?P<owner>[^/]+)/(?P<name>[^/]+)/\.github/workflows/[^/]+?)@(?P<ref>refs/.+|[0-9a-f]{40}|[0-9a-f]{64})",
    re.DOTALL,
)


class RepositoryPublisher(PublisherTable):
    """Workflow in a repository as a publisher. GitHub and GitLab have these keys in common."""

    identifying_keys: ClassVar[tuple[str, ...]] = ("repository", "repository_id", "owner_id")
    repository: ClaimText | None = None
    """Repository as ``owner/name``, compared without case. ``*`` does not match ``/``; ``**`` does."""
    environment: Environment | None = None
    """Deployment environment. Certificates contain it since June 2026. An older certificate matches without an
    environment, and the file gets a note. The value ``""`` requires nothing, because older provenance objects use it if
    the job had no environment."""
    ref: Ref | None = None
    """Git ref, such as ``refs/tags/*``."""
    trigger: Event | None = None
    """Event that started the job, such as ``release``."""
    runner: Runner | None = None
    """Runner environment, such as ``github-hosted``."""
    visibility: Visibility | None = None
    """Visibility of the repository: ``public`` or ``private``."""
    repository_id: NumericId | None = None
    """Numeric id of the repository. A renamed repository keeps its id, and no other repository ever gets it."""
    owner_id: NumericId | None = None
    """Numeric id of the repository's owner."""
    builder: Builder | None = None
    """Build Signer URI: the reusable workflow, if the job used one. A value without ``@`` matches any ref."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryLayout:
    """Format in which certificates of one kind of host contain repositories and workflows."""

    issuer: str
    """OIDC issuer of the public host."""
    server: str
    """URL of the public host. Its issuer may name only repositories on this host."""
    separator: str
    """Text between the repository and the workflow in the Build Config URI."""
    directory: str
    """Directory that directly contains all workflow files. It is empty if workflow files can be in any directory."""
    has_groups: bool
    """True if owners can be nested: ``group/…/name``."""
    always_names_ref: bool
    """True if certificates always contain both ref and commit."""
    issuer_is_server: bool
    """True if a self-managed server is its own issuer: the issuer's URL is the URL of the server. The Build Config URI
    is then on this server. The Source Repository URI is on this server, or on `server`, the default of Fulcio's
    certificate template."""
    has_shared_workflows: bool
    """True if an owner can require one workflow for all repositories of the owner (GitHub's rulesets). The workflow is
    then in another repository than the job."""
    fold_environment: Callable[[str], str]
    """Function that brings the name of an environment to the form in which the host compares names."""

    def recognizes(self, issuer: str, extensions: Extensions) -> bool:
        """Return True if the Build Config URI has the format of this kind and names the repository or its owner."""
        repository = _split_uri(extensions.get(12, ""))
        config = _split_uri(extensions.get(18, ""))
        if repository is None or config is None:
            return False
        start = f"{repository[1]}{self.separator}{self.directory}"
        if self.issuer_is_server:
            return config[1].startswith(start) or extensions[18].startswith(f"{issuer.rstrip('/')}/{start}")
        if config[1].startswith(start):
            return repository[0] == config[0]
        return repository[0] == config[0] and self._find_shared_workflow(repository[1], config[1]) is not None

    def read_claims(self, facts: CertificateFacts) -> Claims:
        """Return the claims of a workflow's certificate.

        Raises:
            InvalidClaimsError: the certificate contradicts itself, or lacks an extension that such certificates have.
        """
        extensions = facts.extensions
        stated_uri = facts.require(12)
        facts.require_builder()
        for older, newer in _EQUIVALENT_ARCS:
            check_equal(extensions, older, newer)
        repository = self._parse_repository(facts.issuer, stated_uri)
        if 5 in extensions and extensions[5] != repository:  # noqa: PLR2004 - OID .5
            raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[5]} {repository}", extensions[5])
        owner_uri = extensions.get(16)
        if owner_uri is not None and not stated_uri.startswith(f"{owner_uri}/"):
            raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[16]} of {stated_uri}", owner_uri)
        repository_uri = f"{self._find_server(facts.issuer, stated_uri)}/{repository}"
        workflow, suffix = self._parse_workflow(facts, repository_uri)
        claims = read_common_claims(facts)
        return replace(
            claims,
            email=None,
            repository=repository,
            repository_uri=repository_uri,
            run_url=_replace_prefix(claims.run_url, stated_uri, repository_uri),
            owner=repository.rpartition("/")[0],
            workflow=workflow,
            workflow_ref=suffix,
            environment=_read_environment(extensions, self.fold_environment),
        )

    def _parse_repository(self, issuer: str, uri: str) -> str:
        """Return ``owner/name`` from the Source Repository URI ``https://host/owner/name``.

        Raises:
            InvalidClaimsError: the URI has another format, or a host that the issuer may not name.
        """
        servers = [self.server] if issuer == self.issuer else []
        if self.issuer_is_server and not servers:
            servers = [self.server, issuer.rstrip("/")]
        if servers and not any(uri.startswith(f"{server}/") for server in servers):
            raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[12]} on {' or '.join(servers)}", uri)
        base = next((server for server in reversed(servers) if uri.startswith(f"{server}/")), None)
        path = uri[len(base) + 1 :] if base is not None else (_split_uri(uri) or ("", ""))[1]
        parts = path.split("/")
        if len(parts) < 2 or not all(parts) or (len(parts) != 2 and not self.has_groups):  # noqa: PLR2004 - owner and name
            raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[12]} like https://host/owner/name", uri)
        return path

    def _find_server(self, issuer: str, repository_uri: str) -> str:
        """Return the URL of the server that the Build Config URI must be on, without a trailing slash."""
        if self.issuer_is_server:
            return issuer.rstrip("/")
        return (_split_uri(repository_uri) or ("",))[0]

    def _parse_workflow(self, facts: CertificateFacts, repository_uri: str) -> tuple[str, str]:
        """Return the path of the workflow, and the ref or commit after ``@``, from the Build Config URI.

        If the workflow is in another repository of the same owner, the path begins with that repository:
        ``owner/name/…``.

        Raises:
            InvalidClaimsError: the URI names no workflow, or its owner, ref or commit differs from the other claims.
        """
        config = facts.require(18)
        suffixes = [facts.extensions[arc] for arc in (13, 14) if arc in facts.extensions]
        if not suffixes or (self.always_names_ref and len(suffixes) != 2):  # noqa: PLR2004 - both
            names = f"{EXTENSION_NAMES[13]} and {EXTENSION_NAMES[14]}"
            raise InvalidClaimsError("certificate claims", names, "at most one of them")
        for suffix in suffixes:
            start, end = f"{repository_uri}{self.separator}", f"@{suffix}"
            path = config[len(start) : -len(end)] if config.startswith(start) and config.endswith(end) else ""
            if self._is_workflow(path):
                return path, suffix
        server, repository = _split_uri(repository_uri) or ("", "")
        if config.startswith(f"{server}/"):
            shared = self._find_shared_workflow(repository, config[len(server) + 1 :])
            if shared is not None:
                return shared
        shape = f"{repository_uri}{self.separator}{self.directory}…@{' or '.join(suffixes)}"
        raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[18]} {shape}", config)

    def _find_shared_workflow(self, repository: str, config_path: str) -> tuple[str, str] | None:
        """Return path and ref of a workflow in another repository of the same owner; None for any other workflow.

        Args:
            repository: ``owner/name`` of the repository in which the workflow ran.
            config_path: Build Config URI without the server: ``owner/other/.github/workflows/x.yml@refs/heads/main``.
        """
        found = _SHARED_WORKFLOW.fullmatch(config_path) if self.has_shared_workflows else None
        if found is None:
            return None
        owner, _, name = lower_ascii(repository).partition("/")
        if lower_ascii(found["owner"]) != owner or lower_ascii(found["name"]) == name:
            return None
        return found["path"], found["ref"]

    def _is_workflow(self, path: str) -> bool:
        if not self.directory:
            return bool(path)
        name = path.removeprefix(self.directory)
        return name != path and bool(name) and "/" not in name

    def make_environment_block_key(self) -> BlockKey:
        """Return the key `environment` of the publisher block.

        The value ``""`` counts as absent, because PyPI wrote it for years if the job had no environment. PyPI never
        wrote it for other keys. The reference implementation compares ``""`` in other keys like any other text.
        """
        fold = self.fold_environment
        return BlockKey(
            name="environment",
            is_required=False,
            check=lambda stated, claims: _check_environment(stated, claims, fold),
            read=attrgetter("environment"),
            absent=(None, ""),
        )


def _split_uri(uri: str) -> tuple[str, str] | None:
    """Return scheme with host, and path without its first slash, of an https URI; None for any other text."""
    if not uri.startswith("https://"):
        return None
    host, slash, path = uri.removeprefix("https://").partition("/")
    return (f"https://{host}", path) if host and slash and path else None


def _replace_prefix(text: str | None, prefix: str, replacement: str) -> str | None:
    if text is None or not text.startswith(f"{prefix}/"):
        return text
    return replacement + text.removeprefix(prefix)


def _read_environment(extensions: Extensions, fold: Callable[[str], str]) -> str | None:
    """Return the deployment environment that the certificate proves; None if it proves none.

    The sources are the Deployment Environment (.23) and the Token Subject (.24). GitHub's default subject is
    ``repo:o/r:environment:x``, or ``repo:o/r:ref:…`` for a job without an environment. A colon in the environment's
    name is written as ``%3A`` in the subject; no other character is encoded there.

    Args:
        extensions: the certificate's extensions.
        fold: function that brings a name to the form in which the host compares names.

    Raises:
        InvalidClaimsError: the two extensions name different environments.
    """
    stated = extensions.get(23)
    subject = extensions.get(24, "")
    _, marker, rest = subject.partition(":environment:")
    if not marker:
        return stated or None
    encoded = rest.partition(":")[0]  # a customized subject may continue after the environment
    if stated is None:
        return encoded.replace("%3A", ":") or None
    if fold(encoded) != fold(stated.replace(":", "%3A")):
        raise InvalidClaimsError("certificate claims", f"{EXTENSION_NAMES[24]} with environment {stated}", subject)
    return stated


def read_workflow_name(claims: Claims) -> str:
    """Return the name of the workflow as on PyPI: its path without ``.github/workflows/``."""
    return (claims.workflow or "").removeprefix(WORKFLOW_DIRECTORY)


def _check_environment(stated_environment: str, claims: Claims, fold: Callable[[str], str]) -> None:
    """Check that the environment in the index's publisher block agrees with the certificate.

    If the certificate contains an environment, the index must state the same one. If the token's subject in the
    certificate proves that the job had no environment, the index must state none. In GitHub's default form, this is a
    subject that names the ref. An older certificate proves neither, so the index's value is not checked.

    Raises:
        InvalidClaimsError: the environments differ.
    """
    without = claims.token_subject is not None and re.fullmatch(
        r"repo:[^:]+:(ref:.*|pull_request)", claims.token_subject, re.DOTALL
    )
    if claims.environment is None and not without:
        return
    if fold(claims.environment or "") != fold(stated_environment):
        proven = claims.environment or "no environment"
        raise InvalidClaimsError(
            "publisher environment", f"{proven}, as in the certificate", f"{stated_environment}, from the index"
        )


REPOSITORY_KEY: Final = match_glob("repository", ignore_case=True)
WORKFLOW_PATH_KEY: Final = match_glob("workflow")


def make_common_keys(*, environment: ClaimKey) -> dict[str, ClaimKey]:
    """Return the rules for the keys that GitHub and GitLab have in common.

    `environment` is the rule for the key `environment`, because the two hosts compare environments differently.
    """
    return {
        "ref": match_glob("ref"),
        "environment": environment,
        "trigger": match_glob("trigger"),
        "runner": match_glob("runner", ignore_case=True),
        "visibility": match_glob("visibility", ignore_case=True),
        "repository_id": match_glob("repository_id"),
        "owner_id": match_glob("owner_id"),
        "builder": match_builder(),
    }


REPOSITORY_IDENTITY: Final = (
    IdentityClaim(claim="repository_id", label="repository-id"),
    IdentityClaim(claim="repository", label="repository", ignore_case=True),  # older certificates have no numeric id
)
JOB_DETAILS: Final[tuple[tuple[str, ClaimReader], ...]] = (
    ("workflow", read_workflow_name),
    ("environment", attrgetter("environment")),
    ("ref", attrgetter("ref")),
)
