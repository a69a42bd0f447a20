"""Tests of the list of publisher kinds: no duplicates, lookups, and stable names in records."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from assay.evidence import Claims
from assay.publishers.base import PublisherKind
from assay.publishers.extensions import EXTENSION_NAMES, CertificateFacts, InvalidClaimsError
from assay.publishers.google import GOOGLE, is_service_account
from assay.publishers.registry import (
    PUBLISHER_KINDS,
    RECORDED_CLAIMS,
    Publisher,
    find_publisher_kind,
    get_publisher_kind,
    get_table_kind,
    recognize_kind,
)
from tests.unit.publishers.factories import make_table
from tests.world.sigstore.signers import ActiveState, CircleCI, GitHub, GitLab, Google, Person, Signer

each_kind = pytest.mark.parametrize("kind", PUBLISHER_KINDS, ids=lambda kind: kind.name)
SIGNERS: tuple[Signer, ...] = (
    GitHub(),
    GitHub(environment="pypi"),
    GitLab(),
    Google(),
    CircleCI(),
    ActiveState(),
    Person(),
)
TEXTS = sorted({text for signer in SIGNERS for text in signer.claims().values()})


def test_names_issuers_tables_and_labels_tell_the_kinds_apart() -> None:
    for part in ("name", "issuer", "table"):
        assert len({getattr(kind, part) for kind in PUBLISHER_KINDS}) == len(PUBLISHER_KINDS), part
    labels = {(each.label, each.claim) for kind in PUBLISHER_KINDS for each in kind.identity}
    assert len({label for label, _ in labels}) == len({claim for _, claim in labels}) == len(labels)


@each_kind
def test_a_kind_is_found_by_name_issuer_and_table(kind: PublisherKind) -> None:
    assert find_publisher_kind(kind.name) is get_publisher_kind(kind.name) is kind
    assert recognize_kind(kind.issuer, {}) is kind
    assert get_table_kind(make_table(kind)) is kind


def test_an_unknown_kind_is_not_found() -> None:
    assert find_publisher_kind(None) is find_publisher_kind("Gitea") is find_publisher_kind("github") is None
    with pytest.raises(ValueError, match="'Gitea' is not a kind of Trusted Publisher that Assay supports"):
        get_publisher_kind("Gitea")
    assert recognize_kind("https://gitea.example", {}) is None


def test_a_policys_publisher_is_of_any_kind() -> None:
    schema = TypeAdapter(Publisher).json_schema()
    assert list(schema["discriminator"]["mapping"]) == sorted(kind.name for kind in PUBLISHER_KINDS)
    assert list(schema["$defs"]) == sorted(kind.table.__name__ for kind in PUBLISHER_KINDS)


def test_the_trail_records_what_policies_compare_and_the_order_is_a_contract() -> None:
    assert RECORDED_CLAIMS[:18] == (
        *("kind", "issuer", "san", "repository", "workflow", "ref", "environment", "trigger", "runner", "visibility"),
        *("repository_id", "owner_id", "builder", "email", "project_id", "pipeline_definition_id"),
        *("vcs_origin", "vcs_ref"),
    )
    assert {key.claim for kind in PUBLISHER_KINDS for key in kind.claim_keys.values()} <= set(RECORDED_CLAIMS)
    assert set(RECORDED_CLAIMS) <= {field.name for field in fields(Claims)}


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(sorted(EXTENSION_NAMES)), st.sampled_from(TEXTS), max_size=12),
    st.sampled_from(SIGNERS),
    st.sampled_from(TEXTS),
    st.booleans(),
)
def test_any_extensions_are_read_or_refused(changes: dict[int, str], signer: Signer, san: str, is_email: bool) -> None:
    extensions = signer.claims() | changes
    for kind in PUBLISHER_KINDS:
        facts = CertificateFacts(kind=kind.name, issuer="https://x", san=san, is_email=is_email, extensions=extensions)
        try:
            claims = kind.read_claims(facts)
        except InvalidClaimsError:
            continue
        # A person may have the issuer of a kind and is none of its publishers.
        assert claims.kind == kind.name or (claims.kind is None and kind is GOOGLE and not is_service_account(san))
        assert (claims.issuer, claims.san) == ("https://x", san)
    shaped = [
        kind for kind in PUBLISHER_KINDS if kind.recognizes is not None and kind.recognizes("https://x", extensions)
    ]
    assert len(shaped) <= 1, "the order of the list would say which it is"


@pytest.mark.parametrize("signer", [GitHub(), GitLab()], ids=lambda signer: type(signer).__name__)
def test_a_self_managed_server_is_known_by_the_shape_of_its_certificates(signer: Signer) -> None:
    issuer = "https://token.acme.example"
    kind = recognize_kind(issuer, signer.claims())
    assert kind is not None
    assert kind.name == signer.publisher()["kind"]
    assert (
        recognize_kind("https://token.acme.example", {**signer.claims(), 12: "https://elsewhere.example/a/b"}) is None
    )
