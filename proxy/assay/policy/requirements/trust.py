"""Requirement `trust`: one of the named trust roots must have verified the attestations. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, final

from assay.policy.language.values import NonEmpty, TrustRootName
from assay.policy.requirements.base import AttestationCheck, Attestations, Phrase, Requirement, RuleTerms, join_or
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings


class TrustKeys(Settings):
    """Model of the key `trust`."""

    trust: Annotated[tuple[TrustRootName, ...], NonEmpty] | None = None
    """Names of trust roots. One of them must verify the attestation."""


@final
@dataclass(frozen=True, slots=True)
class _TrustCheck(AttestationCheck):
    label: str | None
    roots: frozenset[str]

    def select(self, attestations: Attestations) -> Attestations:
        return tuple([each for each in attestations if each.trust_root in self.roots])

    def explain(self, attestations: Attestations) -> Reason:
        roots = ", ".join(sorted({each.trust_root for each in attestations}))
        return make_reason(ReasonCode.TRUST, self.label, _tell_untrusted, (roots, join_or(self.roots)))


def _tell_untrusted(roots: str, wanted: str) -> Words:
    message = (
        f"the file's attestation was verified with the trust root {roots}, but the rule requires {wanted}; "
        'ask for a waiver of "trust"'
    )
    return Words(message, wanted, roots)


def _activate(stated: TrustKeys, terms: RuleTerms) -> _TrustCheck | None:
    return None if stated.trust is None else _TrustCheck(terms.label, frozenset(stated.trust))


def _describe(stated: TrustKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.trust:
        yield Phrase(f"has an attestation verified with the trust root {' or '.join(stated.trust)}")


TRUST: Final = Requirement(
    keys=TrustKeys,
    lift="trust",
    codes=frozenset({ReasonCode.TRUST}),
    active=_activate,
    describe=_describe,
)
