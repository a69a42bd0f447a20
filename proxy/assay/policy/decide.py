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


def decide_verdict(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> Verdict:
    """The verdict on a file, ignoring mode, but that in audit mode nothing is withheld before its evidence is known."""
    is_sound_and_plain = rule.is_plain and is_sound(facts, context, now)
    evidence = facts.evidence
    if evidence is None:
        enforced = _NO_REASONS if is_sound_and_plain else _find_enforced_reasons(facts, rule, context, now)
        return _decide_without_evidence(facts, rule, context, now, enforced)
    continuity = apply_ratchet(facts, rule, context, now)
    if is_sound_and_plain and continuity is NO_OBJECTION and _is_lean(facts, rule, context, now):
        notes = (
            provenance.collect_provenance_notes(facts.relevant_attestations, rule)
            if facts.relevant_attestations
            else _note_unverifiable(evidence)
        )
        return approve(facts.file, rule=rule.label or "", evidence=evidence, notes=notes)
    unmet = _find_unmet_requirements(facts, rule, context, now, continuity)
    reasons, _, is_open = unmet
    forged = isinstance(evidence, Forged)
    if not is_sound_and_plain or reasons or rule.pins or forged:
        if is_sound_and_plain and len(reasons) == 1 and not (rule.pins or rule.waivers) and not forged:
            return _withhold(facts, rule, facts.provenance_failures or reasons, enforced=False)
        enforced = _NO_REASONS if is_sound_and_plain else _find_enforced_reasons(facts, rule, context, now)
        return _decide_contested(facts, rule, now, enforced, unmet)
    if is_open:
        return Undecided(file=facts.file)
    return approve(facts.file, rule=rule.label or "", evidence=evidence, notes=_collect_notes(facts, rule, continuity))


def _decide_contested(
    facts: FileFacts, rule: CompiledRule, now: datetime, enforced_reasons: list[Reason], unmet: _UnmetRequirements
) -> Verdict:
    """Steps 1 to 7 where anything speaks against the file."""
    reasons, continuity, is_open = unmet
    if len(reasons) > 1:
        reasons.sort(key=lambda reason: _CODE_PRECEDENCE[reason.code])
    forged = _make_forgery_reasons(facts.evidence, rule)
    if enforced_reasons:
        return _withhold(facts, rule, [*enforced_reasons, *forged, *reasons], enforced=True)
    if facts.file.sha256 in rule.pins:
        return _approve_pinned(facts, rule, [*forged, *reasons])
    if forged:
        return _withhold(facts, rule, [*forged, *reasons], enforced=True)
    lifted, expiry, labels = _apply_waivers(facts, rule, reasons, now) if rule.waivers else _NOTHING_WAIVED
    remaining = [reason for reason in reasons if reason not in lifted] if lifted else reasons
    if remaining:
        return _withhold(facts, rule, remaining, enforced=False, expiry=expiry)
    if is_open:
        return Undecided(file=facts.file)
    return approve(
        facts.file,
        rule=rule.label or "",
        evidence=facts.evidence,
        lifted_reasons=tuple(lifted),
        notes=(*_collect_notes(facts, rule, continuity), *labels),
        changes_at=_find_earliest_change(reasons, expiry),
    )


def _find_enforced_reasons(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> list[Reason]:
    """Steps 1 to 4, but for what a pin lifts."""
    found = []
    for repeal in rule.revocations:
        attestations = facts.evidence.attestations if isinstance(facts.evidence, Attested) else ()
        if repeal.covers(facts.file, attestations):
            message = f"revoked: {repeal.reason}; take another version"
            found.append(Reason(code=ReasonCode.REVOKED, rule=repeal.label, message=message, found=repeal.reason))
    if rule.label is None:
        message = "no rule of the policy covers this project; ask for one"
        found.append(
            Reason(code=ReasonCode.NO_RULE, rule=None, message=message, expected="a rule that covers the project")
        )
    elif rule.deny_reason is not None:
        message = f"denied by the policy: {rule.deny_reason}"
        found.append(Reason(code=ReasonCode.DENIED, rule=rule.label, message=message, found=rule.deny_reason))
    found.extend(find_failed_checks(facts, context, now))
    if rule.pinned_only and facts.file.sha256 not in rule.pins:
        message = "the rule approves only the files it pins, and this is none of them; ask for a pin"
        found.append(Reason(code=ReasonCode.NOT_PINNED, rule=rule.label, message=message, expected="a pinned SHA-256"))
    return found


def _decide_without_evidence(
    facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime, enforced_reasons: list[Reason]
) -> Verdict:
    """What can be said before a file's evidence is known: only what no evidence would change."""
    file = facts.file
    early = _find_certain_failures(facts, rule, context, now)
    if enforced_reasons:
        return _withhold(facts, rule, [*enforced_reasons, *early], enforced=True)
    if file.sha256 in rule.pins:
        # Evidence could only tell of a revocation, which beats pins.
        return Undecided(file=file) if rule.has_evidence_revocations else _approve_pinned(facts, rule, early)
    if not early or rule.mode is Mode.AUDIT:
        return Undecided(file=file)
    if not rule.waivers:
        return _withhold(facts, rule, early, enforced=False)
    lifted, expiry, _ = _apply_waivers(facts, rule, early, now)
    remaining = [reason for reason in early if reason not in lifted]
    if not remaining:
        return Undecided(file=file)
    return _withhold(facts, rule, remaining, enforced=False, expiry=expiry)


def _find_certain_failures(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> list[Reason]:
    """The requirements that fail whatever the evidence will be."""
    found = []
    if rule.indexes is not None and (index := requirements.check_index(rule, context)) is not None:
        found.append(index)
    if rule.min_age and (age := requirements.check_age(facts, rule, context, now, best_case=True)[0]) is not None:
        found.append(age)
    if rule.asks_of_page or context.mismatched_wheels:
        found.extend(requirements.check_page_requirements(facts, rule, context, now, best_case=True))
    return found


def _is_lean(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> bool:
    """Whether step 6 has nothing to say, the ratchet being silent: the short way, as `is_sound` is of step 3."""
    return (
        rule.is_lean
        and not facts.provenance_failures
        and not context.mismatched_wheels
        and (not rule.min_age or (facts.effective_time is not None and facts.effective_time + rule.min_age <= now))
        and not isinstance(facts.evidence, Forged)
    )


def _find_unmet_requirements(
    facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime, continuity: RatchetOutcome
) -> _UnmetRequirements:
    """Step 6 before waivers."""
    found: list[Reason] = []
    is_open = False
    if rule.indexes is not None and (index := requirements.check_index(rule, context)) is not None:
        found.append(index)
    found.extend(facts.provenance_failures)
    if rule.min_age:
        age, is_open = requirements.check_age(facts, rule, context, now)
        if age is not None and not is_open:
            found.append(age)
    if continuity is not NO_OBJECTION and rule.ratchet is RatchetMode.ENFORCE:
        is_open = is_open or continuity.is_undetermined
        if continuity.reason is not None:
            found.append(continuity.reason)
    if rule.asks_of_page or context.mismatched_wheels:
        found.extend(requirements.check_page_requirements(facts, rule, context, now))
    return found, continuity, is_open


def _apply_waivers(facts: FileFacts, rule: CompiledRule, unmet_reasons: list[Reason], now: datetime) -> _WaivedReasons:
    """Which reasons waivers lift, until when, and by which waivers. "An expired waiver is no waiver"."""
    lifted: list[Reason] = []
    expiries, labels = [], []
    for exemption in rule.waivers:
        codes = exemption.lifted_codes
        if exemption.expires <= now or not any(reason.code in codes for reason in unmet_reasons):
            continue
        # Before the evidence of a file without upload-time is known, it may yet prove old enough.
        hopeful = facts.evidence is None and facts.effective_time is None and exemption.sha256 is None
        if hopeful or exemption.covers(facts.file, facts.effective_time):
            lifted.extend(reason for reason in unmet_reasons if reason.code in codes and reason not in lifted)
            expiries.append(exemption.expires)
            labels.append(f"waived: {exemption.label}")
    return lifted, min(expiries, default=None), labels


def _approve_pinned(facts: FileFacts, rule: CompiledRule, lifted_reasons: list[Reason]) -> Approved:
    return approve(
        facts.file,
        rule=rule.label or "",
        evidence=facts.evidence,
        lifted_reasons=tuple(lifted_reasons),
        notes=("pinned: a person approved exactly this file",),
        changes_at=_find_earliest_change(lifted_reasons, None),
    )


def _withhold(
    facts: FileFacts,
    rule: CompiledRule,
    reasons: Sequence[Reason],
    *,
    enforced: bool,
    expiry: datetime | None = None,
) -> Withheld:
    changes_at = _find_earliest_change(reasons, expiry)
    return withhold(facts.file, tuple(reasons), enforced, rule.label, facts.evidence, changes_at)


def _find_earliest_change(reasons: Sequence[Reason], expiry: datetime | None) -> datetime | None:
    if len(reasons) == 1 and expiry is None:
        return reasons[0].until
    instants = [reason.until for reason in reasons if reason.until is not None]
    if expiry is not None:
        instants.append(expiry)
    return min(instants, default=None)


def _make_forgery_reasons(evidence: object, rule: CompiledRule) -> list[Reason]:
    if not isinstance(evidence, Forged):
        return _NO_REASONS
    if evidence.step == PROVENANCE_OMITTED:
        message = "the index promises a provenance for it and has none"
        code = ReasonCode.PROVENANCE_MISSING
    else:
        message = f"its provenance is forged: {evidence.step}; don't use it, and tell whoever runs the index"
        code = ReasonCode.FORGED
    return [Reason(code=code, rule=rule.label, message=message, expected=evidence.expected, found=evidence.found)]


def _collect_notes(facts: FileFacts, rule: CompiledRule, continuity: RatchetOutcome) -> tuple[str, ...]:
    told = (
        *provenance.collect_provenance_notes(facts.relevant_attestations, rule),
        *_note_unverifiable(facts.evidence),
    )
    if continuity.note is not None:
        told = (*told, continuity.note)
    if continuity.reason is not None and rule.ratchet is RatchetMode.WARN:
        told = (*told, f"{continuity.reason.code}: {continuity.reason.message}")
    return told


def _note_unverifiable(evidence: Evidence | None) -> tuple[str, ...]:
    """Why there is no attestation that counts."""
    if isinstance(evidence, Unverifiable):
        return (f"its attestation counts for nothing: {evidence.reason}",)
    return ()
