"""Requirement `attestations`: a file must have verified attestations. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, final

from assay.evidence import Attested, Evidence, Unstated, Unverifiable
from assay.policy.requirements.base import AttestationCheck, Attestations, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings


class AttestationMode(StrEnum):
    """Values of the key `attestations`."""

    IF_PRESENT = "if-present"
    REQUIRED = "required"


class AttestationKeys(Settings):
    """Model of the key `attestations`."""

    attestations: AttestationMode | None = None
    """``if-present`` (the default): a file needs no attestation, but each attestation that it has must be valid.
    ``required``: a file needs a valid attestation by one of the `publishers`, which must be set; ``"any"`` accepts all
    publishers."""


@final
@dataclass(frozen=True, slots=True)
class _PresenceCheck(AttestationCheck):
    """Check that a file has at least one verified attestation."""

    label: str | None

    def select(self, attestations: Attestations) -> Attestations:
        return attestations

    def explain(self, _attestations: Attestations) -> Reason:
        return _make_unattested_reason(self.label)

    def check_absence(self, evidence: Evidence) -> Reason | None:
        if isinstance(evidence, Unverifiable):
            return make_reason(ReasonCode.UNVERIFIABLE, self.label, _tell_unverifiable, (evidence.reason,))
        if isinstance(evidence, Unstated):
            return make_reason(ReasonCode.UNATTESTED, self.label, _tell_unstated, (evidence,))
        if isinstance(evidence, Attested):
            types = tuple(sorted({each.predicate_type for each in evidence.attestations}))
            return make_reason(ReasonCode.UNATTESTED, self.label, _tell_other_predicates, types)
        return _make_unattested_reason(self.label)


@lru_cache(maxsize=1024)
def _make_unattested_reason(label: str | None) -> Reason:
    """Return the `unattested` reason of the rule `label`.

    The reason is cached, because thousands of files of a page may have the same one.
    """
    return make_reason(ReasonCode.UNATTESTED, label, _tell_unattested, ())


def _tell_unattested() -> Words:
    message = 'the file has no attestation, but the rule requires one; ask for a waiver of "attestations"'
    return Words(message, "a verified attestation", "none")


def _tell_unstated(evidence: Unstated) -> Words:
    message = f'{evidence.problem}, or ask for a waiver of "attestations"'
    return Words(message, "a verified attestation", "unknown")


def _tell_other_predicates(*types: str) -> Words:
    found = ", ".join(types)
    message = (
        f"the file's attestations do not prove who published or built it: they have the predicate type {found};"
        ' ask for a waiver of "attestations"'
    )
    return Words(message, "a verified attestation of the type PyPI Publish or SLSA provenance", found)


def _tell_unverifiable(why: str) -> Words:
    message = f'Assay cannot verify the attestation of the file ({why}); ask for a waiver of "attestations"'
    return Words(message, "an attestation that Assay can verify", why)


def _activate(_: AttestationKeys, terms: RuleTerms) -> _PresenceCheck | None:
    return _PresenceCheck(terms.label) if terms.requires_attestations else None


def _describe(_stated: AttestationKeys, _terms: RuleTerms) -> Iterator[Phrase]:
    """Yield nothing, because the requirement `publishers` describes required attestations too."""
    yield from ()


ATTESTATIONS: Final = Requirement(
    keys=AttestationKeys,
    lift="attestations",
    codes=frozenset({ReasonCode.UNATTESTED, ReasonCode.UNVERIFIABLE}),
    active=_activate,
    describe=_describe,
)
