"""Requirement `predicates`: the attestations of one bundle must have all of these predicate types. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, final

from pydantic import AfterValidator

from assay.evidence import PUBLISH_PREDICATE_TYPE, SLSA_PREDICATE_TYPE
from assay.policy.language.values import NonEmpty
from assay.policy.requirements.base import AttestationCheck, Attestations, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.publishers.base import PrintableText
from assay.settings import Settings


def _parse_predicate_type(text: str) -> str:
    known = {"publish": PUBLISH_PREDICATE_TYPE, "slsa": SLSA_PREDICATE_TYPE}
    if text in known or re.match(r"[a-z][a-z0-9+.-]*:", text):
        return known.get(text, text)
    raise ValueError("'publish', 'slsa' or a predicate type URI")


PredicateType = Annotated[PrintableText, AfterValidator(_parse_predicate_type)]


class PredicateKeys(Settings):
    """Model of the key `predicates`."""

    predicates: Annotated[tuple[PredicateType, ...], NonEmpty] | None = None
    """Predicate types: ``publish``, ``slsa`` or a type URI. The attestations of one bundle must have all of them.
    Implies ``attestations = "required"``."""


@final
@dataclass(frozen=True, slots=True)
class _PredicateCheck(AttestationCheck):
    order: ClassVar[int] = 1
    """Place of this check in the chain: after all checks that remove attestations. One bundle of the remaining
    attestations must have all predicates."""
    label: str | None
    predicates: frozenset[str]

    def select(self, attestations: Attestations) -> Attestations:
        if len(attestations) == 1:  # the common case, without a dictionary
            return attestations if self.predicates <= {attestations[0].predicate_type} else ()
        carried: dict[int, set[str]] = {}
        for each in attestations:
            carried.setdefault(each.bundle, set()).add(each.predicate_type)
        return attestations if any(self.predicates <= types for types in carried.values()) else ()

    def explain(self, attestations: Attestations) -> Reason:
        carried = ", ".join(sorted({each.predicate_type for each in attestations})) or "none"
        wanted = " and ".join(sorted(self.predicates))
        return make_reason(ReasonCode.PREDICATE, self.label, _tell_predicates, (carried, wanted))


def _tell_predicates(carried: str, wanted: str) -> Words:
    message = (
        f"the file's attestations have the predicate type {carried}, but the rule requires {wanted} in one bundle; "
        'ask for a waiver of "predicates"'
    )
    return Words(message, wanted, carried)


def _activate(stated: PredicateKeys, terms: RuleTerms) -> _PredicateCheck | None:
    return None if stated.predicates is None else _PredicateCheck(terms.label, frozenset(stated.predicates))


def _describe(stated: PredicateKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.predicates:
        yield Phrase(f"has attestations of the predicate type {' and '.join(stated.predicates)}")


PREDICATES: Final = Requirement(
    keys=PredicateKeys,
    lift="predicates",
    codes=frozenset({ReasonCode.PREDICATE}),
    active=_activate,
    describe=_describe,
    implies_attestations=True,
)
