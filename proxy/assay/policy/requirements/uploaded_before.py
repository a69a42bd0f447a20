"""Requirement `uploaded-before`: a file must have been uploaded before an instant. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, final

from assay.policy.candidate import FileFacts, PageContext
from assay.policy.language.times import ExclusiveEnd, format_instant
from assay.policy.requirements.base import FileCheck, Phrase, Requirement, RuleTerms
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings


class UploadedBeforeKeys(Settings):
    """Model of the key `uploaded-before`."""

    uploaded_before: ExclusiveEnd | None = None
    """Instant before which a file must have been uploaded."""


@final
@dataclass(frozen=True, slots=True)
class _UploadedBeforeCheck(FileCheck):
    label: str | None
    before: datetime

    def check_file(self, facts: FileFacts, _context: PageContext, _now: datetime) -> Reason | None:
        time = facts.effective_time
        if time is not None and time < self.before:
            return None
        return make_reason(ReasonCode.UPLOADED_AFTER, self.label, _tell_uploaded_after, (time, self.before))

    def check_best_case(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | None:
        # Evidence may reveal the time of a file whose time is unknown.
        return None if facts.effective_time is None else self.check_file(facts, context, now)


def _tell_uploaded_after(time: datetime | None, before: datetime) -> Words:
    found = "unknown time" if time is None else time.isoformat()
    message = (
        f"the file is not known to have been uploaded before {format_instant(before)};"
        ' ask for a waiver of "uploaded-before"'
    )
    return Words(message, f"before {before.isoformat()}", found)


def _activate(stated: UploadedBeforeKeys, terms: RuleTerms) -> _UploadedBeforeCheck | None:
    return None if stated.uploaded_before is None else _UploadedBeforeCheck(terms.label, stated.uploaded_before)


def _describe(stated: UploadedBeforeKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.uploaded_before is not None:
        yield Phrase(f"was uploaded before {format_instant(stated.uploaded_before)}")


UPLOADED_BEFORE: Final = Requirement(
    keys=UploadedBeforeKeys,
    lift="uploaded-before",
    codes=frozenset({ReasonCode.UPLOADED_AFTER}),
    active=_activate,
    describe=_describe,
)
