"""`ratchet`, `ratchet-settle` and `ratchet-except`: what a loss or change of provenance means. Pure.

Once some publisher is established, a file later than that which has no attestation (`provenance-lost`) or one by a
publisher that is not established (`publisher-changed`) is withheld; before that the ratchet says nothing. Another
workflow or environment of an established publisher is a note (docs/policy-semantics.md, "Ratchet").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, final

from packaging.version import Version

from assay.evidence import Attestation, Attested, Forged, PublisherIdentity, Unverifiable
from assay.policy.candidate import FileFacts, PageContext, compute_existence_time
from assay.policy.continuity import SignerStatus
from assay.policy.language.times import format_instant
from assay.policy.language.values import Age, Specifiers, compile_specifiers
from assay.policy.requirements.base import NOT_YET, Note, NotYet, Phrase, Requirement, RuleTerms, TimeCheck
from assay.policy.signers import find_signers, get_signing_origin, recall_signer
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.publishers.signers import describe_signer, identify_publisher, name_signer
from assay.settings import Settings

DEFAULT_RATCHET_SETTLE: Final = timedelta(days=14)
"""How long a publisher must have been logged before the project is held to it, where nothing says otherwise."""


class RatchetMode(StrEnum):
    """What a loss or change of provenance means."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


class RatchetKeys(Settings):
    """The keys `ratchet`, `ratchet-settle` and `ratchet-except`."""

    ratchet: RatchetMode | None = None
    """A loss or change of provenance withholds (``enforce``, the default), is noted (``warn``) or ignored (``off``)."""
    ratchet_settle: Age | None = None
    """How long ago a publisher's first file must have been logged to establish it. Left out: 14 days."""
    ratchet_except: Specifiers | None = None
    """Versions that the ratchet leaves alone: old lines that are still patched by hand."""


@final
@dataclass(frozen=True, slots=True)
class _RatchetCheck(TimeCheck):
    label: str | None
    warns: bool
    """Whether a loss or change is a note only."""
    covers_exception: Callable[[Version], bool] | None
    names_publishers: bool

    def check_time(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | Note | NotYet | None:
        state = context.ratchet_state
        if state.established_since is None and not state.has_unknown_evidence:
            return None
        if recall_signer(facts, context, now) or isinstance(facts.evidence, Forged) or self._is_excepted(facts):
            return None
        if self.names_publishers and facts.relevant_attestations and not facts.provenance_failures:
            return None  # a publisher that the rule names is established
        found = self._judge_signers(facts, context, now)
        if self.warns and isinstance(found, Reason):
            return Note(f"{found.code}: {found.message}")
        return None if self.warns and found is NOT_YET else found

    def _is_excepted(self, facts: FileFacts) -> bool:
        distribution = facts.file.distribution
        return (
            self.covers_exception is not None
            and distribution is not None
            and self.covers_exception(distribution.version)
        )

    def _judge_signers(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | Note | NotYet | None:
        state = context.ratchet_state
        signers = find_signers(facts, context)
        status, until = state.get_signer_status(signers, now)
        if status is SignerStatus.ESTABLISHED:
            return _note_changed_origin(facts, context)
        if not state.applies_to(compute_existence_time(facts, now), now):
            return NOT_YET if state.has_unknown_evidence else None
        if not signers and not isinstance(facts.evidence, Attested):
            why = facts.evidence.reason if isinstance(facts.evidence, Unverifiable) else None
            return make_reason(ReasonCode.PROVENANCE_LOST, self.label, _tell_lost, (why,))
        if status is SignerStatus.UNDETERMINED:
            return NOT_YET
        # In words at once: the state grows with the next file.
        known = ", ".join(sorted({_name_identity(each, context) for each in state.established}))
        said = (facts.relevant_attestations, known, until)
        return make_reason(ReasonCode.PUBLISHER_CHANGED, self.label, _tell_changed, said, until)


def _note_changed_origin(facts: FileFacts, context: PageContext) -> Note | None:
    """Return a note where the same publisher signs under another name than before."""
    for attestation in facts.relevant_attestations:
        before = context.ratchet_state.origins.get(identify_publisher(attestation))  # type: ignore[arg-type]  # None is in no dict
        if before and (origin := get_signing_origin(attestation.claims)) not in before:
            names = ("repository", "workflow", "environment")
            latest = max(before, key=str)  # any of them, but always the same
            changes = [
                f"{name} {new or 'none'}, before {old or 'none'}"
                for name, new, old in zip(names, origin, latest, strict=True)
                if new != old
            ]
            return Note(f"the same publisher under another name: {'; '.join(changes)}")
    return None


def _name_identity(identity: PublisherIdentity, context: PageContext) -> str:
    """Return an identity as people know it, where an earlier file of the page tells."""
    repositories = sorted(origin[0] for origin in context.ratchet_state.origins.get(identity, ()) if origin[0])
    return f"{repositories[0]} ({identity.subject})" if repositories else identity.subject


def _tell_lost(unverifiable: str | None) -> Words:
    why = f" that can be verified ({unverifiable})" if unverifiable is not None else ""
    # Short enough to reach pip's console whole, with rule and nearest version.
    message = f'it has no attestation{why}, but earlier files of the project have; ask for a waiver of "ratchet"'
    return Words(message, "an attestation by an established publisher", "none")


def _tell_changed(attestations: tuple[Attestation, ...], known: str, until: datetime | None) -> Words:
    signers = "; ".join(dict.fromkeys(describe_signer(each.claims) for each in attestations)) or "somebody unknown"
    short = ", ".join(dict.fromkeys(name_signer(each.claims) for each in attestations)) or "somebody unknown"
    heal = f"allowed from {format_instant(until)}" if until else 'name it in a rule, or ask for a waiver of "ratchet"'
    return Words(f"it is signed by {short}, who is not established for this project; {heal}", known, signers)


def _activate(stated: RatchetKeys, terms: RuleTerms) -> _RatchetCheck | None:
    if stated.ratchet is RatchetMode.OFF:
        return None
    warns, excepted = stated.ratchet is RatchetMode.WARN, stated.ratchet_except
    covers_exception = None if excepted is None else compile_specifiers(excepted)
    return _RatchetCheck(terms.label, warns, covers_exception, terms.names_publishers)


def _describe(stated: RatchetKeys, _: RuleTerms) -> Iterator[Phrase]:
    match stated.ratchet:
        case RatchetMode.OFF:
            return
        case RatchetMode.WARN:
            yield Phrase("loses no provenance and changes no publisher without a note")
        case RatchetMode.ENFORCE | None:
            yield Phrase("is attested, and by a known publisher, once the project has an established one")


RATCHET: Final = Requirement(
    keys=RatchetKeys,
    lift="ratchet",
    codes=frozenset({ReasonCode.PROVENANCE_LOST, ReasonCode.PUBLISHER_CHANGED}),
    active=_activate,
    describe=_describe,
)
