"""GitLab CI/CD, of gitlab.com and self-managed. Pure."""

from __future__ import annotations

from operator import attrgetter
from typing import Final, Literal

from assay.publishers.base import PrintableText, PublisherKind, state_claim
from assay.publishers.repository import (
    COMMON_KEYS,
    ENVIRONMENT_BLOCK_KEY,
    JOB_DETAILS,
    REPOSITORY_IDENTITY,
    REPOSITORY_KEY,
    WORKFLOW_PATH_KEY,
    RepositoryLayout,
    RepositoryPublisher,
)

_ISSUER: Final = "https://gitlab.com"
_LAYOUT: Final = RepositoryLayout(
    issuer=_ISSUER, server="https://gitlab.com", separator="//", directory="", has_groups=True, always_names_ref=True
)


class GitLab(RepositoryPublisher):
    """GitLab CI/CD, gitlab.com unless `issuer` names a self-managed one."""

    kind: Literal["GitLab"]
    """Says which kind of publisher it is."""
    issuer: PrintableText = _ISSUER
    workflow_filepath: PrintableText | None = None
    """Path of the pipeline's file in the repository."""


GITLAB: Final = PublisherKind(
    table=GitLab,
    recognizes=_LAYOUT.recognizes,
    read_claims=_LAYOUT.read_claims,
    block_keys=(
        state_claim("repository"),
        state_claim("workflow_filepath", attrgetter("workflow")),
        ENVIRONMENT_BLOCK_KEY,
    ),
    claim_keys={"repository": REPOSITORY_KEY, "workflow_filepath": WORKFLOW_PATH_KEY, **COMMON_KEYS},
    identity=REPOSITORY_IDENTITY,
    proposed_keys=("repository", "workflow_filepath", "repository_id", "owner_id"),
    details=JOB_DETAILS,
    commit_path="/-/commit/",
)
