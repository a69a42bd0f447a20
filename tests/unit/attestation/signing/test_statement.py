"""Statements about files: a proxy with the key accepts the bundle, and only for this file and this key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.attestation.signing.signers import KeySigner, load_key_signer
from assay.attestation.signing.statement import build_bundle, build_statement, has_statement, verify_bundle
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial
from assay.simple.model import File, Sha256
from tests.world.sigstore.review_keys import SUPPORTED_KINDS, write_key

REVIEW = "https://acme.example/review/v1"
SHA256, OTHER = Sha256("ab" * 32), Sha256("cd" * 32)
NAME = "widget-1.0.tar.gz"


def file(filename: str = NAME, sha256: Sha256 = SHA256) -> File:
    return File(filename=filename, url="", location="", route="", distribution=None, sha256=sha256)


def no_secret(name: str) -> str:
    raise AssertionError(f"the {name} was read")


def signer(directory: Path, name: str = "security", kind: str = "P-256") -> KeySigner:
    path = write_key(directory, name, kind)
    return load_key_signer(str(path), public_key_path=None, hint=None, read_secret=no_secret)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> list[KeySigner]:
    return [signer(tmp_path_factory.mktemp("keys"), kind, kind) for kind in SUPPORTED_KINDS]


@given(predicate=st.none() | st.dictionaries(st.text(st.characters(codec="utf-8")), json_values, max_size=4))
def test_a_proxy_reads_from_the_bundle_what_was_stated(
    signers: list[KeySigner], predicate: dict[str, Any] | None
) -> None:
    statement = build_statement(NAME, SHA256, REVIEW, predicate)
    for by in signers:
        bundle = build_bundle(statement, by.sign(statement))
        assert b"\n" not in bundle
        stated = verify_bundle(bundle, file(), by.trust_key)
        assert (stated.key, stated.predicate_type, stated.subject) == (by.hint, REVIEW, NAME)
        assert json.loads(stated.predicate or "") == predicate
        assert has_statement(bundle, statement, by.trust_key)


def test_the_order_of_keys_does_not_change_a_statement() -> None:
    one = build_statement(NAME, SHA256, REVIEW, {"verdict": "ok", "by": {"name": "a", "id": 1}})
    assert one == build_statement(NAME, SHA256, REVIEW, {"by": {"id": 1, "name": "a"}, "verdict": "ok"})


def test_the_bundle_has_the_form_of_version_3(tmp_path: Path) -> None:
    by = signer(tmp_path)
    statement = build_statement(NAME, SHA256, REVIEW, {"verdict": "ok"})
    bundle = json.loads(build_bundle(statement, by.sign(statement)))
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle["verificationMaterial"] == {"publicKey": {"hint": by.hint}}
    assert bundle["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    assert list(bundle["dsseEnvelope"]["signatures"][0]) == ["sig"]
    assert json.loads(statement)["_type"] == "https://in-toto.io/Statement/v1"


def test_the_bundle_counts_for_no_other_file_and_no_other_key(tmp_path: Path) -> None:
    by, other = signer(tmp_path), signer(tmp_path, "other")
    statement = build_statement(NAME, SHA256, REVIEW, None)
    bundle = build_bundle(statement, by.sign(statement))
    assert verify_bundle(bundle, file(), by.trust_key).subject == NAME
    with pytest.raises(CheckFailed, match="subject digest"):
        verify_bundle(bundle, file(sha256=OTHER), by.trust_key)
    with pytest.raises(UnknownMaterial, match="under another name"):
        verify_bundle(bundle, file("gadget-1.0.tar.gz"), by.trust_key)
    with pytest.raises(CheckFailed, match="signature"):
        verify_bundle(bundle, file(), other.trust_key)


def test_only_the_same_statement_by_the_same_key_is_found(tmp_path: Path) -> None:
    by, other = signer(tmp_path), signer(tmp_path, "other")
    statement = build_statement(NAME, SHA256, REVIEW, {"verdict": "ok"})
    bundle = build_bundle(statement, by.sign(statement))
    again = build_bundle(statement, by.sign(statement))
    assert again != bundle, "ECDSA signatures are random"
    assert has_statement(again, statement, by.trust_key)
    assert not has_statement(bundle, build_statement(NAME, SHA256, REVIEW, {"verdict": "bad"}), by.trust_key)
    assert not has_statement(bundle, statement, other.trust_key)
    forged = build_bundle(statement, other.sign(statement))
    assert not has_statement(forged, statement, by.trust_key)


@given(st.binary(max_size=60))
def test_no_bytes_are_an_error_where_a_statement_is_looked_for(signers: list[KeySigner], found: bytes) -> None:
    assert not has_statement(found, b"{}", signers[0].trust_key)
