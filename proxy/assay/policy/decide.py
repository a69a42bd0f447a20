"""Verdict on one file, by the steps of the precedence (docs/policy-semantics.md, "Precedence"). Pure.

1. A revocation or a malware advisory covers the file.
2. The rule denies the project, or no rule governs it.
3. An always-on check fails.
4. A pin approves the file, or the rule approves only pinned files and the file is not pinned.
5. The evidence is forged.
6. A requirement is not met, and no waiver lifts it.
7. Otherwise the file is approved.

The first step that applies decides. The reasons of all steps that apply are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from assay.evidence import PROVENANCE_OMITTED, PROVENANCE_UNUSABLE, Evidence, Forged
from assay.policy.candidate import FileFacts, PageContext, gather_facts
from assay.policy.checks import find_failed_checks
from assay.policy.compiled import CompiledRule
from assay.policy.language.model import Mode
from assay.policy.precedence.base import NO_FINDINGS, Findings
from assay.policy.provenance import collect_provenance_notes, select_attestations
from assay.policy.requirements.base import NOT_YET, Note
from assay.policy.verdict import (
    Approved,
    Reason,
    ReasonCode,
    Undecided,
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

_FORGERY_CODES = {
    PROVENANCE_OMITTED: ReasonCode.PROVENANCE_MISSING,
    PROVENANCE_UNUSABLE: ReasonCode.PROVENANCE_UNUSABLE,
}
_CODE_PRECEDENCE = {code: place for place, code in enumerate(ReasonCode)}


_Findings: TypeAlias = tuple[list[Reason], tuple[str, ...], bool]
"""Findings about requirements (step 6): the reasons of unmet requirements, the notes, and True if the evidence of
earlier files is still needed."""


def gather_facts_under(
    rule: CompiledRule, file: File, evidence: Evidence | None, context: PageContext, now: datetime
) -> FileFacts:
    """Return the facts about a file. They include the attestations that count under the rule."""
    selected = select_attestations(evidence, rule.checks.attestations, rule.sources)
    return gather_facts(file, evidence, selected, context, now)


def decide_verdict(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> Verdict:
    """Return the verdict on a file as in enforce mode. `assay.policy.judge.apply_mode` applies audit mode afterwards.

    This function considers the mode in only one case: the evidence is not known, and a requirement is not met whatever
    the evidence will be. In enforce mode the file is then withheld. In audit mode it is undecided until its evidence is
    known.
    """
    precedent = _find_precedent(facts, rule, context, now)
    verdict = _decide(facts, rule, context, now, _find_enforced_reasons(facts, rule, context, now, precedent.reasons))
    if precedent.lifted_reasons or precedent.notes or precedent.changes_at is not None:
        return _annotate(verdict, precedent)
    return verdict


def _find_precedent(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> Findings:
    """Return the findings of the checks that overrule every approval (step 1)."""
    found = NO_FINDINGS
    for check in rule.precedence_checks:
        added = check.check_file(facts, context, now)
        if added is not NO_FINDINGS:
            found = found.join(added)
    return found


def _annotate(verdict: Verdict, precedent: Findings) -> Verdict:
    """Return the verdict with the lifted reasons, the notes and the next change of step 1."""
    if isinstance(verdict, Undecided):
        return verdict
    instants = [each for each in (verdict.changes_at, precedent.changes_at) if each is not None]
    if isinstance(verdict, Withheld):
        return replace(verdict, changes_at=min(instants, default=None))
    return approve(
        verdict.file,
        rule=verdict.rule,
        evidence=verdict.evidence,
        lifted_reasons=(*precedent.lifted_reasons, *verdict.despite),
        notes=(*verdict.notes, *precedent.notes),
        changes_at=min(instants, default=None),
    )


def _decide(
    facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime, enforced: list[Reason]
) -> Verdict:
    evidence = facts.evidence
    if evidence is None:
        return _decide_without_evidence(facts, rule, context, now, enforced)
    findings = _check_requirements(facts, rule, context, now)
    unmet, notes, is_pending = findings
    if enforced or unmet or rule.pins or isinstance(evidence, Forged):
        return _decide_contested(facts, rule, context, now, enforced=enforced, findings=findings)
    if is_pending:
        return leave_undecided(facts.file)
    if unasked := _find_unasked_countersigners(facts, rule, context):
        return leave_undecided(facts.file, unasked)
    return approve(facts.file, rule=rule.label or "", evidence=evidence, notes=_collect_notes(facts, rule, notes))


def _decide_contested(
    facts: FileFacts,
    rule: CompiledRule,
    context: PageContext,
    now: datetime,
    *,
    enforced: list[Reason],
    findings: _Findings,
) -> Verdict:
    """Return the verdict on a file with known evidence, if there are reasons against the file or the rule has pins.

    Args:
        facts: facts about the file.
        rule: compiled rule of the project.
        context: facts about the page.
        now: the current time in UTC.
        enforced: reasons that no pin lifts (see `_find_enforced_reasons`).
        findings: findings about the requirements.
    """
    reasons, notes, is_pending = findings
    forged = [_make_forgery_reason(facts.evidence, rule)] if isinstance(facts.evidence, Forged) else []
    if enforced:
        return _withhold(facts, rule, [*enforced, *forged, *reasons], enforced=True)
    if rule.pins and facts.file.sha256 in rule.pins:
        return _approve_pinned(facts, rule, [*forged, *reasons])
    if forged:
        return _withhold(facts, rule, [*forged, *reasons], enforced=True)
    lifted, remaining, expires, waiver_notes = apply_waivers(rule.waivers, facts, reasons, now)
    if remaining:
        if open_questions := _find_open_questions(facts, rule, context, now):
            return leave_undecided(facts.file, open_questions)
        return _withhold(facts, rule, remaining, enforced=False, expires=expires)
    if is_pending:
        return leave_undecided(facts.file)
    is_waived = any(reason.code is ReasonCode.COUNTERSIGNED for reason in lifted)
    if not is_waived and (unasked := _find_unasked_countersigners(facts, rule, context)):
        return leave_undecided(facts.file, unasked)
    return approve(
        facts.file,
        rule=rule.label or "",
        evidence=facts.evidence,
        lifted_reasons=lifted,
        notes=_collect_notes(facts, rule, (*notes, *waiver_notes) if notes else waiver_notes),
        changes_at=_find_earliest_change(reasons, expires),
    )


def _find_unasked_countersigners(facts: FileFacts, rule: CompiledRule, context: PageContext) -> frozenset[str]:
    """Return the unanswered questions about countersigners: a statement that says otherwise would withhold the file."""
    if not rule.countersigners or facts.file.sha256 is None:
        return frozenset()
    required = context.compute_once(rule.find_required_questions)
    return required - context.answered.get((facts.file.filename, facts.file.sha256), frozenset())


def _find_open_questions(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> frozenset[str]:
    """Return the unanswered questions to sources beside the index whose answers could approve a withheld file.

    Return none if the file would stay withheld with any evidence.
    """
    if not context.sources:
        return frozenset()
    questions = context.compute_once(rule.find_questions)
    if facts.file.sha256 is None or not questions:
        return frozenset()
    unanswered = questions - context.answered.get((facts.file.filename, facts.file.sha256), frozenset())
    if not unanswered:
        return frozenset()
    unknown = gather_facts_under(rule, facts.file, None, context, now)
    certain = _find_certain_failures(unknown, rule, context, now)
    _, remaining, _, _ = apply_waivers(rule.waivers, unknown, certain, now)
    return frozenset() if remaining else unanswered


def _find_enforced_reasons(
    facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime, precedent: Sequence[Reason]
) -> list[Reason]:
    """Return the reasons to withhold the file that no pin lifts.

    They are those of step 1 (`precedent`), the rule's denial or a missing rule, failed always-on checks, and a missing
    pin where the rule approves only pinned files.
    """
    found = find_failed_checks(facts, context, now)
    if rule.refusal is not None:
        found.insert(0, rule.refusal)
    if precedent:
        found = [*precedent, *found]
    if rule.pinned_only and facts.file.sha256 not in rule.pins:
        found.append(make_reason(ReasonCode.NOT_PINNED, rule.label, _tell_not_pinned, ()))
    return found


def _decide_without_evidence(
    facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime, enforced: list[Reason]
) -> Verdict:
    """Return the verdict on a file whose evidence is not known; it is `Undecided` if evidence could change it."""
    file = facts.file
    certain = _find_certain_failures(facts, rule, context, now)
    if enforced:
        return _withhold(facts, rule, [*enforced, *certain], enforced=True)
    if file.sha256 in rule.pins:
        # Evidence matters only if a check that overrules a pin needs it, such as a revocation by publisher.
        may_be_overruled = any(check.needs_evidence for check in rule.precedence_checks)
        return leave_undecided(file) if may_be_overruled else _approve_pinned(facts, rule, certain)
    if not certain or rule.mode is Mode.AUDIT:
        return leave_undecided(file)
    if not rule.waivers:
        return _withhold(facts, rule, certain, enforced=False)
    _, remaining, expires, _ = apply_waivers(rule.waivers, facts, certain, now)
    if not remaining:
        return leave_undecided(file)
    return _withhold(facts, rule, remaining, enforced=False, expires=expires)


def _find_certain_failures(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> list[Reason]:
    """Return the reasons of the requirements that the file cannot meet, whatever its evidence turns out to be."""
    found = list(context.compute_once(rule.check_page)) if rule.checks.page else []
    for check in rule.checks.files:
        if (reason := check.check_best_case(facts, context, now)) is not None:
            found.append(reason)
    for each in rule.checks.time:
        if (reason := each.check_best_case(facts, context, now)) is not None:
            found.append(reason)
    return _sort_reasons(found)


def _check_requirements(facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime) -> _Findings:
    """Return the findings about the requirements. Waivers are not applied yet."""
    checks = rule.checks
    unmet = list(facts.provenance_failures)
    notes: tuple[str, ...] = ()
    is_pending = False
    if checks.page:
        unmet += context.compute_once(rule.check_page)
    for check in checks.files:
        if (reason := check.check_file(facts, context, now)) is not None:
            unmet.append(reason)
    for each in checks.time:
        result = each.check_time(facts, context, now)
        if result is None:
            continue
        if result is NOT_YET:
            is_pending = True
        elif isinstance(result, Note):
            notes += (result.text,)
        else:
            unmet.append(result)
    return _sort_reasons(unmet) if len(unmet) > 1 else unmet, notes, is_pending


def _sort_reasons(reasons: list[Reason]) -> list[Reason]:
    """Sort the reasons in place by the order of `ReasonCode`, and return the same list."""
    reasons.sort(key=lambda reason: _CODE_PRECEDENCE[reason.code])
    return reasons


def _approve_pinned(facts: FileFacts, rule: CompiledRule, lifted_reasons: list[Reason]) -> Approved:
    return approve(
        facts.file,
        rule=rule.label or "",
        evidence=facts.evidence,
        lifted_reasons=tuple(lifted_reasons),
        notes=("pinned: the policy approves exactly this file",),
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
    code = _FORGERY_CODES.get(evidence.step, ReasonCode.FORGED)
    return make_reason(code, rule.label, _tell_forged, (evidence,))


def _tell_forged(evidence: Forged) -> Words:
    if evidence.step == PROVENANCE_OMITTED:
        message = "the index promises provenance for the file but does not have it; use another version"
    elif evidence.step == PROVENANCE_UNUSABLE:
        message = f"the index's answer is no provenance document: {evidence.found}; Assay requests the document again"
    else:
        message = (
            f"the file's provenance is forged: {evidence.step};"
            " do not use the file, and report it to the operator of the index"
        )
    return Words(message, evidence.expected, evidence.found)


def _tell_not_pinned() -> Words:
    message = "the rule approves only pinned files, and this file is not pinned; ask for a pin"
    return Words(message, "a pinned SHA-256")


def _collect_notes(facts: FileFacts, rule: CompiledRule, more: tuple[str, ...]) -> tuple[str, ...]:
    """Return the notes on the evidence, followed by `more`."""
    if facts.evidence is None:
        return more
    notes = collect_provenance_notes(facts.evidence, facts.relevant_attestations, rule.checks.attestations)
    return (*notes, *more) if notes else more
