"""Cases of the public Sigstore conformance suite (``bundle-verify``), against `verify_bundles`.

The cases with a keyless DSSE bundle and an entry of Rekor v1 apply to Assay (tests/corpus/sigstore-conformance). The
tables below list all other cases of the suite, with the reason why they do not apply. Most of these bundles sign a
file's bytes, which Assay does not accept as evidence. If such a case is about the certificate, the log or the trust
root, `EQUIVALENTS` names an attack on a DSSE bundle that fails the same check.
"""

from __future__ import annotations

from typing import Final

import pytest

from assay.attestation.trust_roots import TrustRoot, read_bundled
from assay.attestation.verification import verify as verify_module
from assay.attestation.verification.verify import verify_bundles
from assay.evidence import SLSA_PREDICATE_TYPE, Attested, Evidence, Unattested, Unverifiable
from tests.paths import CORPUS
from tests.unit.attestation.verification.test_verify_attacks import SIGNED
from tests.world.sigstore.attacks import make_listed_file
from tests.world.sigstore.reference_verifier import is_bundle_accepted

CASES: Final = CORPUS / "sigstore-conformance"
A_TXT: Final = make_listed_file("a.txt", "a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf")
PRODUCTION: Final = TrustRoot(name="sigstore", content=read_bundled("sigstore"))

HAPPY_PATH: Final = "happy-path-intoto-in-dsse-v3"
FAILING: Final = {
    "dsse-invalid-sig_fail": ("signature", "does not verify with this key"),
    "dsse-mismatch-envelope_fail": ("log entry body", "payload hash of the statement"),
    "dsse-mismatch-sig_fail": ("log entry body", "another signature"),
}

SIGNS_BYTES: Final = "the bundle signs the file's bytes and contains no statement, so it says nothing about the file"
REKOR_V2: Final = "the bundle has an entry of Rekor v2, which needs an RFC 3161 timestamp"
INTOTO_ENTRY: Final = (
    "the log entry is of kind intoto 0.0.2, which sigstore refuses too, the certificate lacks the Source Repository"
    " URI, and the case expects RFC 3161 timestamps to be verified"
)
KEY: Final = "the bundle is signed by a key; countersignatures by keys are a separate feature"
NOT_APPLICABLE: Final = {
    SIGNS_BYTES: (
        "bundle-empty-certificate-chain_fail bundle-from-wrong-instance_fail bundle-invalid-base64-signature_fail"
        " bundle-malformed-json_fail bundle-negative-log-index_fail bundle-unknown-version_fail"
        " bundle-with-root-cert_fail bundle-with-sct-with-extensions checkpoint-bad-keyhint_fail"
        " checkpoint-wrong-roothash_fail happy-path-v0.1 happy-path-v0.2 happy-path-v0.3 happy-path-v0.3-new-mediaType"
        " inclusion-proof-corrupted-hash_fail incorrect-public-key_fail integrated-time-in-future_fail"
        " invalid-checkpoint-signature_fail invalid-ct-key_fail invalid-inclusion-proof_fail"
        " message-digest-mismatch_fail set-invalid-signature_fail signature-mismatch_fail"
        " trust-root-tlog-missing-validity-start_fail trust-root-tlog-validity-end-inclusive"
        " trust-root-tsa-validity-end-inclusive wrong-hashedrekord-artifact_fail wrong-hashedrekord-cert-and-sig_fail"
        " wrong-hashedrekord-entry_fail wrong-material_fail"
    ),
    REKOR_V2: (
        "rekor2-checkpoint-cosigned rekor2-checkpoint-missing-log-signature_fail"
        " rekor2-checkpoint-missing-origin_fail rekor2-checkpoint-missing-root-hash_fail"
        " rekor2-checkpoint-missing-size_fail rekor2-checkpoint-multiple-cosigs"
        " rekor2-checkpoint-no-matching-signature_fail rekor2-checkpoint-origin-not-first"
        " rekor2-checkpoint-two-sigs-cosigned rekor2-checkpoint-two-sigs-from-origin rekor2-dsse-happy-path"
        " rekor2-dsse-invalid-sig_fail rekor2-dsse-mismatch-envelope_fail rekor2-dsse-mismatch-sig_fail"
        " rekor2-happy-path rekor2-no-inclusion-proof_fail rekor2-no-timestamp_fail"
        " rekor2-timestamp-outside-trust-root-tsa-validity_fail rekor2-timestamp-outside-tsa-cert-validity_fail"
        " rekor2-timestamp-payload-mismatch_fail rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail"
        " rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail rekor2-timestamp-with-embedded-cert"
        " rekor2-timestamp-with-expired-cert-chain rekor2-timestamp-with-incorrect-time_fail"
        " rekor2-timestamp-without-embedded-cert"
    ),
    INTOTO_ENTRY: (
        "intoto-expired-certificate_fail intoto-log-entry-mismatch_fail intoto-missing-inclusion-proof_fail"
        " intoto-set-outside-signing-cert-validity_fail intoto-tsa-timestamp-outside-cert-validity_fail"
        " intoto-with-custom-trust-root"
    ),
    KEY: "managed-key-and-trusted-root managed-key-happy-path managed-key-no-key_fail managed-key-wrong-key_fail",
}
"""Cases that do not apply, by the reason."""
EQUIVALENTS: Final = {
    "bundle-from-wrong-instance_fail": "the root is another deployment's",
    "checkpoint-bad-keyhint_fail": "the checkpoint's signature has a hint of another key",
    "checkpoint-wrong-roothash_fail": "the checkpoint is of another tree",
    "inclusion-proof-corrupted-hash_fail": "a hash of the proof is another",
    "incorrect-public-key_fail": "another certificate was logged",
    "integrated-time-in-future_fail": "logged after the certificate had expired",
    "intoto-expired-certificate_fail": "it had expired",
    "intoto-log-entry-mismatch_fail": "another statement was logged",
    "intoto-missing-inclusion-proof_fail": "no proof",
    "intoto-set-outside-signing-cert-validity_fail": "logged before the certificate was valid",
    "invalid-checkpoint-signature_fail": "somebody signed in the log's name",
    "invalid-ct-key_fail": "its SCT borrows the log's id",
    "invalid-inclusion-proof_fail": "the tree is of another size",
    "set-invalid-signature_fail": "another key promised",
    "wrong-hashedrekord-cert-and-sig_fail": "the entry is another file's",
    "wrong-material_fail": "the statement is about other bytes",
}
"""Attacks of the attack table that fail the check that a case tests. Further such tests are in test_sigstore_bundle."""


def read_case(name: str) -> bytes:
    return (CASES / f"{name}.sigstore.json").read_bytes()


def attest(name: str, root: TrustRoot = PRODUCTION) -> Evidence:
    return verify_bundles(b"[" + read_case(name) + b"]", A_TXT, [root])


def test_the_happy_path_passes_all_checks_of_sigstore(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its SLSA predicate was copied from another repository, which sigstore does not notice and Assay does."""
    assert is_bundle_accepted(read_case(HAPPY_PATH), A_TXT, PRODUCTION.content)
    stricter = attest(HAPPY_PATH)
    assert isinstance(stricter, Unattested)
    assert [each.step for each in stricter.rejected] == ["SLSA builder"]
    monkeypatch.setattr(verify_module, "check_predicate", lambda *_: None)
    evidence = attest(HAPPY_PATH)
    assert isinstance(evidence, Attested)
    (only,) = evidence.attestations
    assert (only.predicate_type, only.subject, only.claims.repository) == (
        SLSA_PREDICATE_TYPE,
        "a.txt",
        "sigstore-conformance/extremely-dangerous-public-oidc-beacon",
    )


@pytest.mark.parametrize("name", sorted(FAILING))
def test_a_case_that_must_fail_is_rejected_by_the_check_that_it_tests(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "check_predicate", lambda *_: None)
    assert not is_bundle_accepted(read_case(name), A_TXT, PRODUCTION.content)
    evidence = attest(name)
    assert isinstance(evidence, Unattested)
    step, because = FAILING[name]
    assert [(each.step, because in f"{each.expected} {each.found}") for each in evidence.rejected] == [(step, True)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("rekor2-dsse-happy-path", "Rekor v2"), ("managed-key-happy-path", "signs the file's bytes")],
)
def test_a_case_that_does_not_apply_is_unverifiable_and_no_security_event(name: str, reason: str) -> None:
    path = CASES / f"{name}.trusted_root.json"
    root = TrustRoot(name="suite", content=path.read_bytes()) if path.exists() else PRODUCTION
    evidence = attest(name, root)
    assert isinstance(evidence, Unverifiable)
    assert reason in evidence.reason
    assert evidence.rejected == ()


def test_each_case_of_the_suite_is_in_one_table() -> None:
    others = [name for names in NOT_APPLICABLE.values() for name in names.split()]
    assert len(others) == len(set(others))
    assert not {HAPPY_PATH, *FAILING} & set(others)
    assert len(others) + 1 + len(FAILING) == 70
    assert {path.name.partition(".")[0] for path in CASES.glob("*.json")} <= {HAPPY_PATH, *FAILING, *others}


def test_each_equivalent_is_an_attack_on_bundles() -> None:
    attacks = {attack.name for attack in SIGNED}
    assert {name for name in EQUIVALENTS.values() if name not in attacks} == set()
    assert EQUIVALENTS.keys() <= {name for names in NOT_APPLICABLE.values() for name in names.split()}
