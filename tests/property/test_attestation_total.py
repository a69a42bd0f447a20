"""Properties of `verify`: it is total, and it attests only signed facts.

- It returns evidence for any bytes and raises no exception.
- A damaged document is `Attested` only with attestations that are equal to those of a genuine document.
- The reference implementation accepts each document that is `Attested` without ignored attestations.
- Recorded evidence is decoded unchanged; any other bytes decode to None.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from assay.attestation.codec import decode_evidence, encode_evidence
from assay.attestation.trust_roots import TrustRoot, read_bundled
from assay.attestation.verification.verify import verify
from assay.evidence import (
    INDEX_SOURCE,
    Attestation,
    Attested,
    Claims,
    Evidence,
    Forged,
    Rejection,
    Slsa,
    Unattested,
    Unverifiable,
)
from assay.publishers.registry import PUBLISHER_KINDS
from assay.simple.model import File
from tests.paths import CORPUS
from tests.world.sigstore.attacks import FILE_SHA256, FILENAME, make_listed_file, trust_root_for
from tests.world.sigstore.mutations import damaged
from tests.world.sigstore.private_sigstore import (
    SLSA_PREDICATE,
    CircleCI,
    GitHub,
    GitLab,
    Google,
    PrivateSigstore,
    Signer,
    build_provenance,
    make_slsa_predicate,
)
from tests.world.sigstore.reference_verifier import is_accepted

KIND_NAMES = {kind.name for kind in PUBLISHER_KINDS}
SIGSTORE = PrivateSigstore(seed=1)
ROOT = trust_root_for(SIGSTORE)
SIGNERS: tuple[Signer, ...] = (GitHub(), GitHub(environment="pypi"), GitLab(), Google(), CircleCI())
OURS = (
    *(SIGSTORE.provenance(FILENAME, FILE_SHA256, one) for one in SIGNERS),
    SIGSTORE.provenance(FILENAME, FILE_SHA256, predicate_type=SLSA_PREDICATE, predicate=make_slsa_predicate(GitHub())),
    build_provenance(
        (GitHub().publisher(), [SIGSTORE.attestation(FILENAME, FILE_SHA256)]),
        (GitLab().publisher(), [SIGSTORE.attestation(FILENAME, FILE_SHA256, GitLab())]),
    ),
)
PRODUCTION = TrustRoot(name="sigstore", content=read_bundled("sigstore"))
MANIFEST: list[dict[str, Any]] = json.loads((CORPUS / "manifest.json").read_text())
REAL = {
    path: make_listed_file(entry["filename"], entry["sha256"])
    for entry in MANIFEST
    if (path := CORPUS / "provenance" / f"{entry['filename']}.provenance").exists()
}


def signed(raw: bytes, file: File, root: TrustRoot) -> frozenset[Attestation]:
    """Return the attestations of a genuine document, without their positions in it."""
    evidence = verify(raw, file, [root])
    assert isinstance(evidence, Attested)
    return frozenset(replace(one, bundle=0) for one in evidence.attestations)


GENUINE_OURS = frozenset().union(*(signed(raw, make_listed_file(), ROOT) for raw in OURS))
GENUINE_REAL = {path: signed(path.read_bytes(), file, PRODUCTION) for path, file in REAL.items()}


# The address of a publisher in another case.
OTHER_CASE = OURS[SIGNERS.index(Google())].replace(b'"email":"b', b'"email":"B')
# Documents with an empty text for an optional key of the publisher block. An earlier version of Assay treated an empty
# text as absent for all keys.
EMPTY_ORIGIN, EMPTY_REF, EMPTY_ENVIRONMENT = (
    SIGSTORE.provenance(FILENAME, FILE_SHA256, signer, publisher={**signer.publisher(), field: ""})
    for signer, field in ((CircleCI(), "vcs_origin"), (CircleCI(), "vcs_ref"), (GitHub(), "environment"))
)


def spell_emails(raw: bytes, evidence: Attested) -> bytes:
    """Return the document with the addresses of publishers spelled as in the certificates.

    Assay compares an address without case (docs/policy-semantics.md), the reference implementation compares it exactly.
    """
    certified = {one.claims.email.lower(): one.claims.email for one in evidence.attestations if one.claims.email}
    for bundle in json.loads(raw)["attestation_bundles"]:
        listed = bundle["publisher"].get("email")
        if isinstance(listed, str) and (spelled := certified.get(listed.lower(), listed)) != listed:
            raw = raw.replace(json.dumps(listed).encode(), json.dumps(spelled).encode())
    return raw


def check(raw: bytes, file: File, root: TrustRoot, genuine: frozenset[Attestation]) -> None:
    evidence = verify(raw, file, [root])
    assert isinstance(evidence, Attested | Unattested | Forged | Unverifiable)
    if isinstance(evidence, Attested):
        assert {replace(one, bundle=0) for one in evidence.attestations} <= genuine
        # If one bundle has an unknown kind of publisher, the reference implementation rejects the whole document, and
        # Assay ignores only that bundle.
        kinds = {bundle["publisher"]["kind"] for bundle in json.loads(raw)["attestation_bundles"]}
        if not evidence.ignored and kinds <= KIND_NAMES:
            assert is_accepted(spell_emails(raw, evidence), file, root.content)
    assert decode_evidence(encode_evidence(evidence)) == evidence


def law(examples: int) -> settings:
    return settings(max_examples=examples, suppress_health_check=list(HealthCheck))


@st.composite
def damaged_ours(draw: st.DrawFn) -> bytes:
    return draw(damaged(draw(st.sampled_from(OURS)), OURS))


@st.composite
def damaged_real(draw: st.DrawFn) -> tuple[bytes, Path]:
    path = draw(st.sampled_from(sorted(REAL)))
    return draw(damaged(path.read_bytes(), tuple(one.read_bytes() for one in sorted(REAL)))), path


@law(300)
@given(damaged_ours())
@example(EMPTY_ORIGIN)
@example(EMPTY_REF)
@example(EMPTY_ENVIRONMENT)
@example(OURS[SIGNERS.index(CircleCI())])
@example(OTHER_CASE)
def test_a_damaged_document_attests_nothing_new(raw: bytes) -> None:
    check(raw, make_listed_file(), ROOT, GENUINE_OURS)


@law(100)
@given(damaged_real())
def test_a_damaged_real_document_attests_nothing_new(damage: tuple[bytes, Path]) -> None:
    raw, path = damage
    check(raw, REAL[path], PRODUCTION, GENUINE_REAL[path])


@pytest.mark.long
@law(8_000)
@given(damaged_ours())
def test_eight_thousand_damaged_documents_attest_nothing_new(raw: bytes) -> None:
    check(raw, make_listed_file(), ROOT, GENUINE_OURS)


@pytest.mark.long
@law(4_000)
@given(damaged_real())
def test_four_thousand_damaged_real_documents_attest_nothing_new(damage: tuple[bytes, Path]) -> None:
    raw, path = damage
    check(raw, REAL[path], PRODUCTION, GENUINE_REAL[path])


def test_damage_reaches_every_stage_of_verification() -> None:
    """If the first checks rejected all damaged documents, the properties above would prove little."""
    steps: set[str] = set()
    kinds: set[str] = set()

    @settings(max_examples=400, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged_ours())
    def collect(raw: bytes) -> None:
        evidence = verify(raw, make_listed_file(), [ROOT])
        kinds.add(type(evidence).__name__)
        if isinstance(evidence, Forged):
            steps.add(evidence.step)

    collect()
    assert kinds >= {"Attested", "Forged", "Unverifiable"}
    assert steps >= {"document", "certificate", "signature", "log entry", "log entry body", "inclusion proof"}


@law(100)
@given(st.binary(max_size=2000))
def test_arbitrary_bytes_come_to_evidence(raw: bytes) -> None:
    check(raw, make_listed_file(), ROOT, frozenset())


KEYS = st.text() | st.sampled_from(("version", "attestation_bundles"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@law(100)
@given(JSON, JSON, JSON)
def test_arbitrary_json_comes_to_evidence(whole: object, publisher: object, attestation: object) -> None:
    check(json.dumps(whole).encode(), make_listed_file(), ROOT, frozenset())
    shaped = {"version": 1, "attestation_bundles": [{"publisher": publisher, "attestations": [attestation]}]}
    check(json.dumps(shaped).encode(), make_listed_file(), ROOT, frozenset())
    known = {"version": 1, "attestation_bundles": [{"publisher": GitHub().publisher(), "attestations": [attestation]}]}
    check(json.dumps(known).encode(), make_listed_file(), ROOT, frozenset())


# -- records ----------------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=20)
MAYBE = st.none() | TEXT
TIMES = st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1))  # noqa: DTZ001 - hypothesis takes naive bounds
CLAIMS = st.builds(
    Claims,
    kind=st.none() | st.sampled_from(sorted(KIND_NAMES)),
    issuer=TEXT,
    san=TEXT,
    **{name: MAYBE for name in Claims.__dataclass_fields__ if name not in {"kind", "issuer", "san"}},
)
ATTESTATIONS = st.builds(
    Attestation,
    trust_root=TEXT,
    bundle=st.integers(0, 15),
    predicate_type=TEXT,
    claims=CLAIMS,
    integrated_time=TIMES,
    log_index=st.integers(0, 2**53),
    certificate=TEXT,
    not_before=TIMES,
    not_after=TIMES,
    slsa=st.none() | st.builds(Slsa, **dict.fromkeys(Slsa.__dataclass_fields__, MAYBE)),
    subject=TEXT,
    material=st.lists(TEXT, max_size=3).map(tuple),
    source=st.sampled_from((INDEX_SOURCE, "github")),
)
REJECTED = st.lists(
    st.builds(Rejection, step=TEXT, expected=TEXT, found=TEXT, bundle=st.integers(0, 255), source=TEXT), max_size=2
).map(tuple)
EVIDENCE: st.SearchStrategy[Evidence] = st.one_of(
    st.builds(
        Attested,
        attestations=st.lists(ATTESTATIONS, min_size=1, max_size=3).map(tuple),
        ignored=st.lists(TEXT, max_size=3).map(tuple),
        rejected=REJECTED,
    ),
    st.builds(Unattested, rejected=REJECTED),
    st.builds(Forged, step=TEXT, expected=TEXT, found=TEXT),
    st.builds(Unverifiable, reason=TEXT, rejected=REJECTED),
)


@law(100)
@given(EVIDENCE)
def test_recorded_evidence_is_read_back(evidence: Evidence) -> None:
    assert decode_evidence(encode_evidence(evidence)) == evidence


@law(200)
@given(EVIDENCE, st.data())
def test_a_damaged_record_is_evidence_or_nothing(evidence: Evidence, data: st.DataObject) -> None:
    raw = data.draw(damaged(encode_evidence(evidence), (encode_evidence(Unattested()),)))
    assert isinstance(decode_evidence(raw), Attested | Unattested | Forged | Unverifiable | None)
