"""What a governing rule asks of a file beyond its provenance (POLICY.md, step 6), and the reasons. Pure.

What fails in the best case can withhold a file before its evidence is known, because evidence only ever makes a file's
time later.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from assay.policy.candidate import Context, Exhibit, existed
from assay.policy.compiled import Terms
from assay.policy.continuity import Standing
from assay.policy.language.times import show
from assay.policy.ratchet import is_established
from assay.policy.too_young import span, too_young
from assay.policy.verdict import Code, Reason
from assay.units import format_duration

ACTIVE = "active"
"""PEP 792: the status of a project whose page gives none."""


def of_index(terms: Terms, context: Context) -> Reason | None:
    """`indexes`: "a requirement, never a selector"."""
    if terms.indexes is None or context.index.name in terms.indexes:
        return None
    wanted = " or ".join(sorted(terms.indexes))
    message = f'it comes from the index {context.index.name}, the rule asks for {wanted}; ask for a waiver of "indexes"'
    return _reason(Code.INDEX, terms, message, expected=wanted, found=context.index.name)


def of_age(
    exhibit: Exhibit, terms: Terms, context: Context, now: datetime, *, best_case: bool = False
) -> tuple[Reason | None, bool]:
    """`min-age` and `min-age-attested`; true beside it where earlier files' evidence could still change the answer."""
    if not terms.min_age:
        return None, False
    time = exhibit.time
    if time is None:
        return (None, False) if best_case else (_ageless(terms), False)
    until = time + terms.min_age
    if until <= now:
        return None, False
    if terms.min_age_attested == terms.min_age:
        return too_young(terms.label, now - time, terms.min_age, until), False
    sooner = time + terms.min_age_attested
    if best_case:
        return (None if sooner <= now else too_young(terms.label, now - time, terms.min_age_attested, sooner)), False
    standing, settled = is_established(exhibit, terms, context, now)
    if standing is Standing.ESTABLISHED:
        return (None if sooner <= now else too_young(terms.label, now - time, terms.min_age_attested, sooner)), False
    if standing is Standing.SETTLING and settled is not None:
        until = min(until, max(sooner, settled))
    is_open = standing is Standing.OPEN and sooner <= now
    return too_young(terms.label, now - time, terms.min_age, until), is_open


def of_page(
    exhibit: Exhibit, terms: Terms, context: Context, now: datetime, *, best_case: bool = False
) -> Iterator[Reason]:
    """All the others, in the order of their codes; `best_case`: as if evidence spoke for the file."""
    file, distribution = exhibit.file, exhibit.file.distribution
    if terms.uploaded_before is not None and (reason := _uploaded_after(exhibit, terms, best_case=best_case)):
        yield reason
    if terms.late_files is not None and (reason := _late(exhibit, terms, context, now, best_case=best_case)):
        yield reason
    if terms.types is not None and (distribution is None or distribution.kind not in terms.types):
        found = distribution.kind.value if distribution is not None else "unknown"
        wanted = " or ".join(sorted(terms.types))
        message = f'it is a file of the type {found}, the rule takes {wanted}; ask for a waiver of "types"'
        yield _reason(Code.FILE_TYPE, terms, message, expected=wanted, found=found)
    if file.yanked is not None and not terms.yanked:
        why = f": {file.yanked}" if file.yanked else ""
        message = f'it was yanked{why}; take another version, or ask for a waiver of "yanked"'
        yield _reason(Code.YANKED, terms, message, expected="a file that is not yanked", found=file.yanked or "yanked")
    if terms.statuses is not None and (reason := _of_status(terms, context)):
        yield reason
    if file.sha256 in context.mismatched:
        message = 'its own METADATA is not what the index says it is; ask for a waiver of "metadata"'
        yield _reason(
            Code.METADATA_MISMATCH, terms, message, expected="the wheel's own METADATA", found="other metadata"
        )


def _of_status(terms: Terms, context: Context) -> Reason | None:
    status = context.status.status if context.status is not None else ACTIVE
    if terms.statuses is None or status in terms.statuses:
        return None
    wanted = " or ".join(sorted(terms.statuses))
    because = f": {context.status.reason}" if context.status is not None and context.status.reason else ""
    message = f'the project is {status}{because}; ask for a waiver of "project-status"'
    return _reason(Code.PROJECT_STATUS, terms, message, expected=wanted, found=status)


def _uploaded_after(exhibit: Exhibit, terms: Terms, *, best_case: bool) -> Reason | None:
    before, time = terms.uploaded_before, exhibit.time
    if before is None or (time is None and best_case) or (time is not None and time < before):
        return None
    found = "no time" if time is None else time.isoformat()
    message = f'it is not known to be uploaded before {show(before)}; ask for a waiver of "uploaded-before"'
    return _reason(Code.UPLOADED_AFTER, terms, message, expected=f"before {before.isoformat()}", found=found)


def _late(exhibit: Exhibit, terms: Terms, context: Context, now: datetime, *, best_case: bool) -> Reason | None:
    distribution = exhibit.file.distribution
    first = context.releases.get(distribution.version) if distribution is not None else None
    if terms.late_files is None or first is None or (exhibit.time is None and best_case):
        return None
    late = existed(exhibit, now) - first
    if late <= terms.late_files:
        return None
    allowed = format_duration(terms.late_files)
    message = (
        f"it was added {span(late)} after the first file of its release, the rule allows {allowed}; "
        'ask for a waiver of "late-files"'
    )
    return _reason(Code.LATE_FILE, terms, message, expected=f"within {allowed}", found=f"{span(late)} later")


def _ageless(terms: Terms) -> Reason:
    wanted = format_duration(terms.min_age)
    message = f'its age is unknown, the rule asks for {wanted}; ask for a waiver of "min-age"'
    return _reason(Code.TOO_YOUNG, terms, message, expected=f"at least {wanted} old", found="no time")


def _reason(code: Code, terms: Terms, message: str, *, expected: str, found: str) -> Reason:
    return Reason(code=code, rule=terms.label, message=message, expected=expected, found=found)
