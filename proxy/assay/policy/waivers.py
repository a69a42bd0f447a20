"""Compiled waivers, which lift the reasons of certain files until an end date; and what no waiver lifts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from packaging.version import Version

from assay.policy.candidate import FileFacts
from assay.policy.language.model import Lift, Policy, Waiver
from assay.policy.language.patterns import compile_name_patterns
from assay.policy.language.values import compile_specifiers
from assay.policy.requirements.registry import REQUIREMENTS
from assay.policy.verdict import Reason, ReasonCode, Withheld
from assay.publishers.globs import StringPredicate
from assay.simple.model import File, NormalizedName, Sha256

CODES_BY_LIFT: Final[dict[Lift, frozenset[ReasonCode]]] = {Lift(each.lift): each.codes for each in REQUIREMENTS}
"""For each word of `lifts`, the reason codes that a waiver with this word lifts. `release` and `types` have the same
code, so a waiver with either word lifts the reasons of both."""
LIFT_BY_CODE: Final[dict[ReasonCode, Lift]] = {
    code: lift for lift, codes in reversed(CODES_BY_LIFT.items()) for code in codes
}
"""For each reason code, the word of `lifts` that lifts it. `types` and `release` have the same code, for which the word
here is `types`."""
_PIN_INSTEAD: Final = "if you trust exactly these bytes, add their SHA-256 to the pins of the rule"
_REMEDIES: Final[dict[ReasonCode, str]] = {
    ReasonCode.REVOKED: "if the revocation is wrong, remove or narrow it",
    ReasonCode.MALICIOUS: "if the record is wrong, name its id in [[ignored-advisories]]",
    ReasonCode.DENIED: "if the denial is wrong, change the rule",
    ReasonCode.NO_RULE: "add a rule that covers the project",
    ReasonCode.NOT_PINNED: "add the SHA-256 of the file to the pins of the rule",
    ReasonCode.FORGED: _PIN_INSTEAD,
    ReasonCode.PROVENANCE_MISSING: _PIN_INSTEAD,
    ReasonCode.PROVENANCE_UNUSABLE: _PIN_INSTEAD,
}
_OTHER_REMEDY: Final = "the entry on the index page is faulty; use another file or version"


class Unliftable(NamedTuple):
    """Reason that no waiver lifts."""

    reason: Reason
    remedy: str
    """Clause that says what to do instead."""


def find_lifts(withheld: Withheld) -> frozenset[Lift]:
    """Return the words of `lifts` for a waiver of the file. Reasons that no waiver lifts are left out."""
    return frozenset(LIFT_BY_CODE[reason.code] for reason in withheld.reasons if reason.code in LIFT_BY_CODE)


def find_unliftable(withheld: Withheld) -> Unliftable | None:
    """Return the first reason that no waiver lifts; None if a waiver with `find_lifts` lifts all reasons."""
    first = next((reason for reason in withheld.reasons if reason.code not in LIFT_BY_CODE), None)
    if first is None:
        return None
    return Unliftable(first, _REMEDIES.get(first.code, _OTHER_REMEDY))


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledWaiver:
    """Compiled waiver of a policy."""

    notes: tuple[str, ...]
    """Notes on each file that is approved because of this waiver."""
    covers_version: Callable[[Version], bool] | None
    sha256: frozenset[Sha256] | None
    uploaded_before: datetime | None
    lifted_codes: frozenset[ReasonCode]
    expires: datetime

    def covers(self, file: File, time: datetime | None) -> bool:
        """Return True if this waiver covers the file.

        Args:
            file: the file.
            time: effective time of the file (see `assay.policy.candidate`); None if unknown.
        """
        if self.sha256 is not None and file.sha256 not in self.sha256:
            return False
        if self.uploaded_before is not None and not (time is not None and time < self.uploaded_before):
            return False
        if self.covers_version is None:
            return True
        return file.distribution is not None and self.covers_version(file.distribution.version)


WaivedReasons: TypeAlias = tuple[tuple[Reason, ...], Sequence[Reason], datetime | None, tuple[str, ...]]
"""Result of applying waivers: lifted reasons, remaining reasons, earliest end of a waiver that lifts a reason (None if
no reason is lifted), and notes of these waivers."""


def compile_waivers(policy: Policy, name: NormalizedName) -> tuple[CompiledWaiver, ...]:
    """Return the policy's waivers whose `projects` cover the project. Expired waivers are included."""
    return tuple(waiver for covers, waiver in _compile_all(policy) if covers(name))


def apply_waivers(
    waivers: tuple[CompiledWaiver, ...], facts: FileFacts, reasons: Sequence[Reason], now: datetime
) -> WaivedReasons:
    """Return the reasons that waivers lift, and the reasons that remain. Expired waivers lift nothing."""
    lifted: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    expires: datetime | None = None
    remaining = reasons
    # Evidence that is not known yet may prove that a file without an upload-time is old enough for `uploaded-before`.
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
