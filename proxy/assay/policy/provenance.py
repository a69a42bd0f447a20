"""The chain of the checks of attestations: which attestations count under a rule, and what they lack. Pure.

"One bundle that matches a publisher and carries all `predicates` suffices", and its attestations must meet all of the
others as well. Where one requirement fails, the next are held against the same attestations, so that a waiver of the
one does not lift the others.
"""

from __future__ import annotations

from typing import TypeAlias

from assay.evidence import Attestation, Attested, Evidence, Forged, Unverifiable
from assay.policy.requirements.base import AttestationCheck
from assay.policy.verdict import Reason

Selection: TypeAlias = tuple[tuple[Attestation, ...], tuple[Reason, ...]]
"""The attestations that count, and what is wrong with them or with there being none."""

_NOTHING: Selection = ((), ())


def select_attestations(evidence: Evidence | None, links: tuple[AttestationCheck, ...]) -> Selection:
    """Return the attestations that count by all `links`, and what they lack."""
    if isinstance(evidence, Attested) and evidence.attestations:
        counted = evidence.attestations
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
    """Return what is worth knowing of the attestations that count, or of why none does; it withholds nothing."""
    if attestations:
        notes: tuple[str, ...] = ()
        for link in links:
            if found := link.note(attestations):
                notes += found
        return notes
    if isinstance(evidence, Unverifiable):
        return (f"its attestation counts for nothing: {evidence.reason}",)
    return ()
