"""Google service accounts: what is written about them stays as it is."""

from __future__ import annotations

from assay.evidence import Claims
from assay.policy.language.proposal import make_publisher_entry
from assay.publishers.google import GOOGLE
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
