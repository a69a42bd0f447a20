"""Requirement `attestations`, with `evidence`: a file must have verified attestations, from certain sources. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final, final

from assay.evidence import Attestation, Attested, Evidence, Unattested, Unstated, Unverifiable
from assay.policy.language.values import EvidenceSourceName, NonEmpty
from assay.policy.requirements.base import AttestationCheck, Attestations, Phrase, Requirement, RuleTerms, join_or
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
    evidence: Annotated[tuple[EvidenceSourceName, ...], NonEmpty] | None = None
    """Names of the sources whose attestations count: ``index`` is the file's own index, and others are those of
    ``[[evidence]]`` in the configuration. Default: the index and all configured sources. A forged document from the
    index withholds the file in any case."""


@final
@dataclass(frozen=True, slots=True)
class _PresenceCheck(AttestationCheck):
    """Check that a file has at least one verified attestation."""

    label: str | None

    def select(self, attestations: Attestations) -> Attestations:
        return attestations

    def explain(self, _attestations: Attestations) -> Reason:
        return _make_unattested_reason(self.label, ())

    def check_absence(self, evidence: Evidence) -> Reason | None:
        if isinstance(evidence, Unverifiable):
            return make_reason(ReasonCode.UNVERIFIABLE, self.label, _tell_unverifiable, (evidence.reason,))
        if isinstance(evidence, Unstated):
            return make_reason(ReasonCode.UNATTESTED, self.label, _tell_unstated, (evidence,))
        if isinstance(evidence, Attested):
            tell = _tell_uncounted_sources if evidence.provenance else _tell_other_predicates
            return make_reason(ReasonCode.UNATTESTED, self.label, tell, evidence.attestations)
        return _make_unattested_reason(self.label, evidence.asked if isinstance(evidence, Unattested) else ())


@lru_cache(maxsize=1024)
def _make_unattested_reason(label: str | None, asked: tuple[str, ...]) -> Reason:
    """Return the `unattested` reason of the rule `label`; `asked` names the other sources that were asked.

    The reason is cached, because thousands of files of a page may have the same one.
    """
    return make_reason(ReasonCode.UNATTESTED, label, _tell_unattested, (asked,))


def _tell_unattested(asked: tuple[str, ...] = ()) -> Words:
    place = f", neither at its index nor at {join_or(asked)}" if asked else ""
    message = f'the file has no attestation{place}, but the rule requires one; ask for a waiver of "attestations"'
    return Words(message, "a verified attestation", "none")


def _tell_unstated(evidence: Unstated) -> Words:
    message = f'{evidence.problem}, or ask for a waiver of "attestations"'
    return Words(message, "a verified attestation", "unknown")


def _tell_uncounted_sources(*attestations: Attestation) -> Words:
    found = join_or({each.source for each in attestations if each.is_provenance})
    message = (
        f"the file's attestations are from {found}, which does not count under the rule's `evidence`;"
        ' ask for a waiver of "attestations"'
    )
    return Words(message, "a verified attestation from a source that counts", found)


def _tell_other_predicates(*attestations: Attestation) -> Words:
    found = ", ".join(sorted({each.predicate_type for each in attestations}))
    message = (
        f"the file's attestations from {join_or({each.source for each in attestations})} do not prove who published or"
        f' built it: they have the predicate type {found}; ask for a waiver of "attestations"'
    )
    return Words(message, "a verified attestation of the type PyPI Publish or SLSA provenance", found)


def _tell_unverifiable(why: str) -> Words:
    message = f'Assay cannot verify the attestation of the file ({why}); ask for a waiver of "attestations"'
    return Words(message, "an attestation that Assay can verify", why)


def _activate(_: AttestationKeys, terms: RuleTerms) -> _PresenceCheck | None:
    return _PresenceCheck(terms.label) if terms.requires_attestations else None


def _describe(stated: AttestationKeys, _terms: RuleTerms) -> Iterator[Phrase]:
    """Describe only `evidence`, because the requirement `publishers` describes required attestations too."""
    if stated.evidence:
        yield Phrase(f"is judged only by attestations from {join_or(stated.evidence)}")


ATTESTATIONS: Final = Requirement(
    keys=AttestationKeys,
    lift="attestations",
    codes=frozenset({ReasonCode.UNATTESTED, ReasonCode.UNVERIFIABLE}),
    active=_activate,
    describe=_describe,
)
