"""Requirement `ratchet`, with the keys that begin with `ratchet-`: provenance must continue. Pure.

While no publisher is established for a project, the ratchet withholds nothing. Afterwards, it withholds a later file
without an attestation (`provenance-lost`), and a later file with attestations only by other publishers
(`publisher-changed`). If an established publisher changes its repository name, workflow or environment, the file gets a
note (docs/policy-semantics.md, "Ratchet").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, final

from packaging.version import Version

from assay.evidence import Attestation, Forged, PublisherIdentity, Unstated, Unverifiable
from assay.policy.candidate import FileFacts, PageContext
from assay.policy.continuity import Continuity
from assay.policy.language.times import format_instant
from assay.policy.language.values import Age, Specifiers, compile_specifiers
from assay.policy.release_lines import is_line_established
from assay.policy.requirements.base import NOT_YET, Note, NotYet, Phrase, Requirement, RuleTerms, TimeCheck
from assay.policy.signers import assess_continuity, find_signers, get_signing_origin, recall_signer
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.publishers.signers import describe_attestation, identify_publisher, name_signer
from assay.settings import Settings

DEFAULT_RATCHET_SETTLE: Final = timedelta(days=14)
"""Default of `ratchet-settle`: time from the log entry of a publisher's first file until the publisher is
established."""


class RatchetMode(StrEnum):
    """Values of the key `ratchet`: the effect of lost or changed provenance."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


class RatchetScope(StrEnum):
    """Values of the key `ratchet-scope`: the files with which a file is compared."""

    PROJECT = "project"
    LINE = "line"


class RatchetKeys(Settings):
    """Model of the keys `ratchet`, `ratchet-scope`, `ratchet-settle` and `ratchet-except`."""

    ratchet: RatchetMode | None = None
    """Effect of a lost attestation or a changed publisher: the file is withheld (``enforce``, the default), gets a note
    (``warn``), or is not affected (``off``)."""
    ratchet_scope: RatchetScope | None = None
    """Files with which a file is compared: all of the project (``project``, the default), or those of its release line
    and of earlier lines (``line``). The epoch and the first number of a version are its line. With ``line``, an
    unattested 1.9.6 after an attested 2.0 gets a note."""
    ratchet_settle: Age | None = None
    """Time from the log entry of a publisher's first file until the publisher is established. Default: 14 days."""
    ratchet_except: Specifiers | None = None
    """Versions that the ratchet does not check, such as old release lines that are still patched by hand."""


@final
@dataclass(frozen=True, slots=True)
class _RatchetCheck(TimeCheck):
    label: str | None
    warns: bool
    """True if lost or changed provenance gives a note on the file. False if it withholds the file."""
    covers_exception: Callable[[Version], bool] | None
    names_publishers: bool
    compares_lines: bool
    """True if the file is compared only with files of its release line and of earlier ones."""

    def check_time(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | Note | NotYet | None:
        state = context.ratchet_state
        if state.established_since is None and not state.has_unknown_evidence:
            return None
        if recall_signer(facts, context, now) or isinstance(facts.evidence, Forged) or self._is_excepted(facts):
            return None
        if self.names_publishers and facts.relevant_attestations and not facts.provenance_failures:
            return None  # a publisher that the rule names counts as established
        found = self._judge_signers(facts, context, now)
        if self.compares_lines and isinstance(found, Reason) and not is_line_established(facts, context, now):
            # The evidence of an earlier file could still establish a publisher for this line.
            return NOT_YET if state.has_unknown_evidence and not self.warns else _note_later_line(found)
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
        match assess_continuity(facts, context, now):
            case Continuity.EXEMPT:
                return None
            case Continuity.UNDETERMINED:
                return NOT_YET
            case Continuity.KEPT:
                return _note_changed_origin(facts, context)
            case Continuity.LOST:
                if isinstance(facts.evidence, Unstated):
                    return make_reason(ReasonCode.PROVENANCE_LOST, self.label, _tell_unstated, (facts.evidence,))
                why = facts.evidence.reason if isinstance(facts.evidence, Unverifiable) else None
                return make_reason(ReasonCode.PROVENANCE_LOST, self.label, _tell_lost, (why,))
            case Continuity.CHANGED:
                state = context.ratchet_state
                _, until = state.get_signer_status(find_signers(facts, context), now)
                # Format the names now: the state changes with the next file.
                known = ", ".join(sorted({_name_identity(each, context) for each in state.established}))
                reason_facts = (facts.relevant_attestations, known, until)
                return make_reason(ReasonCode.PUBLISHER_CHANGED, self.label, _tell_changed, reason_facts, until)


def _note_later_line(reason: Reason) -> Note:
    """Return the note on a file that differs only from later release lines."""
    return Note(f'{reason.code} compared with later release lines, which ratchet-scope = "line" permits')


def _note_changed_origin(facts: FileFacts, context: PageContext) -> Note | None:
    """Return a note if an established publisher signs under a new repository, workflow or environment name."""
    for attestation in facts.relevant_attestations:
        before = context.ratchet_state.origins.get(identify_publisher(attestation))  # type: ignore[arg-type]  # None is never a key
        if before and (origin := get_signing_origin(attestation.claims)) not in before:
            names = ("repository", "workflow", "environment")
            latest = max(before, key=str)  # any of them, but deterministic
            changes = [
                f"{name} {new or 'none'}, previously {old or 'none'}"
                for name, new, old in zip(names, origin, latest, strict=True)
                if new != old
            ]
            return Note(f"the same publisher under a new name: {'; '.join(changes)}")
    return None


def _name_identity(identity: PublisherIdentity, context: PageContext) -> str:
    """Return the repository name and the subject of a publisher's identity, for messages.

    If no earlier file gives the repository name, return only the subject.
    """
    repositories = sorted(origin[0] for origin in context.ratchet_state.origins.get(identity, ()) if origin[0])
    return f"{repositories[0]} ({identity.subject})" if repositories else identity.subject


def _tell_lost(unverifiable: str | None) -> Words:
    why = f" that can be verified ({unverifiable})" if unverifiable is not None else ""
    # Short enough to fit into pip's reason phrase untruncated, together with rule and nearest version.
    message = (
        f'the file has no attestation{why}, but earlier files of the project have one; ask for a waiver of "ratchet"'
    )
    return Words(message, "an attestation by an established publisher", "none")


def _tell_unstated(evidence: Unstated) -> Words:
    message = (
        f"{evidence.problem}, because earlier files of the project have an attestation;"
        ' or ask for a waiver of "ratchet"'
    )
    return Words(message, "an attestation by an established publisher", "unknown")


def _tell_changed(attestations: tuple[Attestation, ...], known: str, until: datetime | None) -> Words:
    signers = "; ".join(dict.fromkeys(describe_attestation(each) for each in attestations)) or "an unknown signer"
    short = ", ".join(dict.fromkeys(name_signer(each.claims) for each in attestations)) or "an unknown signer"
    remedy = f"allowed from {format_instant(until)}" if until else 'add it to a rule, or ask for a waiver of "ratchet"'
    return Words(
        f"the file is signed by {short}, which is not an established publisher of this project; {remedy}",
        known,
        signers,
    )


def _activate(stated: RatchetKeys, terms: RuleTerms) -> _RatchetCheck | None:
    if stated.ratchet is RatchetMode.OFF:
        return None
    warns, excepted = stated.ratchet is RatchetMode.WARN, stated.ratchet_except
    covers_exception = None if excepted is None else compile_specifiers(excepted)
    compares_lines = stated.ratchet_scope is RatchetScope.LINE
    return _RatchetCheck(terms.label, warns, covers_exception, terms.names_publishers, compares_lines)


def _describe(stated: RatchetKeys, _: RuleTerms) -> Iterator[Phrase]:
    is_line = stated.ratchet_scope is RatchetScope.LINE
    owner = "its release line, or an earlier one," if is_line else "the project"
    match stated.ratchet:
        case RatchetMode.OFF:
            return
        case RatchetMode.WARN:
            yield Phrase(
                f"is attested by an established publisher, if {owner} has one; if not, it is approved with a note"
            )
        case RatchetMode.ENFORCE | None:
            yield Phrase(f"is attested by an established publisher, if {owner} has one")


RATCHET: Final = Requirement(
    keys=RatchetKeys,
    lift="ratchet",
    codes=frozenset({ReasonCode.PROVENANCE_LOST, ReasonCode.PUBLISHER_CHANGED}),
    active=_activate,
    describe=_describe,
)
