"""`publishers`: whose signature counts. Pure.

Without the key, any Trusted Publisher's. A person's signature never counts: it is genuine, and proves nothing about a
project.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias, final

from pydantic import Discriminator, Tag

from assay.evidence import Attestation
from assay.policy.language.values import NonEmpty
from assay.policy.requirements.base import AttestationCheck, Attestations, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.publishers.matching import PublisherMatcher, compile_publisher
from assay.publishers.registry import Publisher
from assay.publishers.signers import describe_publisher, describe_signer
from assay.settings import Settings

_PRIVILEGED_TRIGGERS = frozenset({"pull_request_target", "workflow_run"})
"""Triggers under which a stranger's pull request can run with the repository's own rights."""

Publishers: TypeAlias = Annotated[
    Annotated[Literal["any"], Tag("any")] | Annotated[tuple[Publisher, ...], NonEmpty, Tag("publishers")],
    Discriminator(lambda value: "any" if isinstance(value, str) else "publishers"),
]


class PublisherKeys(Settings):
    """The key `publishers`."""

    publishers: Publishers | None = None
    """Any one of these must have signed, or ``"any"`` Trusted Publisher. Implies ``required``."""


@final
@dataclass(frozen=True, slots=True)
class _PublisherCheck(AttestationCheck):
    label: str | None
    publishers: tuple[PublisherMatcher, ...] | None
    """None where any Trusted Publisher will do."""
    partially_proven: tuple[PublisherMatcher, ...]
    """Those of `publishers` that may match without proof of all they name."""
    is_required: bool
    wanted: str

    def select(self, attestations: Attestations) -> Attestations:
        if len(attestations) == 1:  # as nearly always: without a generator
            return attestations if self._is_allowed(attestations[0]) else ()
        return tuple(each for each in attestations if self._is_allowed(each))

    def _is_allowed(self, attestation: Attestation) -> bool:
        if self.publishers is None:
            return attestation.claims.kind is not None
        for publisher in self.publishers:  # noqa: SIM110 - `any` and a generator cost 0.3 µs a file
            if publisher.covers(attestation):
                return True
        return False

    def explain(self, attestations: Attestations) -> Reason:
        return make_reason(ReasonCode.PUBLISHER, self.label, _tell_publisher, (attestations, self.wanted))

    def narrow(self, attestations: Attestations) -> tuple[Attestations, Reason | None]:
        selected = self.select(attestations)
        if selected:
            return selected, None
        # No other link may count a person's signature.
        persons = [each for each in attestations if each.claims.kind is None]
        trusted = tuple(each for each in attestations if each not in persons) if persons else attestations
        return trusted, self.explain(attestations) if self.is_required else None

    def note(self, attestations: Attestations) -> tuple[str, ...]:
        told: tuple[str, ...] = ()
        for each in attestations:
            if each.claims.trigger in _PRIVILEGED_TRIGGERS:
                told += (f"signed under {each.claims.trigger}, which a stranger's pull request may set off",)
            for publisher in self.partially_proven:
                if publisher.covers(each):
                    told += publisher.note_unproven(each)
        return told


def _tell_publisher(attestations: Attestations, wanted: str) -> Words:
    signers = "; ".join(dict.fromkeys(describe_signer(each.claims) for each in attestations))
    message = f'it is signed by {signers}, the rule asks for {wanted}; ask for a waiver of "publishers"'
    return Words(message, wanted, signers)


def _activate(stated: PublisherKeys, terms: RuleTerms) -> _PublisherCheck:
    publishers, wanted = None, "any Trusted Publisher"
    if isinstance(stated.publishers, tuple):
        publishers = tuple(compile_publisher(each) for each in stated.publishers)
        wanted = " or ".join(describe_publisher(each) for each in stated.publishers)
    return _PublisherCheck(
        label=terms.label,
        publishers=publishers,
        partially_proven=tuple(each for each in publishers or () if each.environment is not None),
        is_required=terms.requires_attestations,
        wanted=wanted,
    )


def _describe(stated: PublisherKeys, terms: RuleTerms) -> Iterator[Phrase]:
    if isinstance(stated.publishers, tuple):
        who = "one of" if len(stated.publishers) > 1 else "this publisher"
        yield Phrase(f"is attested by {who}", tuple(describe_publisher(each) for each in stated.publishers))
    elif terms.requires_attestations:
        yield Phrase("is attested by any Trusted Publisher")
    else:
        yield Phrase("is, where it is attested, attested well")


PUBLISHERS: Final = Requirement(
    keys=PublisherKeys,
    lift="publishers",
    codes=frozenset({ReasonCode.PUBLISHER}),
    active=_activate,
    describe=_describe,
    implies_attestations=True,
)
