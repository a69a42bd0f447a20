"""Publisher kind of GitLab CI/CD, on gitlab.com and self-managed servers. Pure."""

from __future__ import annotations

from operator import attrgetter
from typing import Final, Literal

from assay.publishers.base import PublisherKind, match_glob, state_claim
from assay.publishers.repository import (
    JOB_DETAILS,
    REPOSITORY_IDENTITY,
    REPOSITORY_KEY,
    WORKFLOW_PATH_KEY,
    RepositoryLayout,
    RepositoryPublisher,
    make_common_keys,
)
from assay.publishers.texts import GitLabRepository, GitLabWorkflow, Issuer

_ISSUER: Final = "https://gitlab.com"
_LAYOUT: Final = RepositoryLayout(
    issuer=_ISSUER,
    server="https://gitlab.com",
    separator="//",
    directory="",
    has_groups=True,
    always_names_ref=True,
    issuer_is_server=True,
    has_shared_workflows=False,
    fold_environment=str,
)


class GitLab(RepositoryPublisher):
    """GitLab CI/CD pipeline as a publisher. It is on gitlab.com, unless `issuer` names a self-managed server."""

    kind: Literal["GitLab"]
    """Kind of publisher."""
    issuer: Issuer = _ISSUER
    repository: GitLabRepository | None = None
    """Project as ``group/…/name``, compared without case. ``*`` does not match ``/``; ``**`` does."""
    workflow_filepath: GitLabWorkflow | None = None
    """Path of the pipeline's configuration file in the repository."""


GITLAB: Final = PublisherKind(
    table=GitLab,
    recognizes=_LAYOUT.recognizes,
    read_claims=_LAYOUT.read_claims,
    block_keys=(
        state_claim("repository", ignore_case=True),
        state_claim("workflow_filepath", attrgetter("workflow")),
        _LAYOUT.make_environment_block_key(),
    ),
    claim_keys={
        "repository": REPOSITORY_KEY,
        "workflow_filepath": WORKFLOW_PATH_KEY,
        **make_common_keys(environment=match_glob("environment")),
    },
    identity=REPOSITORY_IDENTITY,
    proposed_keys=("repository", "workflow_filepath", "repository_id", "owner_id"),
    details=JOB_DETAILS,
    commit_path="/-/commit/",
)
