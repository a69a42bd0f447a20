"""Requirement `late-files`: a file must be added soon after the first file of its release. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, final

from packaging.version import Version

from assay.policy.candidate import FileFacts, PageContext, compute_base_time, compute_existence_time
from assay.policy.checks import find_duplicates, is_recordable
from assay.policy.language.times import format_elapsed
from assay.policy.language.values import Age
from assay.policy.requirements.base import FileCheck, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings
from assay.units import format_duration

_MAX_INSTANT = datetime.max.replace(tzinfo=UTC)


class LateFilesKeys(Settings):
    """Model of the key `late-files`."""

    late_files: Age | None = None
    """Maximum time after the first file of a version in which further files of the version may appear. A later file is
    withheld."""


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
        # Evidence may reveal the time of a file whose time is unknown.
        return None if facts.effective_time is None else self.check_file(facts, context, now)


def find_release_times(context: PageContext) -> dict[Version, datetime]:
    """Return the time at which the first file of each version appeared, according to the page and the ledger.

    An entry is ignored if the ledger neither knows it nor may record it. The first request would use the upload-time of
    such an entry, but a later request would take the entry for a new file. The result would therefore change between
    requests.
    """
    history, duplicates = context.history, context.compute_once(find_duplicates)
    first: dict[Version, datetime] = {}
    for place, file in enumerate(context.files):
        is_duplicate = place in duplicates
        seen = history.files.get(file.filename)
        if file.distribution is None or is_duplicate or (seen is None and not is_recordable(file, context)):
            continue
        # Not the current time: a file that appears only now is the first of its release, or later than the first.
        time = compute_base_time(file, seen, history, _MAX_INSTANT)
        if time is None and seen is not None:
            time = seen.first_seen  # the file existed by then
        if time is not None:
            version = file.distribution.version
            first[version] = min(time, first.get(version, time))
    return first


def _tell_late(late: timedelta, limit: timedelta) -> Words:
    allowed, elapsed = format_duration(limit), format_elapsed(late)
    message = (
        f"the file was added {elapsed} after the first file of its release, but the rule allows {allowed}; "
        'ask for a waiver of "late-files"'
    )
    return Words(message, f"within {allowed}", f"{elapsed} later")


def _activate(stated: LateFilesKeys, terms: RuleTerms) -> _LateFilesCheck | None:
    return None if stated.late_files is None else _LateFilesCheck(terms.label, stated.late_files)


def _describe(stated: LateFilesKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.late_files is not None:
        yield Phrase(f"was added at most {format_duration(stated.late_files)} after the first file of its version")


LATE_FILES: Final = Requirement(
    keys=LateFilesKeys,
    lift="late-files",
    codes=frozenset({ReasonCode.LATE_FILE}),
    active=_activate,
    describe=_describe,
)
