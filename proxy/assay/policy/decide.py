"""The verdict on one file, step by step (docs/policy-semantics.md, "Precedence"). Pure.

1. revoked; 2. denied, or no rule governs; 3. an always-on check fails; 4. pinned, or not pinned where only pins count;
5. forged evidence; 6. a requirement not met, unless a waiver lifts it; 7. otherwise approved. The first that applies
decides, and every one that applies is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from assay.evidence import PROVENANCE_OMITTED, Attested, Evidence, Forged, Unverifiable
from assay.policy import provenance, requirements
from assay.policy.candidate import FileFacts, PageContext
from assay.policy.checks import find_failed_checks, is_sound
from assay.policy.compiled import CompiledRule
from assay.policy.language.model import Mode, RatchetMode
from assay.policy.ratchet import NO_OBJECTION, RatchetOutcome, apply_ratchet
from assay.policy.verdict import Approved, Reason, ReasonCode, Undecided, Verdict, Withheld, approve, withhold

_UnmetRequirements: TypeAlias = tuple[list[Reason], RatchetOutcome, bool]
"""The requirements that a file does not meet for certain, the ratchet's opinion, and whether more may fail by the
evidence of earlier files."""
_WaivedReasons: TypeAlias = tuple[list[Reason], datetime | None, list[str]]
"""The reasons that waivers lift, until when, and by which waivers."""

_NO_REASONS: list[Reason] = []
_NOTHING_WAIVED: _WaivedReasons = ([], None, [])
_CODE_PRECEDENCE = {code: place for place, code in enumerate(ReasonCode)}


def decide_verdict(exhibit: FileFacts, terms: CompiledRule, context: PageContext, now: datetime) -> Verdict:
    """The verdict on a file, ignoring mode, but that in audit mode nothing is withheld before its evidence is known."""
    is_sound_and_plain = terms.is_plain and is_sound(exhibit, context, now)
    evidence = exhibit.evidence
    if evidence is None:
        enforced = _NO_REASONS if is_sound_and_plain else _find_enforced_reasons(exhibit, terms, context, now)
        return _decide_without_evidence(exhibit, terms, context, now, enforced)
    continuity = apply_ratchet(exhibit, terms, context, now)
    if is_sound_and_plain and continuity is NO_OBJECTION and _is_lean(exhibit, terms, context, now):
        notes = (
            provenance.collect_provenance_notes(exhibit.relevant_attestations, terms)
            if exhibit.relevant_attestations
            else _note_unverifiable(evidence)
        )
        return approve(exhibit.file, rule=terms.label or "", evidence=evidence, notes=notes)
    unmet = _find_unmet_requirements(exhibit, terms, context, now, continuity)
    reasons, _, is_open = unmet
    forged = isinstance(evidence, Forged)
    if not is_sound_and_plain or reasons or terms.pins or forged:
        if is_sound_and_plain and len(reasons) == 1 and not (terms.pins or terms.waivers) and not forged:
            return _withhold(exhibit, terms, exhibit.provenance_failures or reasons, enforced=False)
        enforced = _NO_REASONS if is_sound_and_plain else _find_enforced_reasons(exhibit, terms, context, now)
        return _decide_contested(exhibit, terms, now, enforced, unmet)
    if is_open:
        return Undecided(file=exhibit.file)
    return approve(
        exhibit.file, rule=terms.label or "", evidence=evidence, notes=_collect_notes(exhibit, terms, continuity)
    )


def _decide_contested(
    exhibit: FileFacts, terms: CompiledRule, now: datetime, enforced: list[Reason], unmet: _UnmetRequirements
) -> Verdict:
    """Steps 1 to 7 where anything speaks against the file."""
    reasons, continuity, is_open = unmet
    if len(reasons) > 1:
        reasons.sort(key=lambda reason: _CODE_PRECEDENCE[reason.code])
    forged = _make_forgery_reasons(exhibit.evidence, terms)
    if enforced:
        return _withhold(exhibit, terms, [*enforced, *forged, *reasons], enforced=True)
    if exhibit.file.sha256 in terms.pins:
        return _approve_pinned(exhibit, terms, [*forged, *reasons])
    if forged:
        return _withhold(exhibit, terms, [*forged, *reasons], enforced=True)
    lifted, expiry, labels = _apply_waivers(exhibit, terms, reasons, now) if terms.waivers else _NOTHING_WAIVED
    remaining = [reason for reason in reasons if reason not in lifted] if lifted else reasons
    if remaining:
        return _withhold(exhibit, terms, remaining, enforced=False, expiry=expiry)
    if is_open:
        return Undecided(file=exhibit.file)
    return approve(
        exhibit.file,
        rule=terms.label or "",
        evidence=exhibit.evidence,
        despite=tuple(lifted),
        notes=(*_collect_notes(exhibit, terms, continuity), *labels),
        changes_at=_find_earliest_change(reasons, expiry),
    )


def _find_enforced_reasons(
    exhibit: FileFacts, terms: CompiledRule, context: PageContext, now: datetime
) -> list[Reason]:
    """Steps 1 to 4, but for what a pin lifts."""
    found = []
    for repeal in terms.revocations:
        attestations = exhibit.evidence.attestations if isinstance(exhibit.evidence, Attested) else ()
        if repeal.covers(exhibit.file, attestations):
            message = f"revoked: {repeal.reason}; take another version"
            found.append(Reason(code=ReasonCode.REVOKED, rule=repeal.label, message=message, found=repeal.reason))
    if terms.label is None:
        message = "no rule of the policy covers this project; ask for one"
        found.append(
            Reason(code=ReasonCode.NO_RULE, rule=None, message=message, expected="a rule that covers the project")
        )
    elif terms.deny_reason is not None:
        message = f"denied by the policy: {terms.deny_reason}"
        found.append(Reason(code=ReasonCode.DENIED, rule=terms.label, message=message, found=terms.deny_reason))
    found.extend(find_failed_checks(exhibit, context, now))
    if terms.pinned_only and exhibit.file.sha256 not in terms.pins:
        message = "the rule approves only the files it pins, and this is none of them; ask for a pin"
        found.append(Reason(code=ReasonCode.NOT_PINNED, rule=terms.label, message=message, expected="a pinned SHA-256"))
    return found


def _decide_without_evidence(
    exhibit: FileFacts, terms: CompiledRule, context: PageContext, now: datetime, enforced: list[Reason]
) -> Verdict:
    """What can be said before a file's evidence is known: only what no evidence would change."""
    file = exhibit.file
    early = _find_certain_failures(exhibit, terms, context, now)
    if enforced:
        return _withhold(exhibit, terms, [*enforced, *early], enforced=True)
    if file.sha256 in terms.pins:
        # Evidence could only tell of a revocation, which beats pins.
        return Undecided(file=file) if terms.has_evidence_revocations else _approve_pinned(exhibit, terms, early)
    if not early or terms.mode is Mode.AUDIT:
        return Undecided(file=file)
    if not terms.waivers:
        return _withhold(exhibit, terms, early, enforced=False)
    lifted, expiry, _ = _apply_waivers(exhibit, terms, early, now)
    remaining = [reason for reason in early if reason not in lifted]
    if not remaining:
        return Undecided(file=file)
    return _withhold(exhibit, terms, remaining, enforced=False, expiry=expiry)


def _find_certain_failures(
    exhibit: FileFacts, terms: CompiledRule, context: PageContext, now: datetime
) -> list[Reason]:
    """The requirements that fail whatever the evidence will be."""
    found = []
    if terms.indexes is not None and (index := requirements.check_index(terms, context)) is not None:
        found.append(index)
    if terms.min_age and (age := requirements.check_age(exhibit, terms, context, now, best_case=True)[0]) is not None:
        found.append(age)
    if terms.asks_of_page or context.mismatched_wheels:
        found.extend(requirements.check_page_requirements(exhibit, terms, context, now, best_case=True))
    return found


def _is_lean(exhibit: FileFacts, terms: CompiledRule, context: PageContext, now: datetime) -> bool:
    """Whether step 6 has nothing to say, the ratchet being silent: the short way, as `is_sound` is of step 3."""
    return (
        terms.is_lean
        and not exhibit.provenance_failures
        and not context.mismatched_wheels
        and (
            not terms.min_age or (exhibit.effective_time is not None and exhibit.effective_time + terms.min_age <= now)
        )
        and not isinstance(exhibit.evidence, Forged)
    )


def _find_unmet_requirements(
    exhibit: FileFacts, terms: CompiledRule, context: PageContext, now: datetime, continuity: RatchetOutcome
) -> _UnmetRequirements:
    """Step 6 before waivers."""
    found: list[Reason] = []
    is_open = False
    if terms.indexes is not None and (index := requirements.check_index(terms, context)) is not None:
        found.append(index)
    found.extend(exhibit.provenance_failures)
    if terms.min_age:
        age, is_open = requirements.check_age(exhibit, terms, context, now)
        if age is not None and not is_open:
            found.append(age)
    if continuity is not NO_OBJECTION and terms.ratchet is RatchetMode.ENFORCE:
        is_open = is_open or continuity.is_undetermined
        if continuity.reason is not None:
            found.append(continuity.reason)
    if terms.asks_of_page or context.mismatched_wheels:
        found.extend(requirements.check_page_requirements(exhibit, terms, context, now))
    return found, continuity, is_open


def _apply_waivers(exhibit: FileFacts, terms: CompiledRule, unmet: list[Reason], now: datetime) -> _WaivedReasons:
    """Which reasons waivers lift, until when, and by which waivers. "An expired waiver is no waiver"."""
    lifted: list[Reason] = []
    expiries, labels = [], []
    for exemption in terms.waivers:
        codes = exemption.lifted_codes
        if exemption.expires <= now or not any(reason.code in codes for reason in unmet):
            continue
        # Before the evidence of a file without upload-time is known, it may yet prove old enough.
        hopeful = exhibit.evidence is None and exhibit.effective_time is None and exemption.sha256 is None
        if hopeful or exemption.covers(exhibit.file, exhibit.effective_time):
            lifted.extend(reason for reason in unmet if reason.code in codes and reason not in lifted)
            expiries.append(exemption.expires)
            labels.append(f"waived: {exemption.label}")
    return lifted, min(expiries, default=None), labels


def _approve_pinned(exhibit: FileFacts, terms: CompiledRule, despite: list[Reason]) -> Approved:
    return approve(
        exhibit.file,
        rule=terms.label or "",
        evidence=exhibit.evidence,
        despite=tuple(despite),
        notes=("pinned: a person approved exactly this file",),
        changes_at=_find_earliest_change(despite, None),
    )


def _withhold(
    exhibit: FileFacts,
    terms: CompiledRule,
    reasons: Sequence[Reason],
    *,
    enforced: bool,
    expiry: datetime | None = None,
) -> Withheld:
    changes_at = _find_earliest_change(reasons, expiry)
    return withhold(exhibit.file, tuple(reasons), enforced, terms.label, exhibit.evidence, changes_at)


def _find_earliest_change(reasons: Sequence[Reason], expiry: datetime | None) -> datetime | None:
    if len(reasons) == 1 and expiry is None:
        return reasons[0].until
    instants = [reason.until for reason in reasons if reason.until is not None]
    if expiry is not None:
        instants.append(expiry)
    return min(instants, default=None)


def _make_forgery_reasons(evidence: object, terms: CompiledRule) -> list[Reason]:
    if not isinstance(evidence, Forged):
        return _NO_REASONS
    if evidence.step == PROVENANCE_OMITTED:
        message = "the index promises a provenance for it and has none"
        code = ReasonCode.PROVENANCE_MISSING
    else:
        message = f"its provenance is forged: {evidence.step}; don't use it, and tell whoever runs the index"
        code = ReasonCode.FORGED
    return [Reason(code=code, rule=terms.label, message=message, expected=evidence.expected, found=evidence.found)]


def _collect_notes(exhibit: FileFacts, terms: CompiledRule, continuity: RatchetOutcome) -> tuple[str, ...]:
    told = (
        *provenance.collect_provenance_notes(exhibit.relevant_attestations, terms),
        *_note_unverifiable(exhibit.evidence),
    )
    if continuity.note is not None:
        told = (*told, continuity.note)
    if continuity.reason is not None and terms.ratchet is RatchetMode.WARN:
        told = (*told, f"{continuity.reason.code}: {continuity.reason.message}")
    return told


def _note_unverifiable(evidence: Evidence | None) -> tuple[str, ...]:
    """Why there is no attestation that counts."""
    if isinstance(evidence, Unverifiable):
        return (f"its attestation counts for nothing: {evidence.reason}",)
    return ()
