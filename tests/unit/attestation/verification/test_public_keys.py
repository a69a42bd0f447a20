"""Tests of bundles that a public key has signed, and of the keys that are accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from assay.attestation.codec import decode_evidence, encode_evidence
from assay.attestation.trust_roots import TrustKey
from assay.attestation.verification.public_keys import load_public_key
from assay.attestation.verification.verify import verify_bundles
from assay.evidence import Evidence, KeyStatement, Unattested, Unverifiable
from tests.world.sigstore.attacks import FILE_SHA256, FILENAME, OTHER_SHA256, flip_base64, make_listed_file
from tests.world.sigstore.bundles import build_bundle_list
from tests.world.sigstore.key_bundles import KeyKind, ReviewKey

REVIEW = "https://acme.example/review/v1"
SECURITY, STRANGER = ReviewKey("security"), ReviewKey("stranger")
KEYS = (TrustKey(name="legal", pem=ReviewKey("legal", "P-384").pem), TrustKey(name="security", pem=SECURITY.pem))


def judge(*bundles: object, keys: tuple[TrustKey, ...] = KEYS) -> Evidence:
    return verify_bundles(build_bundle_list(*bundles), make_listed_file(), [], keys)


def review(key: ReviewKey = SECURITY, **changes: Any) -> dict[str, Any]:
    filename, sha256 = changes.pop("filename", FILENAME), changes.pop("sha256", FILE_SHA256)
    return key.bundle(filename, sha256, changes.pop("predicate_type", REVIEW), {"verdict": "ok"}, **changes)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519"])
def test_each_kind_of_key_signs(kind: KeyKind) -> None:
    key = ReviewKey("security", kind)
    evidence = judge(review(key), keys=(*KEYS[:1], TrustKey(name="security", pem=key.pem)))
    statement = KeyStatement(
        key="security", predicate_type=REVIEW, predicate='{"verdict":"ok"}', subject=FILENAME, bundle=0
    )
    assert evidence == Unattested(key_statements=(statement,))
    assert decode_evidence(encode_evidence(evidence)) == evidence


@pytest.mark.parametrize("hint", [None, "", "security", "c2hhMjU2", "another"])
def test_the_hint_is_not_needed(hint: str | None) -> None:
    evidence = judge(review(hint=hint))
    assert isinstance(evidence, Unattested)
    assert [each.key for each in evidence.key_statements] == ["security"]


def test_log_entries_and_timestamps_are_ignored() -> None:
    def edit(bundle: dict[str, Any]) -> None:
        bundle["verificationMaterial"] |= {"tlogEntries": [{"logIndex": "1"}], "timestampVerificationData": {}}

    evidence = judge(review(edit=edit))
    assert isinstance(evidence, Unattested)
    assert len(evidence.key_statements) == 1


def _tamper(bundle: dict[str, Any]) -> None:
    envelope = bundle["dsseEnvelope"]
    envelope["signatures"][0]["sig"] = flip_base64(envelope["signatures"][0]["sig"])


_TWICE = json.dumps({"_type": "https://in-toto.io/Statement/v1", "predicateType": REVIEW}).encode()


@pytest.mark.parametrize(
    ("bundle", "step"),
    [
        (review(STRANGER), "signature"),
        (review(STRANGER, hint="security"), "signature"),
        (review(edit=_tamper), "signature"),
        (review(payload_type="application/json"), "payload type"),
        (review(sha256=OTHER_SHA256), "subject digest"),
        (review(statement=b"not JSON"), "statement"),
        (review(statement=_TWICE.replace(b"{", b'{"predicateType": "a", ')), "statement"),
    ],
    ids=["another key", "with a hint", "tampered", "payload type", "digest", "no JSON", "a key twice"],
)
def test_a_bundle_that_fails_a_check_is_rejected_and_the_others_count(bundle: object, step: str) -> None:
    evidence = judge(bundle, review())
    assert isinstance(evidence, Unattested)
    assert [each.step for each in evidence.rejected] == [step]
    assert [each.bundle for each in evidence.key_statements] == [1]


def test_a_bundle_under_another_name_counts_for_nothing() -> None:
    evidence = judge(review(filename="widget-2.0.tar.gz"))
    assert isinstance(evidence, Unverifiable)
    assert "under another name" in evidence.reason
    assert evidence.key_statements == ()


def test_without_keys_nothing_is_rejected() -> None:
    evidence = judge(review(), keys=())
    assert isinstance(evidence, Unverifiable)
    assert "[trust.keys]" in evidence.reason


def test_a_large_predicate_is_not_kept() -> None:
    bundle = SECURITY.bundle(FILENAME, FILE_SHA256, REVIEW, {"verdict": "ok", "more": "x" * 20_000})
    evidence = judge(bundle)
    assert isinstance(evidence, Unattested)
    assert [each.predicate for each in evidence.key_statements] == [None]


def _state(predicate_type: str, predicate: str) -> bytes:
    subject = json.dumps([{"name": FILENAME, "digest": {"sha256": FILE_SHA256}}])
    return (
        f'{{"_type": "https://in-toto.io/Statement/v1", "subject": {subject}, "predicateType": "{predicate_type}",'
        f' "predicate": {predicate}}}'
    ).encode()


@pytest.mark.parametrize(
    ("predicate", "kept"),
    [
        ('{"verdict": "ok"}', '{"verdict":"ok"}'),
        ('{"verdict": "bad", "verdict": "ok"}', None),
        ('{"verdict": "ok", "more": [{"a": "\\ud83d\\ude00", "a": 2}]}', None),
    ],
    ids=["once", "twice", "twice inside"],
)
def test_a_predicate_with_the_same_key_twice_meets_no_condition_and_is_not_ignored(
    predicate: str, kept: str | None
) -> None:
    evidence = judge(review(), review(statement=_state(REVIEW, predicate)))
    assert isinstance(evidence, Unattested)
    assert not evidence.rejected
    assert [each.predicate for each in evidence.key_statements] == ['{"verdict":"ok"}', kept]
    assert decode_evidence(encode_evidence(evidence)) == evidence


@pytest.mark.parametrize(("predicate", "counts"), [('{"a": 1, "b": 1}', True), ('{"a": 1, "a": 1}', False)])
def test_a_predicate_of_provenance_must_not_have_the_same_key_twice(predicate: str, counts: bool) -> None:
    evidence = judge(review(statement=_state("https://slsa.dev/provenance/v1", predicate)))
    assert isinstance(evidence, Unattested)
    assert (len(evidence.key_statements), len(evidence.rejected)) == ((1, 0) if counts else (0, 1))


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ec.generate_private_key(ec.SECP256K1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        rsa.generate_private_key(65537, 2048)
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["empty", "no key", "another curve", "RSA"],
)
def test_another_kind_of_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match="ECDSA P-256 or P-384, or Ed25519"):
        load_public_key(pem)
    load_public_key(SECURITY.pem)
