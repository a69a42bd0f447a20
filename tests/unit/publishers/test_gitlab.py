"""Tests that the names and texts of the publisher kind GitLab CI/CD stay unchanged."""

from __future__ import annotations

from assay.policy.language.proposal import make_publisher_entry
from assay.publishers.gitlab import GITLAB
from assay.publishers.signers import describe_signer, identify_publisher
from tests.unit.policy.factories import attestation, claims

PIPELINE = claims(
    kind="GitLab", issuer="https://gitlab.com", repository="Group/sub/Widget", workflow=".gitlab-ci.yml", ref="main"
)


def test_names_and_addresses_of_gitlab() -> None:
    assert (GITLAB.name, GITLAB.issuer) == ("GitLab", "https://gitlab.com")
    assert GITLAB.commit_path == "/-/commit/"
    assert describe_signer(PIPELINE) == "GitLab Group/sub/Widget (workflow .gitlab-ci.yml, ref main)"
    assert [(key.name, key.is_required) for key in GITLAB.block_keys] == [
        ("repository", True),
        ("workflow_filepath", True),
        ("environment", False),
    ]


def test_the_identity_of_a_repository_is_its_number() -> None:
    found = identify_publisher(attestation(claims=PIPELINE))
    assert found is not None
    assert found.subject == "repository-id:1001"


def test_a_proposal_has_the_whole_path_of_the_pipeline() -> None:
    assert make_publisher_entry(PIPELINE) == (
        ("kind", "GitLab"),
        ("repository", "Group/sub/Widget"),
        ("workflow_filepath", ".gitlab-ci.yml"),
        ("repository_id", "1001"),
        ("owner_id", "77"),
    )
