"""Tests with real attestations (tests/corpus): each gets the verdict and the reason that its manifest states."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from assay.attestation.trust_roots import TrustRoot, read_bundled
from assay.attestation.verification.verify import verify, verify_attestation
from assay.evidence import (
    PUBLISH_PREDICATE_TYPE,
    SLSA_PREDICATE_TYPE,
    Attestation,
    Attested,
    Forged,
    Unverifiable,
)
from assay.publishers.registry import PUBLISHER_KINDS
from tests.paths import CORPUS
from tests.world.sigstore.attacks import make_listed_file
from tests.world.sigstore.private_sigstore import build_provenance
from tests.world.sigstore.reference_verifier import is_accepted

MANIFEST: list[dict[str, Any]] = json.loads((CORPUS / "manifest.json").read_text())
NAMES = [Path(entry["attestation"]).name for entry in MANIFEST]
PRODUCTION = TrustRoot(name="sigstore", content=read_bundled("sigstore"))
STAGING = TrustRoot(name="sigstore-staging", content=read_bundled("sigstore-staging"))
KINDS = {kind.name for kind in PUBLISHER_KINDS}
# Names of claims in the manifest, and the corresponding attributes of `Claims`.
CLAIMS = {
    "issuer": "issuer",
    "build_signer_uri": "builder",
    "runner_environment": "runner",
    "source_repository_digest": "digest",
    "source_repository_identifier": "repository_id",
    "source_repository_owner_identifier": "owner_id",
    "build_trigger": "trigger",
    "run_invocation_uri": "run_url",
    "source_repository_visibility": "visibility",
}


def attestation_of(entry: dict[str, Any]) -> Any:
    return json.loads((CORPUS / entry["attestation"]).read_bytes())


@pytest.mark.parametrize("entry", MANIFEST, ids=NAMES)
def test_the_verdict_equals_the_manifest(entry: dict[str, Any]) -> None:
    file = make_listed_file(entry["filename"], entry["sha256"])
    verdicts = {
        root.name: verify_attestation(attestation_of(entry), None, file, [root]) for root in (PRODUCTION, STAGING)
    }
    signed_by = {"production": "sigstore", "staging": "sigstore-staging"}.get(entry["sigstore_instance"])
    assert {name for name, verdict in verdicts.items() if isinstance(verdict, Attestation)} == {signed_by} - {None}
    assert entry["verified"] is (signed_by is not None)


@pytest.mark.parametrize("entry", [one for one in MANIFEST if one["verified"]], ids=str)
def test_the_claims_are_the_certificates(entry: dict[str, Any]) -> None:
    verdict = verify_attestation(
        attestation_of(entry), None, make_listed_file(entry["filename"], entry["sha256"]), [PRODUCTION, STAGING]
    )
    assert isinstance(verdict, Attestation)
    claims = verdict.claims
    for theirs, ours in CLAIMS.items():
        stated = entry["claims"].get(theirs)
        assert getattr(claims, ours) == (None if stated == '""' else stated), theirs
    assert claims.kind == (entry["publisher_kind"] if entry["publisher_kind"] in KINDS else None)
    assert f":{claims.san}" in entry["claims"]["san"][0]
    assert claims.repository == entry["repository"]
    assert (claims.workflow or "").removeprefix(".github/workflows/") == (entry["workflow"] or "")
    assert verdict.predicate_type == entry["predicate_type"]
    assert verdict.not_before == datetime.fromisoformat(entry["claims"]["not_before"])
    assert verdict.not_before <= verdict.integrated_time <= verdict.not_after


def test_the_entry_of_rekor_v2_is_refused_for_that_reason() -> None:
    entry = next(one for one in MANIFEST if "rekor2" in one["attestation"])
    verdict = verify_attestation(
        attestation_of(entry), None, make_listed_file(entry["filename"], entry["sha256"]), [PRODUCTION, STAGING]
    )
    assert isinstance(verdict, Unverifiable)
    assert "Rekor v2" in verdict.reason
    assert "RFC 3161" in verdict.reason


def test_production_doesnt_know_who_signed_for_staging() -> None:
    entry = next(one for one in MANIFEST if one["sigstore_instance"] == "staging")
    verdict = verify_attestation(
        attestation_of(entry), None, make_listed_file(entry["filename"], entry["sha256"]), [PRODUCTION]
    )
    assert verdict == Unverifiable(reason="the certificate's authority is not in the trust root sigstore")


@pytest.mark.parametrize("entry", [one for one in MANIFEST if one["publisher_kind"] in KINDS], ids=str)
def test_a_document_around_it_is_attested_and_the_reference_agrees(entry: dict[str, Any]) -> None:
    publisher = dict(entry["publisher"])
    if publisher["kind"] == "GitLab":
        # The manifest uses the key `workflow` for every kind; for GitLab PyPI uses `workflow_filepath`.
        publisher["workflow_filepath"] = publisher.pop("workflow")
    raw = build_provenance((publisher, [attestation_of(entry)]))
    file = make_listed_file(entry["filename"], entry["sha256"])
    assert isinstance(verify(raw, file, [PRODUCTION]), Attested)
    assert is_accepted(raw, file, PRODUCTION.content)


def test_a_person_is_nobodys_trusted_publisher() -> None:
    entry = next(one for one in MANIFEST if one["attestation"].endswith("publish.2.attestation"))
    publisher = {"kind": "GitHub", "repository": "trailofbits/pypi-attestations", "workflow": "release.yml"}
    raw = build_provenance((publisher, [attestation_of(entry)]))
    evidence = verify(raw, make_listed_file(entry["filename"], entry["sha256"]), [PRODUCTION])
    assert isinstance(evidence, Forged)
    assert evidence.step == "publisher kind"
    assert "jku@goto.fi" in evidence.expected


@pytest.mark.parametrize("path", sorted((CORPUS / "provenance").iterdir()), ids=lambda path: path.name)
def test_a_document_as_an_index_served_it_is_attested(path: Path) -> None:
    entry = next(one for one in MANIFEST if f"{one['filename']}.provenance" == path.name)
    file = make_listed_file(entry["filename"], entry["sha256"])
    evidence = verify(path.read_bytes(), file, [PRODUCTION])
    assert isinstance(evidence, Attested)
    assert {one.predicate_type for one in evidence.attestations} <= {PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE}
    assert isinstance(verify(path.read_bytes(), make_listed_file(entry["filename"], "0" * 64), [PRODUCTION]), Forged)


def test_the_slsa_facts_are_read() -> None:
    entry = next(one for one in MANIFEST if one["predicate_type"] == SLSA_PREDICATE_TYPE)
    verdict = verify_attestation(
        attestation_of(entry), None, make_listed_file(entry["filename"], entry["sha256"]), [PRODUCTION]
    )
    assert isinstance(verdict, Attestation)
    assert verdict.slsa is not None
    assert verdict.slsa.commit == entry["claims"]["source_repository_digest"]
    assert verdict.slsa.builder_id == entry["claims"]["build_signer_uri"]
