"""`predicates`: what the attestations of one bundle must state. Pure."""

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
    """The key `predicates`."""

    predicates: Annotated[tuple[PredicateType, ...], NonEmpty] | None = None
    """All of these must be attested: ``publish``, ``slsa`` or a type URI. Implies ``required``."""


@final
@dataclass(frozen=True, slots=True)
class _PredicateCheck(AttestationCheck):
    order: ClassVar[int] = 1
    """After all links that narrow: one bundle of what is left must carry all predicates."""
    label: str | None
    predicates: frozenset[str]

    def select(self, attestations: Attestations) -> Attestations:
        if len(attestations) == 1:  # as nearly always
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
        f'its attestations state {carried}, the rule asks for {wanted} in one bundle; ask for a waiver of "predicates"'
    )
    return Words(message, wanted, carried)


def _activate(stated: PredicateKeys, terms: RuleTerms) -> _PredicateCheck | None:
    return None if stated.predicates is None else _PredicateCheck(terms.label, frozenset(stated.predicates))


def _describe(stated: PredicateKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.predicates:
        yield Phrase(f"carries {' and '.join(stated.predicates)}")


PREDICATES: Final = Requirement(
    keys=PredicateKeys,
    lift="predicates",
    codes=frozenset({ReasonCode.PREDICATE}),
    active=_activate,
    describe=_describe,
    implies_attestations=True,
)
