"""Tests of merged evidence: several documents of one source, and the documents of several sources."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.evidence import (
    SLSA_PREDICATE_TYPE,
    Attestation,
    Attested,
    Evidence,
    Forged,
    Rejection,
    Unattested,
    Unstated,
    Unverifiable,
    merge_evidence,
    merge_sources,
)
from tests.unit.policy.factories import FORGED, ago, attestation

UNKNOWN, OTHER = Unverifiable(reason="unknown log"), Unverifiable(reason="github: another name")
UNSTATED = Unstated(index="internal")
REJECTION = Rejection(step="signature", expected="a", found="b", source="github")
SBOM = "https://spdx.dev/Document"


def made(*bundles: int, **changes: str) -> tuple[Attestation, ...]:
    return tuple(attestation(ago(5), bundle=number, **changes) for number in bundles)


def attested(*attestations: Attestation, **fields: tuple[str, ...]) -> Attested:
    return Attested(attestations=attestations, **fields)  # type: ignore[arg-type]  # fields by name


# -- documents of one source ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latest", [FORGED, Unattested(), UNKNOWN, UNSTATED])
def test_without_attested_evidence_the_latest_document_decides(latest: Evidence) -> None:
    assert merge_evidence(latest, [UNKNOWN, Unattested()]) is latest


def test_a_forged_document_beats_what_was_attested_before() -> None:
    assert merge_evidence(FORGED, [attested(*made(0))]) is FORGED
    assert merge_evidence(Unattested(), [FORGED]) == Unattested()


def test_bundles_of_a_replaced_document_count_and_are_kept_apart() -> None:
    (ours,), (theirs,) = made(0), made(0, predicate_type=SLSA_PREDICATE_TYPE)
    assert merge_evidence(attested(ours), [attested(theirs)]) == attested(ours, replace(theirs, bundle=1))
    assert merge_evidence(Unattested(), [attested(ours)]) == attested(ours)


def test_a_bundle_that_the_source_still_offers_is_not_counted_twice() -> None:
    """A list of bundles grows. Each earlier list has the same bundles, at other places."""
    first, second = made(0, predicate_type=SBOM)[0], made(1)[0]
    grown = attested(first, second, ignored=("a", "b"))
    before = attested(replace(second, bundle=0), ignored=("a",))
    assert merge_evidence(grown, [before, before]) == grown


def test_a_bundle_counts_as_a_whole() -> None:
    """The attestation that both documents have is part of another bundle in each."""
    publish, slsa = made(0)[0], made(0, predicate_type=SLSA_PREDICATE_TYPE)[0]
    merged = merge_evidence(attested(publish), [attested(publish, slsa)])
    assert merged == attested(publish, replace(publish, bundle=1), replace(slsa, bundle=1))


def test_the_rejected_bundles_are_those_of_the_latest_document() -> None:
    latest = Unattested(rejected=(REJECTION,))
    earlier = Attested(attestations=made(0), rejected=(replace(REJECTION, step="subject digest"),))
    assert merge_evidence(latest, [earlier]) == Attested(attestations=made(0), rejected=(REJECTION,))


# -- several sources --------------------------------------------------------------------------------------------------


def test_only_the_own_index_makes_a_file_forged() -> None:
    forged = Forged(step="signature", expected="a", found="b")
    assert merge_sources(forged, [attested(*made(0))]) is forged
    assert merge_sources(attested(*made(0)), [forged]) == attested(*made(0))
    assert merge_sources(Unattested(), [forged]) == Unattested()


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (Unattested(), Unattested(), Unattested()),
        (Unattested(), OTHER, OTHER),
        (UNKNOWN, Unattested(), UNKNOWN),
        (UNKNOWN, OTHER, Unverifiable(reason="unknown log; github: another name")),
        (UNSTATED, Unattested(), UNSTATED),
        (UNSTATED, OTHER, OTHER),
        (UNSTATED, attested(*made(0)), attested(*made(0))),
        (UNKNOWN, attested(*made(0)), attested(*made(0), ignored=("unknown log",))),
        (attested(*made(0)), OTHER, attested(*made(0), ignored=("github: another name",))),
        (Unattested(), Unattested(rejected=(REJECTION,)), Unattested(rejected=(REJECTION,))),
        (UNKNOWN, Unattested(rejected=(REJECTION,)), replace(UNKNOWN, rejected=(REJECTION,))),
    ],
)
def test_the_reasons_and_rejections_of_all_sources_are_kept(own: Evidence, other: Evidence, expected: Evidence) -> None:
    assert merge_sources(own, [other]) == expected


def test_attestations_of_two_sources_are_kept_apart() -> None:
    (own,) = made(0)
    other = replace(own, source="github", predicate_type=SLSA_PREDICATE_TYPE)
    assert merge_sources(attested(own), [attested(other)]) == attested(own, replace(other, bundle=1))


# -- predicates -------------------------------------------------------------------------------------------------------


def test_provenance_is_what_proves_who_published_or_built() -> None:
    publish, slsa, scan = made(0)[0], made(1, predicate_type=SLSA_PREDICATE_TYPE)[0], made(2, predicate_type=SBOM)[0]
    assert attested(publish, scan, slsa).provenance == (publish, slsa)
    assert attested(scan).provenance == ()
