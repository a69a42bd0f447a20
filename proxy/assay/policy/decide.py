"""The verdict on one file, step by step (docs/policy-semantics.md, "Precedence"). Pure.

1. revoked; 2. denied, or no rule governs; 3. an always-on check fails; 4. pinned, or not pinned where only pins count;
5. forged evidence; 6. a requirement not met, unless a waiver lifts it; 7. otherwise approved. The first that applies
decides, and every one that applies is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from assay.evidence import PROVENANCE_OMITTED, Evidence, Forged
from assay.policy.candidate import FileFacts, PageContext, gather_facts
from assay.policy.checks import find_failed_checks
from assay.policy.compiled import CompiledRule
from assay.policy.language.model import Mode
from assay.policy.provenance import collect_provenance_notes, select_attestations
from assay.policy.requirements.base import NOT_YET, Note
from assay.policy.verdict import (
    Approved,
    Reason,
    ReasonCode,
    Verdict,
    Withheld,
    Words,
    approve,
    leave_undecided,
    make_reason,
    withhold,
)
from assay.policy.waivers import apply_waivers
from assay.simple.model import File

_CODE_PRECEDENCE = {code: place for place, code in enumerate(ReasonCode)}


_Findings: TypeAlias = tuple[list[Reason], tuple[str, ...], bool]
"""What step 6 says of a file: the requirements that it does not meet, notes, and whether more may fail by the evidence
of earlier files."""


def gather_facts_under(
    rule: CompiledRule, file: File, evidence: Evidence | None, context: PageContext, now: datetime
) -> FileFacts:
    """Return what is known of a file, with its attestations that count under the rule."""
    return gather_facts(file, evidence, select_attestations(evidence, rule.checks.attestations), context, now)


def decide_verdict(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> Verdict:
    """The verdict on a file, ignoring mode, but that in audit mode nothing is withheld before its evidence is known."""
    enforced = _find_enforced_reasons(facts, rule, context, now)
    evidence = facts.evidence
    if evidence is None:
        return _decide_without_evidence(facts, rule, context, now, enforced)
    findings = _check_requirements(facts, rule, context, now)
    unmet, notes, is_open = findings
    if enforced or unmet or rule.pins or isinstance(evidence, Forged):
        return _decide_contested(facts, rule, now, enforced, findings)
    if is_open:
        return leave_undecided(facts.file)
    return approve(facts.file, rule=rule.label or "", evidence=evidence, notes=_collect_notes(facts, rule, notes))


def _decide_contested(
    facts: FileFacts, rule: CompiledRule, now: datetime, enforced: list[Reason], findings: _Findings
) -> Verdict:
    """Steps 1 to 7 where anything speaks against the file."""
    reasons, notes, is_open = findings
    forged = [_make_forgery_reason(facts.evidence, rule)] if isinstance(facts.evidence, Forged) else []
    if enforced:
        return _withhold(facts, rule, [*enforced, *forged, *reasons], enforced=True)
    if rule.pins and facts.file.sha256 in rule.pins:
        return _approve_pinned(facts, rule, [*forged, *reasons])
    if forged:
        return _withhold(facts, rule, [*forged, *reasons], enforced=True)
    if reasons and not rule.waivers:
        return _withhold(facts, rule, reasons, enforced=False)
    lifted, remaining, expires, waiver_notes = apply_waivers(rule.waivers, facts, reasons, now)
    if remaining:
        return _withhold(facts, rule, remaining, enforced=False, expires=expires)
    if is_open:
        return leave_undecided(facts.file)
    return approve(
        facts.file,
        rule=rule.label or "",
        evidence=facts.evidence,
        lifted_reasons=lifted,
        notes=_collect_notes(facts, rule, (*notes, *waiver_notes) if notes else waiver_notes),
        changes_at=_find_earliest_change(reasons, expires),
    )


def _find_enforced_reasons(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> list[Reason]:
    """Steps 1 to 4, but for what a pin lifts."""
    found = find_failed_checks(facts, context, now)
    if rule.refusal is not None:
        found.insert(0, rule.refusal)
    for check in reversed(rule.precedence_checks):
        if first := check.find_reasons(facts):
            found = [*first, *found]
    if rule.pinned_only and facts.file.sha256 not in rule.pins:
        found.append(make_reason(ReasonCode.NOT_PINNED, rule.label, _tell_not_pinned, ()))
    return found


def _decide_without_evidence(
    facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime, enforced: list[Reason]
) -> Verdict:
    """What can be said before a file's evidence is known: only what no evidence would change."""
    file = facts.file
    early = _find_certain_failures(facts, rule, context, now)
    if enforced:
        return _withhold(facts, rule, [*enforced, *early], enforced=True)
    if file.sha256 in rule.pins:
        # Evidence could only tell of what beats a pin, such as a revocation.
        beatable = any(check.needs_evidence for check in rule.precedence_checks)
        return leave_undecided(file) if beatable else _approve_pinned(facts, rule, early)
    if not early or rule.mode is Mode.AUDIT:
        return leave_undecided(file)
    if not rule.waivers:
        return _withhold(facts, rule, early, enforced=False)
    _, remaining, expires, _ = apply_waivers(rule.waivers, facts, early, now)
    if not remaining:
        return leave_undecided(file)
    return _withhold(facts, rule, remaining, enforced=False, expires=expires)


def _find_certain_failures(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> list[Reason]:
    """The requirements that fail whatever the evidence will be."""
    found = list(context.compute_once(rule.check_page)) if rule.checks.page else []
    for check in rule.checks.files:
        if (reason := check.check_best_case(facts, context, now)) is not None:
            found.append(reason)
    for each in rule.checks.time:
        if (reason := each.check_best_case(facts, context, now)) is not None:
            found.append(reason)
    return _sort_reasons(found)


def _check_requirements(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> _Findings:
    """Step 6 before waivers."""
    checks = rule.checks
    unmet = list(facts.provenance_failures)
    notes: tuple[str, ...] = ()
    is_open = False
    if checks.page:
        unmet += context.compute_once(rule.check_page)
    for check in checks.files:
        if (reason := check.check_file(facts, context, now)) is not None:
            unmet.append(reason)
    for each in checks.time:
        said = each.check_time(facts, context, now)
        if said is None:
            continue
        if said is NOT_YET:
            is_open = True
        elif isinstance(said, Note):
            notes += (said.text,)
        else:
            unmet.append(said)
    return _sort_reasons(unmet) if len(unmet) > 1 else unmet, notes, is_open


def _sort_reasons(reasons: list[Reason]) -> list[Reason]:
    """Sort in place, in the order in which reasons are reported."""
    reasons.sort(key=lambda reason: _CODE_PRECEDENCE[reason.code])
    return reasons


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
    expires: datetime | None = None,
) -> Withheld:
    changes_at = _find_earliest_change(reasons, expires)
    return withhold(facts.file, tuple(reasons), enforced, rule.label, facts.evidence, changes_at)


def _find_earliest_change(reasons: Sequence[Reason], expires: datetime | None) -> datetime | None:
    earliest = expires
    for reason in reasons:
        if reason.until is not None and (earliest is None or reason.until < earliest):
            earliest = reason.until
    return earliest


def _make_forgery_reason(evidence: Forged, rule: CompiledRule) -> Reason:
    code = ReasonCode.PROVENANCE_MISSING if evidence.step == PROVENANCE_OMITTED else ReasonCode.FORGED
    return make_reason(code, rule.label, _tell_forged, (evidence,))


def _tell_forged(evidence: Forged) -> Words:
    if evidence.step == PROVENANCE_OMITTED:
        message = "the index promises a provenance for it and has none"
    else:
        message = f"its provenance is forged: {evidence.step}; don't use it, and tell whoever runs the index"
    return Words(message, evidence.expected, evidence.found)


def _tell_not_pinned() -> Words:
    message = "the rule approves only the files it pins, and this is none of them; ask for a pin"
    return Words(message, "a pinned SHA-256")


def _collect_notes(facts: FileFacts, rule: CompiledRule, more: tuple[str, ...]) -> tuple[str, ...]:
    """Return the notes on the evidence, and `more` behind them."""
    if facts.evidence is None:
        return more
    told = collect_provenance_notes(facts.evidence, facts.relevant_attestations, rule.checks.attestations)
    return (*told, *more) if told else more
