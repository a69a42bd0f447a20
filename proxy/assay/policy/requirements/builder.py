"""Requirement `builder`: one of the named reusable workflows must have built the file. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, final

from assay.evidence import Attestation
from assay.policy.language.values import NonEmpty
from assay.policy.requirements.base import AttestationCheck, Attestations, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.publishers.globs import StringPredicate, compile_builder_pattern
from assay.publishers.texts import Builder
from assay.settings import Settings


class BuilderKeys(Settings):
    """Model of the key `builder`."""

    builder: Annotated[tuple[Builder, ...], NonEmpty] | None = None
    """Build Signer URIs of reusable workflows. One of these workflows must have built the file. ``*`` and ``**`` are
    wildcards; a pattern without ``@`` matches every ref. Implies ``attestations = "required"``."""


@final
@dataclass(frozen=True, slots=True)
class _BuilderCheck(AttestationCheck):
    label: str | None
    patterns: tuple[StringPredicate, ...]
    wanted: str

    def select(self, attestations: Attestations) -> Attestations:
        return tuple(each for each in attestations if self._is_allowed(each))

    def _is_allowed(self, attestation: Attestation) -> bool:
        uri = attestation.claims.builder
        return uri is not None and any(matches(uri) for matches in self.patterns)

    def explain(self, attestations: Attestations) -> Reason:
        built = "; ".join(sorted({each.claims.builder or "none" for each in attestations})) or "none"
        return make_reason(ReasonCode.BUILDER, self.label, _tell_builder, (built, self.wanted))


def _tell_builder(built: str, wanted: str) -> Words:
    message = f'the file was built by {built}, but the rule requires {wanted}; ask for a waiver of "builder"'
    return Words(message, wanted, built)


def _activate(stated: BuilderKeys, terms: RuleTerms) -> _BuilderCheck | None:
    if stated.builder is None:
        return None
    patterns = tuple(compile_builder_pattern(each) for each in stated.builder)
    return _BuilderCheck(terms.label, patterns, " or ".join(stated.builder))


def _describe(stated: BuilderKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.builder:
        yield Phrase(f"was built by {' or '.join(stated.builder)}")


BUILDER: Final = Requirement(
    keys=BuilderKeys,
    lift="builder",
    codes=frozenset({ReasonCode.BUILDER}),
    active=_activate,
    describe=_describe,
    implies_attestations=True,
)
