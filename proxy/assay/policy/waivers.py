"""Waivers, compiled: which reasons they lift, for which files, and until when. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeAlias

from packaging.version import Version

from assay.policy.candidate import FileFacts
from assay.policy.language.model import Lift, Policy, Waiver
from assay.policy.language.patterns import compile_name_patterns
from assay.policy.language.values import compile_specifiers
from assay.policy.requirements.registry import REQUIREMENTS
from assay.policy.verdict import Reason, ReasonCode
from assay.publishers.globs import StringPredicate
from assay.simple.model import File, NormalizedName, Sha256

CODES_BY_LIFT: Final[dict[Lift, frozenset[ReasonCode]]] = {Lift(each.lift): each.codes for each in REQUIREMENTS}
"""Which reasons each word of `lifts` lifts. `release` shares its code with `types`, so that either lifts both."""
LIFT_BY_CODE: Final[dict[ReasonCode, Lift]] = {
    code: lift for lift, codes in reversed(CODES_BY_LIFT.items()) for code in codes
}
"""The word to ask for, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledWaiver:
    """A waiver, compiled."""

    notes: tuple[str, ...]
    """What a file that it lets in is noted with."""
    covers_version: Callable[[Version], bool] | None
    sha256: frozenset[Sha256] | None
    uploaded_before: datetime | None
    lifted_codes: frozenset[ReasonCode]
    expires: datetime

    def covers(self, file: File, time: datetime | None) -> bool:
        """Whether it is for this file; `time` is the file's own, None where that is unknown."""
        if self.sha256 is not None and file.sha256 not in self.sha256:
            return False
        if self.uploaded_before is not None and not (time is not None and time < self.uploaded_before):
            return False
        if self.covers_version is None:
            return True
        return file.distribution is not None and self.covers_version(file.distribution.version)


WaivedReasons: TypeAlias = tuple[tuple[Reason, ...], Sequence[Reason], datetime | None, tuple[str, ...]]
"""The reasons that waivers lift, those that remain, when the first of the waivers ends, and their notes."""


def compile_waivers(policy: Policy, name: NormalizedName) -> tuple[CompiledWaiver, ...]:
    """Return the policy's waivers for a project."""
    return tuple(waiver for covers, waiver in _compile_all(policy) if covers(name))


def apply_waivers(
    waivers: tuple[CompiledWaiver, ...], facts: FileFacts, reasons: Sequence[Reason], now: datetime
) -> WaivedReasons:
    """Return which reasons waivers lift, and which remain. "An expired waiver is no waiver"."""
    lifted: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    expires: datetime | None = None
    remaining = reasons
    # Before the evidence of a file without upload-time is known, it may yet prove old enough.
    may_prove_old = facts.evidence is None and facts.effective_time is None
    for waiver in waivers:
        if waiver.expires <= now:
            continue
        codes = waiver.lifted_codes
        lifts = tuple([reason for reason in reasons if reason.code in codes])
        if not lifts:
            continue
        if (may_prove_old and waiver.sha256 is None) or waiver.covers(facts.file, facts.effective_time):
            lifted = (*lifted, *(each for each in lifts if each not in lifted)) if lifted else lifts
            notes = (*notes, *waiver.notes) if notes else waiver.notes
            expires = waiver.expires if expires is None else min(expires, waiver.expires)
            lifts_all = len(lifts) == len(reasons)
            remaining = () if lifts_all else [reason for reason in remaining if reason.code not in codes]
    return lifted, remaining, expires, notes


@lru_cache(maxsize=8)
def _compile_all(policy: Policy) -> tuple[tuple[StringPredicate, CompiledWaiver], ...]:
    return tuple(
        (compile_name_patterns(waiver.projects), _compile_waiver(waiver, f"waivers[{number}]"))
        for number, waiver in enumerate(policy.waivers)
    )


def _compile_waiver(waiver: Waiver, key_path: str) -> CompiledWaiver:
    return CompiledWaiver(
        notes=(f"waived: {waiver.name or f'{key_path}: {waiver.reason}'}",),
        covers_version=None if waiver.versions is None else compile_specifiers(waiver.versions),
        sha256=None if waiver.sha256 is None else frozenset(waiver.sha256),
        uploaded_before=waiver.uploaded_before,
        lifted_codes=frozenset().union(*(CODES_BY_LIFT[lift] for lift in waiver.lifts)),
        expires=waiver.expires,
    )
