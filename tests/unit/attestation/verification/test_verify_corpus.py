"""Tests with real attestations and bundles (tests/corpus): each gets the verdict and the reason that it must get."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from assay.attestation.trust_roots import TrustRoot, read_bundled
from assay.attestation.verification.verify import verify, verify_attestation, verify_bundles
from assay.evidence import (
    PUBLISH_PREDICATE_TYPE,
    SLSA_PREDICATE_TYPE,
    Attestation,
    Attested,
    Evidence,
    Forged,
    Unattested,
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


# -- bundles of GitHub's attestation store ----------------------------------------------------------------------------

GITHUB_STORE = CORPUS / "github-attestations"


def attest_bundle(name: str, filename: str, sha256: str) -> Evidence:
    listed = b"[" + (GITHUB_STORE / name).read_bytes() + b"]"
    return verify_bundles(listed, make_listed_file(filename, sha256), [PRODUCTION])


def test_a_wheel_of_a_public_repository_is_attested_by_its_reusable_workflow() -> None:
    sha256 = "49a3aa6075e0f49f82843e74b5baa614ad2a588e6675612bf108a0a008c5ac25"
    name, filename = "reusable-workflow-attestation.sigstore.json", "github_provenance_demo-0.0.0-py3-none-any.whl"
    evidence = attest_bundle(name, filename, sha256)
    assert isinstance(evidence, Attested)
    (only,) = evidence.attestations
    assert (only.predicate_type, only.claims.kind) == (SLSA_PREDICATE_TYPE, "GitHub")
    assert only.claims.repository == "malancas/attest-demo"
    assert (only.claims.builder or "").startswith("https://github.com/github/artifact-attestations-workflows/")
    assert isinstance(attest_bundle(name, "github_provenance_demo-0.0.1-py3-none-any.whl", sha256), Unverifiable)
    assert isinstance(attest_bundle(name, filename, "0" * 64), Unattested)


def test_a_file_of_an_enterprise_is_attested_with_the_issuer_of_the_enterprise() -> None:
    sha256 = "afa27b44d43b02a9fea41d13cedc2e4016cfcf87c5dbf990e593669aa8ce286d"
    evidence = attest_bundle("custom-issuer.sigstore.json", "artifact", sha256)
    assert isinstance(evidence, Attested)
    claims = evidence.attestations[0].claims
    assert (claims.kind, claims.repository) == ("GitHub", "too-legit/attest")
    assert claims.issuer == "https://token.actions.githubusercontent.com/hammer-time"


def test_a_wheel_of_a_private_repository_needs_a_timestamp_and_is_unverifiable() -> None:
    filename = "github_provenance_demo-0.0.12-py3-none-any.whl"
    sha256 = "ae57936def59bc4c75edd3a837d89bcefc6d3a5e31d55a6fa7a71624f92c3c3b"
    evidence = attest_bundle("github_provenance_demo-0.0.12-py3-none-any.sigstore.json", filename, sha256)
    assert isinstance(evidence, Unverifiable)
    assert "RFC 3161" in evidence.reason
    assert evidence.rejected == ()
