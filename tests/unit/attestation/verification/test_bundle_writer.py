"""Tests of documents that are written as Sigstore bundles of version 0.3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.attestation.trust_roots import TrustRoot, read_bundled
from assay.attestation.verification.bundle_writer import write_bundles
from assay.attestation.verification.verify import verify, verify_bundles
from assay.evidence import Attested
from assay.ports import DocumentFormat
from tests.paths import CORPUS
from tests.world.sigstore.attacks import (
    DELETE_KEY,
    FILE_SHA256,
    FILENAME,
    make_listed_file,
    set_at_path,
    trust_root_for,
)
from tests.world.sigstore.bundles import BUNDLE_MEDIA_TYPES, build_bundle_list, make_bundle
from tests.world.sigstore.key_bundles import ReviewKey
from tests.world.sigstore.private_sigstore import GitLab, Google, PrivateSigstore
from tests.world.sigstore.reference_verifier import is_bundle_accepted

MANIFEST: list[dict[str, Any]] = json.loads((CORPUS / "manifest.json").read_text())
REAL = [each for each in MANIFEST if each["verified"]]
SIGSTORE = PrivateSigstore(seed=1)
ROOT = trust_root_for(SIGSTORE)
FILE = make_listed_file()
LATEST = BUNDLE_MEDIA_TYPES["0.3"]


@pytest.mark.parametrize("entry", REAL, ids=[Path(each["attestation"]).name for each in REAL])
def test_sigstore_accepts_the_bundle_of_a_real_attestation(entry: dict[str, Any]) -> None:
    file = make_listed_file(entry["filename"], entry["sha256"])
    attestation = json.loads((CORPUS / entry["attestation"]).read_bytes())
    document = json.dumps(
        {"version": 1, "attestation_bundles": [{"publisher": {"kind": "none"}, "attestations": [attestation]}]}
    )
    [text] = write_bundles(document.encode(), DocumentFormat.PROVENANCE)
    name = {"production": "sigstore", "staging": "sigstore-staging"}[entry["sigstore_instance"]]
    root = TrustRoot(name=name, content=read_bundled(name))
    assert json.loads(text)["mediaType"] == LATEST
    assert is_bundle_accepted(text.encode(), file, root.content)
    assert isinstance(verify_bundles(f"[{text}]".encode(), file, [root]), Attested)


@pytest.mark.parametrize("signer", [None, GitLab(), Google()])
def test_the_bundle_of_an_attestation_proves_the_same(signer: Any) -> None:
    document = SIGSTORE.provenance(FILENAME, FILE_SHA256, signer)
    evidence = verify(document, FILE, [ROOT])
    assert isinstance(evidence, Attested)
    texts = write_bundles(document, DocumentFormat.PROVENANCE)
    assert verify_bundles(f"[{','.join(texts)}]".encode(), FILE, [ROOT]) == evidence


@pytest.mark.parametrize("version", sorted(BUNDLE_MEDIA_TYPES))
def test_a_bundle_of_each_version_is_written_as_the_latest(version: str) -> None:
    bundle = make_bundle(SIGSTORE.attestation(FILENAME, FILE_SHA256), version)
    [text] = write_bundles(build_bundle_list(bundle), DocumentFormat.BUNDLES)
    assert json.loads(text) == make_bundle(SIGSTORE.attestation(FILENAME, FILE_SHA256))
    assert is_bundle_accepted(text.encode(), FILE, ROOT.content)


def test_the_bundle_of_a_key_keeps_its_hint_and_loses_null_members() -> None:
    bundle = ReviewKey("security").bundle(FILENAME, FILE_SHA256, "https://acme.example/v1", {}, hint="security")
    older = {**bundle, "mediaType": BUNDLE_MEDIA_TYPES["0.2"], "messageSignature": None}
    [text] = write_bundles(build_bundle_list(older), DocumentFormat.BUNDLES)
    assert json.loads(text) == bundle


@pytest.mark.parametrize(
    "edit",
    [
        set_at_path("mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json"),
        set_at_path("verificationMaterial", []),
        set_at_path("dsseEnvelope", DELETE_KEY),
        set_at_path("more", 1),
    ],
)
def test_a_bundle_that_is_not_supported_is_left_out_and_the_others_stay(edit: Any) -> None:
    good, bad = (make_bundle(SIGSTORE.attestation(FILENAME, FILE_SHA256), edit=each) for each in (None, edit))
    [text] = write_bundles(build_bundle_list(bad, good, []), DocumentFormat.BUNDLES)
    assert json.loads(text) == good


def test_an_attestation_that_is_malformed_is_left_out_and_the_others_stay() -> None:
    good = SIGSTORE.attestation(FILENAME, FILE_SHA256)
    document = json.loads(SIGSTORE.provenance(FILENAME, FILE_SHA256))
    document["attestation_bundles"][0]["attestations"] = [{**good, "version": 2}, good, {}]
    [text] = write_bundles(json.dumps(document).encode(), DocumentFormat.PROVENANCE)
    assert json.loads(text) == make_bundle(good)


@pytest.mark.parametrize("document", [b"", b"\xff", b"[" * 100, b"{}", b"null", b"[" + b"{}," * 20_000 + b"{}]"])
@pytest.mark.parametrize("document_format", list(DocumentFormat))
def test_a_malformed_document_has_no_bundles(document: bytes, document_format: DocumentFormat) -> None:
    assert write_bundles(document, document_format) == []
