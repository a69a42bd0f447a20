"""Tests of Sigstore bundles, through `verify_bundles`: versions, the binding to the file, and what does not count."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from assay.attestation.verification.strict_json import (
    MAX_BUNDLE_LIST_BYTES,
    MAX_LIST_CONTAINERS,
    MAX_LISTED_BUNDLES,
)
from assay.attestation.verification.verify import verify, verify_bundles
from assay.evidence import Attested, Evidence, Rejection, Unattested, Unverifiable
from tests.world.sigstore.attacks import (
    DELETE_KEY,
    FILE_SHA256,
    FILENAME,
    OTHER_SHA256,
    flip_base64,
    make_listed_file,
    set_at_path,
    set_in_statement,
    trust_root_for,
)
from tests.world.sigstore.bundles import BUNDLE_MEDIA_TYPES, build_bundle_list, make_bundle
from tests.world.sigstore.certificates import encode_der
from tests.world.sigstore.private_sigstore import (
    SLSA_PREDICATE,
    GitHub,
    PrivateSigstore,
    build_provenance,
    make_slsa_predicate,
)

SBOM = "https://spdx.dev/Document/v2.3"


@pytest.fixture(scope="module")
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=1)


def judge(sigstore: PrivateSigstore, *bundles: object) -> Evidence:
    return verify_bundles(build_bundle_list(*bundles), make_listed_file(), [trust_root_for(sigstore)])


def signed(sigstore: PrivateSigstore, version: str = "0.3", edit: Any = None, **arguments: Any) -> dict[str, Any]:
    return make_bundle(sigstore.attestation(FILENAME, FILE_SHA256, **arguments), version, edit)


def slsa(sigstore: PrivateSigstore, **arguments: Any) -> dict[str, Any]:
    predicate = make_slsa_predicate(GitHub())
    return signed(sigstore, predicate_type=SLSA_PREDICATE, predicate=predicate, **arguments)


@pytest.mark.parametrize("version", sorted(BUNDLE_MEDIA_TYPES))
def test_a_bundle_proves_what_the_same_attestation_of_a_provenance_document_proves(
    sigstore: PrivateSigstore, version: str
) -> None:
    attestation = sigstore.attestation(FILENAME, FILE_SHA256)
    document = build_provenance((GitHub().publisher(), [attestation]))
    expected = verify(document, make_listed_file(), [trust_root_for(sigstore)])
    assert isinstance(expected, Attested)
    assert judge(sigstore, make_bundle(attestation, version)) == expected


def test_the_other_media_type_of_version_0_3_is_accepted(sigstore: PrivateSigstore) -> None:
    bundle = signed(sigstore, edit=set_at_path("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.3"))
    assert isinstance(judge(sigstore, bundle), Attested)


def test_each_bundle_of_a_list_has_its_own_number(sigstore: PrivateSigstore) -> None:
    evidence = judge(sigstore, signed(sigstore), slsa(sigstore))
    assert isinstance(evidence, Attested)
    assert [(each.bundle, each.is_provenance) for each in evidence.attestations] == [(0, True), (1, True)]
    assert evidence.attestations[1].slsa is not None


@pytest.mark.parametrize("kind", ["https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"])
def test_both_versions_of_statements_are_read(sigstore: PrivateSigstore, kind: str) -> None:
    assert isinstance(judge(sigstore, signed(sigstore, statement=set_in_statement("_type", kind))), Attested)


def test_a_predicate_of_another_type_is_attested_and_is_no_provenance(sigstore: PrivateSigstore) -> None:
    evidence = judge(sigstore, signed(sigstore, predicate_type=SBOM, predicate={"spdxVersion": "SPDX-2.3"}))
    assert isinstance(evidence, Attested)
    (one,) = evidence.attestations
    assert (one.predicate_type, one.is_provenance) == (SBOM, False)


# -- binding to the file ----------------------------------------------------------------------------------------------


def subjects(*listed: tuple[str | None, str]) -> Any:
    return set_in_statement(
        "subject",
        [{"digest": {"sha256": sha256}} | ({} if name is None else {"name": name}) for name, sha256 in listed],
    )


@pytest.mark.parametrize(
    "listed",
    [
        [(FILENAME, FILE_SHA256), ("widget-1.0-py3-none-any.whl", OTHER_SHA256)],
        [(f"dist/{FILENAME}", FILE_SHA256)],
        [(f"./dist/{FILENAME}", FILE_SHA256)],
        [("Widget-1.0.0.tar.gz", FILE_SHA256)],
    ],
)
def test_the_file_is_one_of_the_subjects(sigstore: PrivateSigstore, listed: list[tuple[str | None, str]]) -> None:
    evidence = judge(sigstore, signed(sigstore, statement=subjects(*listed)))
    assert isinstance(evidence, Attested)
    assert evidence.attestations[0].subject == listed[0][0]


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ([("gadget-1.0.tar.gz", FILE_SHA256)], "under another name: gadget-1.0.tar.gz"),
        ([("widget-1.1.tar.gz", FILE_SHA256)], "under another name: widget-1.1.tar.gz"),
        ([(f"{FILENAME}/evil", FILE_SHA256)], f"under another name: {FILENAME}/evil"),
        ([("", FILE_SHA256)], "under another name: none"),
        ([(None, FILE_SHA256)], "under another name: none"),
        ([(FILENAME, FILE_SHA256), (FILENAME, FILE_SHA256)], "names the file's bytes 2 times"),
        ([(FILENAME, FILE_SHA256), ("gadget-1.0.tar.gz", FILE_SHA256)], "names the file's bytes 2 times"),
    ],
)
def test_a_bundle_for_the_same_bytes_under_another_name_counts_for_nothing(
    sigstore: PrivateSigstore, listed: list[tuple[str | None, str]], reason: str
) -> None:
    other = signed(sigstore, statement=subjects(*listed))
    alone, beside = judge(sigstore, other), judge(sigstore, other, signed(sigstore))
    assert isinstance(alone, Unverifiable)
    assert reason in alone.reason
    assert alone.rejected == ()
    assert isinstance(beside, Attested)
    assert [each.bundle for each in beside.attestations] == [1]
    assert beside.ignored == (alone.reason,)


def test_a_bundle_for_other_bytes_is_rejected(sigstore: PrivateSigstore) -> None:
    evidence = judge(sigstore, signed(sigstore, statement=subjects((FILENAME, OTHER_SHA256))))
    assert isinstance(evidence, Unattested)
    assert [(each.step, each.bundle) for each in evidence.rejected] == [("subject digest", 0)]


def test_a_bundle_under_another_name_that_also_fails_a_check_is_rejected(sigstore: PrivateSigstore) -> None:
    forged = make_bundle(sigstore.attestation("gadget-1.0.tar.gz", FILE_SHA256, entry=_spoil_set))
    evidence = judge(sigstore, forged)
    assert isinstance(evidence, Unattested)
    assert [each.step for each in evidence.rejected] == ["inclusion promise"]


def _spoil_set(entry: Any) -> None:
    entry.promise_key = PrivateSigstore(seed=3).rekor.key


# -- bundles that fail ------------------------------------------------------------------------------------------------


def test_a_bundle_that_fails_has_no_effect_on_the_others(sigstore: PrivateSigstore) -> None:
    tampered = signed(sigstore, edit=set_at_path("dsseEnvelope.signatures.0.sig", flip_base64))
    evidence = judge(sigstore, tampered, signed(sigstore), 7)
    assert isinstance(evidence, Attested)
    assert [each.bundle for each in evidence.attestations] == [1]
    assert [(each.step, each.bundle) for each in evidence.rejected] == [("signature", 0), ("bundle", 2)]
    assert judge(sigstore, tampered) == Unattested(rejected=evidence.rejected[:1])


def test_a_slsa_predicate_that_disagrees_with_the_certificate_is_rejected(sigstore: PrivateSigstore) -> None:
    stranger = make_slsa_predicate(GitHub(repository="evil/widget"))
    evidence = judge(sigstore, signed(sigstore, predicate_type=SLSA_PREDICATE, predicate=stranger))
    assert isinstance(evidence, Unattested)
    assert isinstance(evidence.rejected[0], Rejection)
    assert evidence.rejected[0].step.startswith("SLSA")


@pytest.mark.parametrize(
    ("path", "value", "step"),
    [
        ("verificationMaterial", DELETE_KEY, "bundle"),
        ("verificationMaterial.certificate", DELETE_KEY, "bundle"),
        ("verificationMaterial.publicKey", {"hint": "a"}, "bundle"),
        ("verificationMaterial.certificate.rawBytes", "AAAA", "certificate"),
        ("verificationMaterial.tlogEntries", [], "log entries"),
        ("verificationMaterial.tlogEntries", lambda entries: entries * 2, "log entries"),
        ("verificationMaterial.tlogEntries.0.inclusionProof", DELETE_KEY, "inclusion proof"),
        ("verificationMaterial.tlogEntries.0.inclusionPromise", DELETE_KEY, "inclusion promise"),
        ("dsseEnvelope", DELETE_KEY, "bundle"),
        ("dsseEnvelope.signatures", [], "signature"),
        ("dsseEnvelope.signatures", lambda signatures: signatures * 2, "signature"),
        ("dsseEnvelope.payload", lambda text: b64encode(text.encode()).decode(), "signature"),
        ("messageSignature", {"signature": "AAAA"}, "bundle"),
        ("mediaType", BUNDLE_MEDIA_TYPES["0.2"], "bundle"),
        ("mediaType", DELETE_KEY, "bundle"),
    ],
)
def test_a_malformed_bundle_is_rejected(sigstore: PrivateSigstore, path: str, value: object, step: str) -> None:
    evidence = judge(sigstore, signed(sigstore, edit=set_at_path(path, value)))
    assert isinstance(evidence, Unattested)
    assert [each.step for each in evidence.rejected] == [step]


def _chain(*more: bytes) -> Any:
    listed = [{"rawBytes": b64encode(one).decode()} for one in more]
    return set_at_path("verificationMaterial.x509CertificateChain.certificates", lambda chain: [*chain, *listed])


def test_a_chain_may_have_an_intermediate_certificate_and_no_root(sigstore: PrivateSigstore) -> None:
    intermediate, root = encode_der(sigstore.intermediate), encode_der(sigstore.root)
    assert isinstance(judge(sigstore, signed(sigstore, "0.2", _chain(intermediate))), Attested)
    for chain in ([root], [intermediate, root], [b"no certificate"], [intermediate] * 8):
        evidence = judge(sigstore, signed(sigstore, "0.2", _chain(*chain)))
        assert isinstance(evidence, Unattested)
        assert [each.step for each in evidence.rejected] == ["certificate"]


def _use_key(bundle: dict[str, Any]) -> None:
    del bundle["verificationMaterial"]["certificate"]
    bundle["verificationMaterial"]["publicKey"] = {"hint": "security"}


def _use_timestamp(bundle: dict[str, Any]) -> None:
    material = bundle["verificationMaterial"]
    del material["tlogEntries"]
    material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]}


def _use_timestamp_for_entry(bundle: dict[str, Any]) -> None:
    material = bundle["verificationMaterial"]
    del material["tlogEntries"][0]["inclusionPromise"]
    material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]}


def _sign_bytes(bundle: dict[str, Any]) -> None:
    del bundle["dsseEnvelope"]
    bundle["messageSignature"] = {"messageDigest": {"algorithm": "SHA2_256", "digest": "AAAA"}, "signature": "AAAA"}


@pytest.mark.parametrize(
    ("version", "edit", "reason"),
    [
        ("0.3", set_at_path("mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json"), "bundle.v0.4"),
        ("0.3", _use_key, "signed by a key"),
        ("0.3", set_at_path("more", 1), "unknown keys: more"),
        ("0.3", set_at_path("verificationMaterial.more", 1), "unknown keys: more"),
        ("0.3", set_at_path("verificationMaterial.certificate.more", 1), "unknown keys: more"),
        ("0.3", set_at_path("dsseEnvelope.more", 1), "unknown keys: more"),
        ("0.3", set_at_path("dsseEnvelope.signatures.0.more", 1), "unknown keys: more"),
        ("0.3", _use_timestamp, "RFC 3161"),
        ("0.3", _use_timestamp_for_entry, "RFC 3161"),
        ("0.3", _sign_bytes, "signs the file's bytes"),
        ("0.3", set_at_path("dsseEnvelope.payloadType", "text/plain"), "payload type text/plain"),
        ("0.1", set_at_path("verificationMaterial.tlogEntries.0.inclusionProof", DELETE_KEY), "no inclusion proof"),
        ("0.1", set_at_path("verificationMaterial.tlogEntries.0.inclusionProof.checkpoint", DELETE_KEY), "checkpoint"),
    ],
)
def test_what_assay_does_not_support_is_unverifiable_with_the_reason(
    sigstore: PrivateSigstore, version: str, edit: Any, reason: str
) -> None:
    evidence = judge(sigstore, signed(sigstore, version, edit))
    assert isinstance(evidence, Unverifiable)
    assert reason in evidence.reason
    assert evidence.rejected == ()


def test_an_entry_of_rekor_v2_is_unverifiable(sigstore: PrivateSigstore) -> None:
    def upgrade(entry: Any) -> None:
        entry.version = entry.body["apiVersion"] = "0.0.2"

    evidence = judge(sigstore, signed(sigstore, entry=upgrade))
    assert isinstance(evidence, Unverifiable)
    assert "Rekor v2" in evidence.reason
    assert "RFC 3161" in evidence.reason


def test_a_timestamp_beside_an_entry_of_rekor_v1_is_not_needed(sigstore: PrivateSigstore) -> None:
    timestamps = {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]}
    bundle = signed(sigstore, edit=set_at_path("verificationMaterial.timestampVerificationData", timestamps))
    assert isinstance(judge(sigstore, bundle), Attested)


def test_a_bundle_of_an_unknown_instance_is_unverifiable(sigstore: PrivateSigstore) -> None:
    evidence = judge(sigstore, signed(PrivateSigstore(seed=2)))
    assert isinstance(evidence, Unverifiable)
    assert "not in the trust root" in evidence.reason


# -- lists ------------------------------------------------------------------------------------------------------------


def test_an_empty_list_is_unattested(sigstore: PrivateSigstore) -> None:
    assert judge(sigstore) == Unattested()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not a list of Sigstore bundles"),
        (b"<html>", "not a list of Sigstore bundles"),
        (b"{}", "not a list of Sigstore bundles"),
        (b"[" * 40 + b"]" * 40, "nesting"),
        (b'[{"a":1,"a":2}]', "same key twice"),
        (json.dumps([{}] * (MAX_LISTED_BUNDLES + 1)).encode(), f"{MAX_LISTED_BUNDLES + 1} bundles"),
        (b" " * (MAX_BUNDLE_LIST_BYTES + 1), f"{MAX_BUNDLE_LIST_BYTES + 1} bytes"),
        (b"[[" + b"[]," * MAX_LIST_CONTAINERS + b"1]]", f"more than {MAX_LIST_CONTAINERS} JSON objects and arrays"),
    ],
    ids=["empty", "html", "object", "nesting", "duplicate", "count", "size", "containers"],
)
def test_a_document_that_cannot_be_read_is_unverifiable(sigstore: PrivateSigstore, raw: bytes, reason: str) -> None:
    evidence = verify_bundles(raw, make_listed_file(), [trust_root_for(sigstore)])
    assert isinstance(evidence, Unverifiable)
    assert reason in evidence.reason


def test_a_list_may_have_the_maximum_number_of_bundles(sigstore: PrivateSigstore) -> None:
    evidence = judge(sigstore, *[{}] * (MAX_LISTED_BUNDLES - 1), signed(sigstore))
    assert isinstance(evidence, Attested)
    assert len(evidence.rejected) == MAX_LISTED_BUNDLES - 1
    full = judge(sigstore, *[signed(sigstore)] * MAX_LISTED_BUNDLES)
    assert isinstance(full, Attested)
    assert len(full.attestations) == MAX_LISTED_BUNDLES
