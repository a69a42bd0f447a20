"""Tests that the names and texts of the publisher kind GitHub Actions stay unchanged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.policy.language.proposal import make_publisher_entry
from assay.publishers.github import GITHUB
from assay.publishers.signers import describe_signer, identify_publisher
from tests.unit.policy.factories import attestation, claims


def test_names_and_addresses_of_github() -> None:
    assert (GITHUB.name, GITHUB.issuer) == ("GitHub", "https://token.actions.githubusercontent.com")
    assert GITHUB.commit_path == "/commit/"
    assert describe_signer(claims(environment="pypi")) == (
        "GitHub octo/widget (workflow release.yml, environment pypi, ref refs/tags/v1)"
    )
    assert [(key.name, key.is_required) for key in GITHUB.block_keys] == [
        ("repository", True),
        ("workflow", True),
        ("environment", False),
    ]


def test_the_identity_of_a_repository_is_its_number_else_its_name_in_lower_case() -> None:
    by_number = identify_publisher(attestation(repository="Renamed/Widget"))
    by_name = identify_publisher(attestation(repository="Octo/Widget", repository_id=None))
    assert by_number is not None
    assert by_name is not None
    assert (by_number.subject, by_name.subject) == ("repository-id:1001", "repository:octo/widget")


@pytest.mark.parametrize(
    ("path", "proposed"),
    [
        (".github/workflows/release.yml", "release.yml"),
        (".github/workflows/sub/release.yml", ".github/workflows/sub/release.yml"),
        ("ci/release.yml", "ci/release.yml"),
        (None, None),
    ],
)
def test_a_proposal_has_the_workflow_as_pypi_has_it_and_the_numbers(path: str | None, proposed: str | None) -> None:
    assert make_publisher_entry(replace(claims(), workflow=path)) == (
        ("kind", "GitHub"),
        ("repository", "octo/widget"),
        *((("workflow", proposed),) if proposed else ()),
        ("repository_id", "1001"),
        ("owner_id", "77"),
    )
