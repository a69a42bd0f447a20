"""GitHub Actions, of github.com and of GitHub Enterprise. Pure."""

from __future__ import annotations

from operator import attrgetter
from typing import Final, Literal

from assay.evidence import Claims
from assay.publishers.base import ClaimKey, ClaimTest, PrintableText, PublisherKind, state_claim
from assay.publishers.globs import compile_glob
from assay.publishers.repository import (
    COMMON_KEYS,
    ENVIRONMENT_BLOCK_KEY,
    JOB_DETAILS,
    REPOSITORY_IDENTITY,
    REPOSITORY_KEY,
    WORKFLOW_DIRECTORY,
    RepositoryLayout,
    RepositoryPublisher,
    read_workflow_name,
)

_ISSUER: Final = "https://token.actions.githubusercontent.com"
_LAYOUT: Final = RepositoryLayout(
    issuer=_ISSUER,
    server="https://github.com",
    separator="/",
    directory=WORKFLOW_DIRECTORY,
    has_groups=False,
    always_names_ref=False,
)


class GitHub(RepositoryPublisher):
    """GitHub Actions, github.com unless `issuer` names an enterprise's."""

    kind: Literal["GitHub"]
    """Says which kind of publisher it is."""
    issuer: PrintableText = _ISSUER
    workflow: PrintableText | None = None
    """A file in ``.github/workflows``, as PyPI has it; with a ``/``, a whole path."""


def _read_file_in_directory(claims: Claims) -> str | None:
    if claims.workflow is None or not claims.workflow.startswith(WORKFLOW_DIRECTORY):
        return None
    return read_workflow_name(claims)


def _compile_workflow(pattern: str) -> ClaimTest:
    return attrgetter("workflow") if "/" in pattern else _read_file_in_directory, compile_glob(pattern)


def _propose_workflow(claims: Claims) -> str | None:
    name = read_workflow_name(claims)
    return claims.workflow if "/" in name else name


GITHUB: Final = PublisherKind(
    table=GitHub,
    recognizes=_LAYOUT.recognizes,
    read_claims=_LAYOUT.read_claims,
    block_keys=(state_claim("repository"), state_claim("workflow", read_workflow_name), ENVIRONMENT_BLOCK_KEY),
    claim_keys={
        "repository": REPOSITORY_KEY,
        "workflow": ClaimKey(claim="workflow", compile=_compile_workflow, propose=_propose_workflow),
        **COMMON_KEYS,
    },
    identity=REPOSITORY_IDENTITY,
    proposed_keys=("repository", "workflow", "repository_id", "owner_id"),
    details=JOB_DETAILS,
    commit_path="/commit/",
)
