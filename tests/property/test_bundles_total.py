"""Properties of `verify_bundles`: it is total, it attests only signed facts, and it never makes a file forged.

- It returns evidence for any bytes and raises no exception. The evidence is never `Forged`.
- A damaged list is `Attested` only with attestations that are equal to those of a genuine list.
- sigstore accepts each bundle that is attested.
- A damaged bundle has no effect on the other bundles of the list.
- The evidence can be recorded.
- Written as bundles of version 0.3 (`write_bundles`), a list proves the same, and sigstore accepts these bundles too.

``make fuzz`` runs these properties with FUZZ_EXAMPLES lists each.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.attestation.codec import decode_evidence, encode_evidence
from assay.attestation.verification.bundle_writer import write_bundles
from assay.attestation.verification.verify import verify_bundles
from assay.evidence import Attestation, Attested, Evidence, Unattested, Unverifiable
from assay.ports import DocumentFormat
from tests.property.fuzzing import examples
from tests.world.sigstore.attacks import FILE_SHA256, FILENAME, OTHER_SHA256, make_listed_file, trust_root_for
from tests.world.sigstore.bundles import build_bundle_list, make_bundle
from tests.world.sigstore.mutations import damaged
from tests.world.sigstore.private_sigstore import (
    SLSA_PREDICATE,
    CircleCI,
    GitHub,
    GitLab,
    Google,
    Person,
    PrivateSigstore,
    make_slsa_predicate,
)
from tests.world.sigstore.reference_verifier import is_bundle_accepted

SIGSTORE = PrivateSigstore(seed=1)
ROOT = trust_root_for(SIGSTORE)
FILE = make_listed_file()
SUBJECTS = [
    {"name": "dist/gadget-2.0.tar.gz", "digest": {"sha256": OTHER_SHA256}},
    {"name": f"dist/{FILENAME}", "digest": {"sha256": FILE_SHA256}},
]


def sign(version: str, *arguments: Any, **options: Any) -> dict[str, Any]:
    return make_bundle(SIGSTORE.attestation(FILENAME, FILE_SHA256, *arguments, **options), version)


GENUINE = (
    sign("0.3"),
    sign("0.2", GitLab()),
    sign("0.1", Google()),
    sign("0.3", CircleCI()),
    sign("0.3", Person()),
    sign("0.3", predicate_type=SLSA_PREDICATE, predicate=make_slsa_predicate(GitHub())),
    sign("0.3", predicate_type="https://spdx.dev/Document", predicate={"packages": [{"name": "widget"}]}),
    sign("0.3", statement=lambda statement: {**statement, "subject": SUBJECTS}),
    sign("0.2", statement=lambda statement: {**statement, "_type": "https://in-toto.io/Statement/v0.1"}),
)
LISTS = (*(build_bundle_list(one) for one in GENUINE), build_bundle_list(*GENUINE[:2]))


def attest(raw: bytes) -> Evidence:
    return verify_bundles(raw, FILE, [ROOT])


def facts(evidence: Evidence) -> frozenset[Attestation]:
    """Return the attestations, without their positions in the list."""
    attestations = evidence.attestations if isinstance(evidence, Attested) else ()
    return frozenset(replace(one, bundle=0) for one in attestations)


GENUINE_FACTS = frozenset().union(*(facts(attest(raw)) for raw in LISTS))


def check(raw: bytes) -> Evidence:
    evidence = attest(raw)
    assert isinstance(evidence, Attested | Unattested | Unverifiable)
    assert facts(evidence) <= GENUINE_FACTS
    if isinstance(evidence, Attested):
        listed = json.loads(raw)
        for one in evidence.attestations:
            assert is_bundle_accepted(json.dumps(listed[one.bundle]).encode(), FILE, ROOT.content)
    written = write_bundles(raw, DocumentFormat.BUNDLES)
    rewritten = attest(f"[{','.join(written)}]".encode())
    assert facts(rewritten) == facts(evidence)
    if isinstance(rewritten, Attested):
        for one in rewritten.attestations:
            assert is_bundle_accepted(written[one.bundle].encode(), FILE, ROOT.content)
    assert decode_evidence(encode_evidence(evidence)) == evidence
    return evidence


def law(few: int) -> settings:
    return settings(max_examples=examples(few), suppress_health_check=list(HealthCheck), deadline=None)


@st.composite
def damaged_lists(draw: st.DrawFn) -> bytes:
    return draw(damaged(draw(st.sampled_from(LISTS)), LISTS))


def test_each_genuine_bundle_is_attested() -> None:
    assert len(GENUINE_FACTS) == len(GENUINE)
    for raw in LISTS:
        assert isinstance(check(raw), Attested)


@law(300)
@given(damaged_lists())
def test_a_damaged_list_attests_nothing_new_and_is_never_forged(raw: bytes) -> None:
    check(raw)


@law(100)
@given(st.sampled_from(GENUINE), st.sampled_from(GENUINE), st.data())
def test_a_damaged_bundle_has_no_effect_on_the_others(good: Any, other: Any, data: st.DataObject) -> None:
    raw = data.draw(damaged(json.dumps(other).encode(), LISTS))
    try:
        bad = json.loads(raw)
        joined = build_bundle_list(bad, good)
    except ValueError:
        return
    evidence = check(joined)
    if isinstance(evidence, Unverifiable):  # the whole list cannot be read
        assert isinstance(attest(build_bundle_list(bad)), Unverifiable)
        assert "list of Sigstore bundles" in evidence.reason
    else:
        assert facts(attest(build_bundle_list(good))) <= facts(evidence)


def test_damage_reaches_every_stage_of_verification() -> None:
    """If the first checks rejected all damaged lists, the properties above would prove little."""
    steps: set[str] = set()
    reasons: set[str] = set()

    @settings(max_examples=500, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged_lists())
    def collect(raw: bytes) -> None:
        evidence = attest(raw)
        if isinstance(evidence, Unverifiable):
            reasons.add(evidence.reason.partition(":")[0])
        if isinstance(evidence, Attested | Unattested | Unverifiable):
            steps.update(each.step for each in evidence.rejected)

    collect()
    assert steps >= {"bundle", "certificate", "signature", "log entry", "log entry body", "inclusion proof"}
    assert reasons >= {"not a list of Sigstore bundles"}


@law(100)
@given(st.binary(max_size=2000))
def test_arbitrary_bytes_come_to_evidence(raw: bytes) -> None:
    check(raw)


KEYS = st.text() | st.sampled_from(("mediaType", "verificationMaterial", "dsseEnvelope", "payload", "signatures"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@law(100)
@given(JSON, JSON, JSON)
def test_arbitrary_json_comes_to_evidence(whole: object, material: object, envelope: object) -> None:
    check(json.dumps(whole).encode())
    for media_type in (GENUINE[0]["mediaType"], whole):
        shaped = {"mediaType": media_type, "verificationMaterial": material, "dsseEnvelope": envelope}
        check(build_bundle_list(shaped))
        check(
            build_bundle_list(
                {**GENUINE[0], "dsseEnvelope": envelope}, {**GENUINE[0], "verificationMaterial": material}
            )
        )
