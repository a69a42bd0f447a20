"""Chain of attestation checks, which finds the attestations that count under a rule. Pure.

A file passes if one bundle of attestations matches a publisher, has all `predicates` and meets all other requirements.
Only attestations that prove who published or built the file take part: PyPI Publish and SLSA provenance. Each check
passes the matching attestations on to the next check. If no attestation matches, the check fails and passes
all attestations on. The next check is then still made, so a waiver of the failed requirement lifts no other
requirement.
"""

from __future__ import annotations

from typing import TypeAlias

from assay.evidence import Attestation, Attested, Evidence, Forged, Unverifiable
from assay.policy.requirements.base import AttestationCheck
from assay.policy.verdict import Reason

Selection: TypeAlias = tuple[tuple[Attestation, ...], tuple[Reason, ...]]
"""Attestations that count, and the reasons of the attestation checks that fail."""

_NOTHING: Selection = ((), ())


def select_attestations(evidence: Evidence | None, links: tuple[AttestationCheck, ...]) -> Selection:
    """Return the attestations that pass all `links` of the chain, and the reasons of the links that fail.

    A link fails if no attestation passes it. A file whose attestations all have other predicate types is checked like
    one without attestations. If the evidence is unknown or forged, return no attestations and no reasons.
    """
    if isinstance(evidence, Attested) and (counted := evidence.provenance):
        failures: tuple[Reason, ...] = ()
        for link in links:
            counted, failure = link.narrow(counted)
            if failure is not None:
                failures += (failure,)
        return counted, failures
    if evidence is None or isinstance(evidence, Forged):
        return _NOTHING
    found: tuple[Reason, ...] = ()
    for link in links:
        if (absence := link.check_absence(evidence)) is not None:
            found += (absence,)
    return ((), found) if found else _NOTHING


def collect_provenance_notes(
    evidence: Evidence, attestations: tuple[Attestation, ...], links: tuple[AttestationCheck, ...]
) -> tuple[str, ...]:
    """Return notes on the attestations that count. If evidence could not be verified, return a note on it.

    Notes do not affect the verdict.
    """
    if attestations:
        notes: tuple[str, ...] = ()
        for link in links:
            if found := link.note(attestations):
                notes += found
        return notes
    if isinstance(evidence, Unverifiable):
        return (f"the file's attestation is ignored, because Assay cannot verify it: {evidence.reason}",)
    return ()
