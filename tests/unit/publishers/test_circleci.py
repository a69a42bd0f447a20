"""Tests that the names and texts of the publisher kind CircleCI stay unchanged."""

from __future__ import annotations

from assay.evidence import Claims
from assay.policy.language.proposal import make_publisher_entry
from assay.publishers.circleci import CIRCLECI
from assay.publishers.signers import describe_signer, identify_publisher
from tests.unit.policy.factories import attestation

PROJECT, PIPELINE = "FDD9283F-e619-46af-8f9c-851f7d3e8b2b", "8e4f8ab2-8d7c-4827-9f15-de076d6d647f"
RUN = Claims(
    kind="CircleCI",
    issuer="https://oidc.circleci.com",
    san=f"https://circleci.com/api/v2/projects/{PROJECT}/pipeline-definitions/{PIPELINE}",
    project_id=PROJECT,
    pipeline_definition_id=PIPELINE,
    vcs_origin="github.com/acme/widget",
    vcs_ref="refs/heads/main",
)


def test_names_of_circleci() -> None:
    assert (CIRCLECI.name, CIRCLECI.issuer) == ("CircleCI", "https://oidc.circleci.com")
    assert CIRCLECI.commit_path is None
    assert describe_signer(RUN) == f"CircleCI {PROJECT}"
    assert [(key.name, key.is_required) for key in CIRCLECI.block_keys] == [
        ("project_id", True),
        ("pipeline_definition_id", True),
        ("vcs_origin", False),
        ("vcs_ref", False),
    ]


def test_the_identity_of_a_pipeline_is_its_project_in_lower_case() -> None:
    found = identify_publisher(attestation(claims=RUN))
    assert found is not None
    assert found.subject == f"project:{PROJECT.lower()}"
    assert make_publisher_entry(RUN) == (
        ("kind", "CircleCI"),
        ("project_id", PROJECT),
        ("pipeline_definition_id", PIPELINE),
    )
