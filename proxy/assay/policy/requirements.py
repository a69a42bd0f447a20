"""What a governing rule asks of a file beyond its provenance, and the reasons. Pure.

The requirements are step 6 of docs/policy-semantics.md, "Precedence".

What fails in the best case can withhold a file before its evidence is known, because evidence only ever makes a file's
time later.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from assay.policy.candidate import FileFacts, PageContext, compute_existence_time
from assay.policy.compiled import CompiledRule
from assay.policy.continuity import SignerStatus
from assay.policy.language.times import format_instant
from assay.policy.ratchet import assess_signers
from assay.policy.too_young import format_elapsed, too_young
from assay.policy.verdict import Reason, ReasonCode
from assay.units import format_duration

DEFAULT_PROJECT_STATUS = "active"
"""PEP 792: the status of a project whose page gives none."""


def check_index(rule: CompiledRule, context: PageContext) -> Reason | None:
    """`indexes`: "a requirement, never a selector"."""
    if rule.indexes is None or context.index.name in rule.indexes:
        return None
    wanted = " or ".join(sorted(rule.indexes))
    message = f'it comes from the index {context.index.name}, the rule asks for {wanted}; ask for a waiver of "indexes"'
    return _make_reason(ReasonCode.INDEX, rule, message, expected=wanted, found=context.index.name)


def check_age(
    facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime, *, best_case: bool = False
) -> tuple[Reason | None, bool]:
    """`min-age` and `min-age-attested`; true beside it where earlier files' evidence could still change the answer."""
    if not rule.min_age:
        return None, False
    time = facts.effective_time
    if time is None:
        return (None, False) if best_case else (_make_unknown_age_reason(rule), False)
    until = time + rule.min_age
    if until <= now:
        return None, False
    if rule.min_age_attested == rule.min_age:
        return too_young(rule.label, now - time, rule.min_age, until), False
    sooner = time + rule.min_age_attested
    if best_case:
        return (None if sooner <= now else too_young(rule.label, now - time, rule.min_age_attested, sooner)), False
    standing, settled = assess_signers(facts, rule, context, now)
    if standing is SignerStatus.ESTABLISHED:
        return (None if sooner <= now else too_young(rule.label, now - time, rule.min_age_attested, sooner)), False
    if standing is SignerStatus.SETTLING and settled is not None:
        until = min(until, max(sooner, settled))
    is_open = standing is SignerStatus.UNDETERMINED and sooner <= now
    return too_young(rule.label, now - time, rule.min_age, until), is_open


def check_page_requirements(
    facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime, *, best_case: bool = False
) -> Iterator[Reason]:
    """All the others, in the order of their codes; `best_case`: as if evidence spoke for the file."""
    file, distribution = facts.file, facts.file.distribution
    if rule.uploaded_before is not None and (reason := _check_uploaded_before(facts, rule, best_case=best_case)):
        yield reason
    if rule.late_files is not None and (reason := _check_late_file(facts, rule, context, now, best_case=best_case)):
        yield reason
    if rule.types is not None and (distribution is None or distribution.kind not in rule.types):
        found = distribution.kind.value if distribution is not None else "unknown"
        wanted = " or ".join(sorted(rule.types))
        message = f'it is a file of the type {found}, the rule takes {wanted}; ask for a waiver of "types"'
        yield _make_reason(ReasonCode.FILE_TYPE, rule, message, expected=wanted, found=found)
    if file.yanked is not None and not rule.allows_yanked:
        why = f": {file.yanked}" if file.yanked else ""
        message = f'it was yanked{why}; take another version, or ask for a waiver of "yanked"'
        yield _make_reason(
            ReasonCode.YANKED, rule, message, expected="a file that is not yanked", found=file.yanked or "yanked"
        )
    if rule.project_statuses is not None and (reason := _check_project_status(rule, context)):
        yield reason
    if file.sha256 in context.mismatched_wheels:
        message = 'its own METADATA is not what the index says it is; ask for a waiver of "metadata"'
        yield _make_reason(
            ReasonCode.METADATA_MISMATCH, rule, message, expected="the wheel's own METADATA", found="other metadata"
        )


def _check_project_status(rule: CompiledRule, context: PageContext) -> Reason | None:
    status = context.status.status if context.status is not None else DEFAULT_PROJECT_STATUS
    if rule.project_statuses is None or status in rule.project_statuses:
        return None
    wanted = " or ".join(sorted(rule.project_statuses))
    because = f": {context.status.reason}" if context.status is not None and context.status.reason else ""
    message = f'the project is {status}{because}; ask for a waiver of "project-status"'
    return _make_reason(ReasonCode.PROJECT_STATUS, rule, message, expected=wanted, found=status)


def _check_uploaded_before(facts: FileFacts, rule: CompiledRule, *, best_case: bool) -> Reason | None:
    before, time = rule.uploaded_before, facts.effective_time
    if before is None or (time is None and best_case) or (time is not None and time < before):
        return None
    found = "no time" if time is None else time.isoformat()
    message = f'it is not known to be uploaded before {format_instant(before)}; ask for a waiver of "uploaded-before"'
    return _make_reason(ReasonCode.UPLOADED_AFTER, rule, message, expected=f"before {before.isoformat()}", found=found)


def _check_late_file(
    facts: FileFacts, rule: CompiledRule, context: PageContext, now: datetime, *, best_case: bool
) -> Reason | None:
    distribution = facts.file.distribution
    first = context.release_times.get(distribution.version) if distribution is not None else None
    if rule.late_files is None or first is None or (facts.effective_time is None and best_case):
        return None
    late = compute_existence_time(facts, now) - first
    if late <= rule.late_files:
        return None
    allowed = format_duration(rule.late_files)
    message = (
        f"it was added {format_elapsed(late)} after the first file of its release, the rule allows {allowed}; "
        'ask for a waiver of "late-files"'
    )
    return _make_reason(
        ReasonCode.LATE_FILE, rule, message, expected=f"within {allowed}", found=f"{format_elapsed(late)} later"
    )


def _make_unknown_age_reason(rule: CompiledRule) -> Reason:
    wanted = format_duration(rule.min_age)
    message = f'its age is unknown, the rule asks for {wanted}; ask for a waiver of "min-age"'
    return _make_reason(ReasonCode.TOO_YOUNG, rule, message, expected=f"at least {wanted} old", found="no time")


def _make_reason(code: ReasonCode, rule: CompiledRule, message: str, *, expected: str, found: str) -> Reason:
    return Reason(code=code, rule=rule.label, message=message, expected=expected, found=found)
