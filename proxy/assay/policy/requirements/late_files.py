"""`late-files`: how long after the first file of its release a file may be added. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, final

from packaging.version import Version

from assay.policy.candidate import FileFacts, PageContext, compute_base_time, compute_existence_time
from assay.policy.checks import is_recordable
from assay.policy.language.times import format_elapsed
from assay.policy.language.values import Age
from assay.policy.requirements.base import FileCheck, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings
from assay.units import format_duration

_MAX_INSTANT = datetime.max.replace(tzinfo=UTC)


class LateFilesKeys(Settings):
    """The key `late-files`."""

    late_files: Age | None = None
    """How long after the first file of its version a file may still be added."""


@final
@dataclass(frozen=True, slots=True)
class _LateFilesCheck(FileCheck):
    label: str | None
    allowed: timedelta

    def check_file(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | None:
        distribution = facts.file.distribution
        if distribution is None:
            return None
        first = context.compute_once(find_release_times).get(distribution.version)
        if first is None:
            return None
        late = compute_existence_time(facts, now) - first
        if late <= self.allowed:
            return None
        return make_reason(ReasonCode.LATE_FILE, self.label, _tell_late, (late, self.allowed))

    def check_best_case(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | None:
        # Evidence may tell the time of a file that has none.
        return None if facts.effective_time is None else self.check_file(facts, context, now)


def find_release_times(context: PageContext) -> dict[Version, datetime]:
    """Return when the first file of each version appeared, so far as pages tell.

    An entry that the ledger neither knows nor will learn counts for nothing. If it did, it would count by what the page
    says on the first visit, and by that visit's own instant on all others.
    """
    history, names = context.history, set[str]()
    first: dict[Version, datetime] = {}
    for file in context.files:
        is_duplicate = file.filename in names and file.filename not in context.repeated_filenames
        names.add(file.filename)
        seen = history.files.get(file.filename)
        if file.distribution is None or is_duplicate or (seen is None and not is_recordable(file, context)):
            continue
        # The clock plays no part: what appears only now is the first of its release, or later than the first.
        time = compute_base_time(file, seen, history, _MAX_INSTANT)
        if time is None and seen is not None:
            time = seen.first_seen  # by then it was there
        if time is not None:
            version = file.distribution.version
            first[version] = min(time, first.get(version, time))
    return first


def _tell_late(late: timedelta, limit: timedelta) -> Words:
    allowed, elapsed = format_duration(limit), format_elapsed(late)
    message = (
        f"it was added {elapsed} after the first file of its release, the rule allows {allowed}; "
        'ask for a waiver of "late-files"'
    )
    return Words(message, f"within {allowed}", f"{elapsed} later")


def _activate(stated: LateFilesKeys, terms: RuleTerms) -> _LateFilesCheck | None:
    return None if stated.late_files is None else _LateFilesCheck(terms.label, stated.late_files)


def _describe(stated: LateFilesKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.late_files is not None:
        yield Phrase(f"came within {format_duration(stated.late_files)} of the first file of its version")


LATE_FILES: Final = Requirement(
    keys=LateFilesKeys,
    lift="late-files",
    codes=frozenset({ReasonCode.LATE_FILE}),
    active=_activate,
    describe=_describe,
)
