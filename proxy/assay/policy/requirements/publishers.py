"""Requirement `publishers`: one of the named publishers must have signed the file. Pure.

Without this key, a signature by any Trusted Publisher counts. A signature by a person never counts. It may be genuine,
but it does not prove that the project published the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias, final

from pydantic import Discriminator, Tag

from assay.evidence import Attestation
from assay.policy.language.values import NonEmpty
from assay.policy.requirements.base import AttestationCheck, Attestations, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.publishers.base import PublisherTable
from assay.publishers.matching import PublisherMatcher, compile_publisher
from assay.publishers.registry import Publisher
from assay.publishers.signers import describe_attestation, describe_publisher, describe_signer
from assay.settings import Settings

_PRIVILEGED_TRIGGERS = frozenset({"pull_request_target", "workflow_run"})
"""Triggers of GitHub workflows that a pull request by an outsider can start with the permissions of the repository."""

Publishers: TypeAlias = Annotated[
    Annotated[Literal["any"], Tag("any")] | Annotated[tuple[Publisher, ...], NonEmpty, Tag("publishers")],
    Discriminator(lambda value: "any" if isinstance(value, str) else "publishers"),
]


class PublisherKeys(Settings):
    """Model of the key `publishers`."""

    publishers: Publishers | None = None
    """Permitted publishers. One of them must have signed the file; ``"any"`` permits every Trusted Publisher. Implies
    ``attestations = "required"``."""


@final
@dataclass(frozen=True, slots=True)
class _PublisherCheck(AttestationCheck):
    label: str | None
    publishers: tuple[PublisherMatcher, ...] | None
    """Permitted publishers; None if every Trusted Publisher is permitted."""
    partially_proven: tuple[PublisherMatcher, ...]
    """Permitted publishers that name an `environment`. Older certificates do not contain the environment and match
    without this proof."""
    is_required: bool
    wanted: str
    tables: tuple[PublisherTable, ...]
    """Publisher tables of the policy, from which `publishers` were compiled. Reasons contain the tables, because a
    reason must consist of plain values."""

    def select(self, attestations: Attestations) -> Attestations:
        if len(attestations) == 1:  # the common case, without a generator
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
        return make_reason(ReasonCode.PUBLISHER, self.label, _tell_publisher, (attestations, self.tables, self.wanted))

    def narrow(self, attestations: Attestations) -> tuple[Attestations, Reason | None]:
        selected = self.select(attestations)
        if selected:
            return selected, None
        # Remove signatures by persons, so that no later link counts them.
        persons = [each for each in attestations if each.claims.kind is None]
        trusted = tuple(each for each in attestations if each not in persons) if persons else attestations
        return trusted, self.explain(attestations) if self.is_required else None

    def note(self, attestations: Attestations) -> tuple[str, ...]:
        notes: tuple[str, ...] = ()
        for each in attestations:
            if each.claims.trigger in _PRIVILEGED_TRIGGERS:
                notes += (
                    f"signed under the trigger {each.claims.trigger}, which an outsider's pull request can start",
                )
            for publisher in self.partially_proven:
                if publisher.covers(each):
                    notes += publisher.note_unproven(each)
        return notes


def _tell_publisher(attestations: Attestations, publishers: tuple[PublisherTable, ...], wanted: str) -> Words:
    matchers = [compile_publisher(each) for each in publishers]
    found = "; ".join(dict.fromkeys(_describe_unmet(each, matchers) for each in attestations))
    message = f'the file is signed by {found}, but the rule requires {wanted}; ask for a waiver of "publishers"'
    return Words(message, wanted, found)


def _describe_unmet(attestation: Attestation, publishers: Iterable[PublisherMatcher]) -> str:
    """Return a description of the signer, with the claims that do not match the rule's publishers.

    A claim is left out if the description of the signer already contains it.

    Example: ``GitHub octo/widget (workflow release.yml), with issuer https://…/acme-corp, owner_id 78``.
    """
    signer = describe_signer(attestation.claims)
    unmet = {key: claim for each in publishers for key, claim in each.find_unmet_keys(attestation).items()}
    texts = {key: _quote_claim(claim) for key, claim in unmet.items() if key != "kind"}
    stated = ", ".join(f"{key} {text}" for key, text in texts.items() if not _is_described(key, text, signer))
    described = describe_attestation(attestation)
    return f"{described}, with {stated}" if stated else described


def _is_described(key: str, text: str, signer: str) -> bool:
    """Return whether the description of a signer already contains a claim, either as the name or after a label."""
    label = "workflow" if key == "workflow_filepath" else key
    return f"{label} {text}" in signer or f" {text} (" in f"{signer} ("


def _quote_claim(claim: str | None) -> str:
    """Return a claim as text for a reason. Escape it if it has outer blanks or non-ASCII characters."""
    if claim is None:
        return "none"
    return claim if claim.isascii() and claim == claim.strip() else ascii(claim)


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
        tables=tuple(each.publisher for each in publishers or ()),
    )


def _describe(stated: PublisherKeys, terms: RuleTerms) -> Iterator[Phrase]:
    if isinstance(stated.publishers, tuple):
        who = "one of" if len(stated.publishers) > 1 else "this publisher"
        yield Phrase(f"is attested by {who}", tuple(describe_publisher(each) for each in stated.publishers))
    elif terms.requires_attestations:
        yield Phrase("is attested by any Trusted Publisher")
    else:
        yield Phrase("has only valid attestations, or no attestation")


PUBLISHERS: Final = Requirement(
    keys=PublisherKeys,
    lift="publishers",
    codes=frozenset({ReasonCode.PUBLISHER}),
    active=_activate,
    describe=_describe,
    implies_attestations=True,
)
