"""Tests that the names and texts of the publisher kind ActiveState stay unchanged."""

from __future__ import annotations

import pytest

from assay.evidence import Claims
from assay.policy.language.proposal import make_publisher_entry
from assay.publishers.activestate import ACTIVESTATE
from assay.publishers.extensions import CertificateFacts, InvalidClaimsError
from assay.publishers.matching import compile_publisher
from assay.publishers.signers import describe_signer, identify_publisher, make_signer_key
from tests.unit.policy.factories import attestation
from tests.world.sigstore.signers import ActiveState

ISSUER = "https://platform.activestate.com/api/v1/oauth/oidc"


def read(subject: str | None) -> Claims:
    extensions = {1: ISSUER, 8: ISSUER} | ({} if subject is None else {24: subject})
    facts = CertificateFacts(kind="ActiveState", issuer=ISSUER, san="a", is_email=False, extensions=extensions)
    return ACTIVESTATE.read_claims(facts)


def test_names_of_activestate() -> None:
    assert (ACTIVESTATE.name, ACTIVESTATE.issuer) == ("ActiveState", ISSUER)
    assert ACTIVESTATE.commit_path is None
    assert describe_signer(read("org:acme:project:widget")) == "ActiveState acme (project widget)"
    assert [(key.name, key.is_required) for key in ACTIVESTATE.block_keys] == [
        ("organization", True),
        ("project", True),
    ]
    assert ActiveState().claims()[24] == "org:acme:project:widget"


def test_the_identity_of_a_publisher_is_its_project() -> None:
    claims = read("org:Acme:project:widget")
    found = identify_publisher(attestation(claims=claims))
    assert found is not None
    assert found.subject == "project-path:Acme/widget"
    assert make_publisher_entry(claims) == (("kind", "ActiveState"), ("organization", "Acme"), ("project", "widget"))
    other = read("org:Acme:project:gadget")
    assert make_signer_key(attestation(claims=claims)) != make_signer_key(attestation(claims=other))


def test_further_parts_of_the_subject_are_ignored_as_by_pypi() -> None:
    claims = read("org:acme:project:widget:ingredient:x:y")
    assert (claims.organization, claims.project_path) == ("acme", "acme/widget")


@pytest.mark.parametrize(
    "subject",
    [
        None,
        "",
        "org:acme",
        "org:acme:project:",
        "org::project:widget",
        "project:widget:org:acme",
        "xorg:acme:project:w",
    ],
)
def test_another_subject_is_refused(subject: str | None) -> None:
    with pytest.raises(InvalidClaimsError):
        read(subject)


def test_a_table_without_a_project_covers_the_organization() -> None:
    def covers(subject: str, **keys: str) -> bool:
        table = ACTIVESTATE.table.model_validate({"kind": "ActiveState", **keys})
        return compile_publisher(table).covers(attestation(claims=read(subject)))

    assert covers("org:acme:project:widget", organization="acme")
    assert covers("org:acme:project:widget", organization="acme", project="widget")
    assert not covers("org:acme:project:widget", organization="acme", project="gadget")
    assert not covers("org:evil:project:widget", organization="acme")
    assert not covers("org:Acme:project:widget", organization="acme")
