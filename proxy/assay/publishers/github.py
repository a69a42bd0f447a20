"""Publisher kind of GitHub Actions, on github.com and GitHub Enterprise. Pure."""

from __future__ import annotations

from operator import attrgetter
from typing import Final, Literal

from assay.evidence import Claims
from assay.publishers.base import BlockKey, ClaimKey, ClaimTest, PublisherKind, match_glob, state_claim
from assay.publishers.extensions import InvalidClaimsError
from assay.publishers.globs import compile_glob, lower_ascii
from assay.publishers.repository import (
    JOB_DETAILS,
    REPOSITORY_IDENTITY,
    REPOSITORY_KEY,
    WORKFLOW_DIRECTORY,
    RepositoryLayout,
    RepositoryPublisher,
    make_common_keys,
    read_workflow_name,
)
from assay.publishers.texts import GitHubRepository, GitHubWorkflow, Issuer

_ISSUER: Final = "https://token.actions.githubusercontent.com"
_LAYOUT: Final = RepositoryLayout(
    issuer=_ISSUER,
    server="https://github.com",
    separator="/",
    directory=WORKFLOW_DIRECTORY,
    has_groups=False,
    always_names_ref=False,
    issuer_is_server=False,
    has_shared_workflows=True,
    fold_environment=lower_ascii,
)


class GitHub(RepositoryPublisher):
    """GitHub Actions workflow as a publisher. It is on github.com, unless `issuer` names a GitHub Enterprise server."""

    kind: Literal["GitHub"]
    """Kind of publisher."""
    issuer: Issuer = _ISSUER
    repository: GitHubRepository | None = None
    """Repository as ``owner/name``, compared without case. ``*`` does not match ``/``; ``**`` does."""
    workflow: GitHubWorkflow | None = None
    """Name of a file in ``.github/workflows``, as on PyPI. A value with ``/`` is a path from the root of the
    repository, or ``owner/name/.github/workflows/…`` for a workflow that the organisation requires."""


def _read_file_in_directory(claims: Claims) -> str | None:
    if claims.workflow is None or not claims.workflow.startswith(WORKFLOW_DIRECTORY):
        return None
    return read_workflow_name(claims)


def _compile_workflow(pattern: str) -> ClaimTest:
    return attrgetter("workflow") if "/" in pattern else _read_file_in_directory, compile_glob(pattern)


def _check_workflow(stated: str, claims: Claims) -> None:
    """Check that the workflow in the index's publisher block agrees with the certificate.

    The block contains only the name of a file. If the organization requires a workflow for its repositories, this file
    is in another repository of the organization. The repository is then not compared, because the block does not name
    it.

    Raises:
        InvalidClaimsError: the workflows differ.
    """
    name = read_workflow_name(claims)
    if stated not in {name, name.rpartition(f"/{WORKFLOW_DIRECTORY}")[2]}:
        found = f"{stated or 'an empty text'}, from the index"
        raise InvalidClaimsError("publisher workflow", f"{name or 'no value'}, as in the certificate", found)


def _read_stated_workflow(claims: Claims) -> str | None:
    """Return the workflow as PyPI's publisher block states it: the name of the file."""
    return read_workflow_name(claims).rpartition(f"/{WORKFLOW_DIRECTORY}")[2] or None


def _propose_workflow(claims: Claims) -> str | None:
    name = read_workflow_name(claims)
    return claims.workflow if "/" in name else name


GITHUB: Final = PublisherKind(
    table=GitHub,
    recognizes=_LAYOUT.recognizes,
    read_claims=_LAYOUT.read_claims,
    block_keys=(
        state_claim("repository", ignore_case=True),
        BlockKey(name="workflow", is_required=True, check=_check_workflow, read=_read_stated_workflow),
        _LAYOUT.make_environment_block_key(),
    ),
    claim_keys={
        "repository": REPOSITORY_KEY,
        "workflow": ClaimKey(claim="workflow", compile=_compile_workflow, propose=_propose_workflow),
        **make_common_keys(environment=match_glob("environment", ignore_case=True)),
    },
    identity=REPOSITORY_IDENTITY,
    proposed_keys=("repository", "workflow", "repository_id", "owner_id"),
    details=JOB_DETAILS,
    commit_path="/commit/",
)
