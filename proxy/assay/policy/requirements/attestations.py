"""`attestations`: whether a file must have verified attestations. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, final

from assay.evidence import Evidence, Unverifiable
from assay.policy.requirements.base import AttestationCheck, Attestations, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings


class AttestationMode(StrEnum):
    """Whether a file must have verified attestations."""

    IF_PRESENT = "if-present"
    REQUIRED = "required"


class AttestationKeys(Settings):
    """The key `attestations`."""

    attestations: AttestationMode | None = None
    """``if-present`` (the default): what there is must be genuine. ``required``: there must be one, by `publishers`."""


@final
@dataclass(frozen=True, slots=True)
class _PresenceCheck(AttestationCheck):
    label: str | None

    def select(self, attestations: Attestations) -> Attestations:
        return attestations

    def explain(self, _attestations: Attestations) -> Reason:
        return _make_unattested_reason(self.label)

    def check_absence(self, evidence: Evidence) -> Reason | None:
        if isinstance(evidence, Unverifiable):
            return make_reason(ReasonCode.UNVERIFIABLE, self.label, _tell_unverifiable, (evidence.reason,))
        return _make_unattested_reason(self.label)


@lru_cache(maxsize=1024)
def _make_unattested_reason(label: str | None) -> Reason:
    """Return the reason that thousands of files of a page may share."""
    return make_reason(ReasonCode.UNATTESTED, label, _tell_unattested, ())


def _tell_unattested() -> Words:
    message = 'it has no attestation, which the rule requires; ask for a waiver of "attestations"'
    return Words(message, "a verified attestation", "none")


def _tell_unverifiable(why: str) -> Words:
    message = f'its attestation cannot be verified here ({why}); ask for a waiver of "attestations"'
    return Words(message, "an attestation that this trust root and verifier know", why)


def _activate(_: AttestationKeys, terms: RuleTerms) -> _PresenceCheck | None:
    return _PresenceCheck(terms.label) if terms.requires_attestations else None


def _describe(_stated: AttestationKeys, _terms: RuleTerms) -> Iterator[Phrase]:
    """Say nothing: what attestations are required says `publishers`."""
    yield from ()


ATTESTATIONS: Final = Requirement(
    keys=AttestationKeys,
    lift="attestations",
    codes=frozenset({ReasonCode.UNATTESTED, ReasonCode.UNVERIFIABLE}),
    active=_activate,
    describe=_describe,
)
