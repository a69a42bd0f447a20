"""Tests that the names and texts of the publisher kind Google stay unchanged."""

from __future__ import annotations

import pytest

from assay.evidence import Claims
from assay.policy.language.proposal import make_publisher_entry
from assay.publishers.google import GOOGLE, is_service_account
from assay.publishers.signers import describe_signer, identify_publisher
from tests.unit.policy.factories import attestation

EMAIL = "Build@acme.iam.gserviceaccount.com"
ACCOUNT = Claims(kind="Google", issuer="https://accounts.google.com", san=EMAIL, email=EMAIL)


def test_names_of_google() -> None:
    assert (GOOGLE.name, GOOGLE.issuer) == ("Google", "https://accounts.google.com")
    assert GOOGLE.commit_path is None
    assert describe_signer(ACCOUNT) == f"Google {EMAIL}"
    assert [(key.name, key.is_required) for key in GOOGLE.block_keys] == [("email", True)]


def test_the_identity_of_an_account_is_its_address_in_lower_case() -> None:
    found = identify_publisher(attestation(claims=ACCOUNT))
    assert found is not None
    assert found.subject == "email:build@acme.iam.gserviceaccount.com"
    assert make_publisher_entry(ACCOUNT) == (("kind", "Google"), ("email", EMAIL))


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        ("build@acme.iam.gserviceaccount.com", True),
        ("Build@ACME.iam.GServiceAccount.com", True),
        ("build@acme.example.iam.gserviceaccount.com", True),
        ("acme@appspot.gserviceaccount.com", True),
        ("1234-compute@developer.gserviceaccount.com", True),
        ("jane@gmail.com", False),
        ("jane@acme.example", False),
        ("jane@gserviceaccount.com", False),
        ("jane@evilgserviceaccount.com", False),
        ("jane@acme.iam.gserviceaccount.com.evil.example", False),
        ("acme.iam.gserviceaccount.com@gmail.com", False),
        ("jane@evil.example@acme.iam.gserviceaccount.com", False),
        ("@acme.iam.gserviceaccount.com", False),
        ("build@acme.iam.gserviceaccount.co\u212a", False),
    ],
)
def test_only_service_accounts_are_publishers(email: str, expected: bool) -> None:
    assert is_service_account(email) is expected
