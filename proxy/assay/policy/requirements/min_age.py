"""Requirement `min-age`, with `min-age-attested`: a file must have a minimum age. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, final

from assay.policy.candidate import FileFacts, PageContext
from assay.policy.continuity import SignerStatus
from assay.policy.language.times import add_duration, format_elapsed, format_instant
from assay.policy.language.values import Age
from assay.policy.requirements.base import NOT_YET, NotYet, Phrase, Requirement, RuleTerms, TimeCheck
from assay.policy.signers import assess_signers
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.settings import Settings
from assay.units import format_duration


class MinAgeKeys(Settings):
    """Model of the keys `min-age` and `min-age-attested`."""

    min_age: Age | None = None
    """Minimum age of a file (a cool-down). Default: no minimum."""
    min_age_attested: Age | None = None
    """Minimum age of a file that an established publisher signed. Default: ``min-age``."""


@final
@dataclass(frozen=True, slots=True)
class _MinAgeCheck(TimeCheck):
    label: str | None
    min_age: timedelta
    min_age_attested: timedelta
    """Minimum age of a file that an established publisher signed. It is never longer than `min_age`."""
    names_publishers: bool

    def check_time(self, facts: FileFacts, context: PageContext, now: datetime) -> Reason | NotYet | None:
        time = facts.effective_time
        if time is None:
            return make_reason(ReasonCode.TOO_YOUNG, self.label, _tell_unknown_age, (self.min_age,))
        until = add_duration(time, self.min_age)
        if until <= now:
            return None
        if self.min_age_attested == self.min_age:
            return self._refuse(time, now, self.min_age, until)
        sooner = add_duration(time, self.min_age_attested)
        status, settled = assess_signers(facts, context, now, names_publishers=self.names_publishers)
        if status is SignerStatus.ESTABLISHED:
            return None if sooner <= now else self._refuse(time, now, self.min_age_attested, sooner)
        if status is SignerStatus.UNDETERMINED and sooner <= now:
            return NOT_YET
        if status is SignerStatus.SETTLING and settled is not None:
            until = min(until, max(sooner, settled))
        return self._refuse(time, now, self.min_age, until)

    def check_best_case(self, facts: FileFacts, _context: PageContext, now: datetime) -> Reason | None:
        time = facts.effective_time
        if time is None:
            return None
        sooner = add_duration(time, self.min_age_attested)
        return None if sooner <= now else self._refuse(time, now, self.min_age_attested, sooner)

    def _refuse(self, time: datetime, now: datetime, min_age: timedelta, until: datetime) -> Reason:
        return make_reason(ReasonCode.TOO_YOUNG, self.label, _tell_too_young, (time, now, min_age, until), until)


_format_wanted = lru_cache(maxsize=64)(format_duration)


def _tell_too_young(time: datetime, now: datetime, min_age: timedelta, until: datetime) -> Words:
    wanted, age = _format_wanted(min_age), format_elapsed(now - time)
    message = f"the file is {age} old, but the rule requires {wanted}; allowed from {format_instant(until)}"
    return Words(message, f"at least {wanted} old", f"{age} old")


def _tell_unknown_age(min_age: timedelta) -> Words:
    wanted = format_duration(min_age)
    message = f'the age of the file is unknown, but the rule requires {wanted}; ask for a waiver of "min-age"'
    return Words(message, f"at least {wanted} old", "unknown age")


def _activate(stated: MinAgeKeys, terms: RuleTerms) -> _MinAgeCheck | None:
    if not stated.min_age:
        return None
    attested = stated.min_age if stated.min_age_attested is None else min(stated.min_age, stated.min_age_attested)
    return _MinAgeCheck(terms.label, stated.min_age, attested, terms.names_publishers)


def _describe(stated: MinAgeKeys, _: RuleTerms) -> Iterator[Phrase]:
    if stated.min_age is not None:
        yield Phrase(f"is at least {format_duration(stated.min_age)} old")
    if stated.min_age_attested is not None:
        yield Phrase(
            f"or is at least {format_duration(stated.min_age_attested)} old, if an established publisher signed it"
        )


MIN_AGE: Final = Requirement(
    keys=MinAgeKeys,
    lift="min-age",
    codes=frozenset({ReasonCode.TOO_YOUNG}),
    active=_activate,
    describe=_describe,
)
