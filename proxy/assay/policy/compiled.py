"""A policy laid out for judging: for one project, the active checks of its rule, its waivers, its revocations. Pure.

Compiled once per policy and project and remembered; judging a file then runs the checks that have something to ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

from assay.policy.candidate import PageContext
from assay.policy.language.model import Mode, Policy, Requirements, Rule, get_rule_terms, merge_requirements
from assay.policy.language.patterns import compile_name_patterns
from assay.policy.precedence import PRECEDENCE_CHECKS, PrecedenceCheck
from assay.policy.requirements.base import AttestationCheck, Check, FileCheck, PageCheck, ReleaseCheck, TimeCheck
from assay.policy.requirements.ratchet import DEFAULT_RATCHET_SETTLE
from assay.policy.requirements.registry import REQUIREMENTS
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.policy.waivers import CompiledWaiver, compile_waivers
from assay.publishers.globs import StringPredicate
from assay.simple.model import NormalizedName, Sha256


@dataclass(frozen=True, slots=True)
class ActiveChecks:
    """The checks of those requirements that ask something, by their shapes."""

    page: tuple[PageCheck, ...]
    files: tuple[FileCheck, ...]
    attestations: tuple[AttestationCheck, ...]
    """In the order in which the chain runs them."""
    time: tuple[TimeCheck, ...]
    releases: tuple[ReleaseCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompiledRule:
    """What one project's files are judged by."""

    label: str | None
    """Of the governing rule; None where none governs."""
    mode: Mode
    precedence_checks: tuple[PrecedenceCheck, ...]
    """Step 1."""
    refusal: Reason | None
    """Step 2: why all files are withheld, denied or without a rule."""
    pins: frozenset[Sha256]
    pinned_only: bool
    checks: ActiveChecks
    """Step 6."""
    waivers: tuple[CompiledWaiver, ...]
    depends_on_earlier_files: bool
    """Whether what one file establishes may matter to the verdict on another."""
    ratchet_settle: timedelta
    requires_wheel_metadata: bool

    def check_page(self, context: PageContext) -> tuple[Reason, ...]:
        """Return the requirements that no file of the page meets."""
        reasons = (check.check_page(context) for check in self.checks.page)
        return tuple(reason for reason in reasons if reason is not None)


@lru_cache(maxsize=4096)
def compile_rule(policy: Policy, name: NormalizedName) -> CompiledRule:
    """What `name`'s files are judged by."""
    label, rule = _find_rule(policy, name) or (None, None)
    merged = merge_requirements(rule, policy.defaults)
    checks = activate_checks(merged, label)
    precedence_checks = (compile_check(policy, name) for compile_check in PRECEDENCE_CHECKS)
    return CompiledRule(
        label=label,
        mode=(rule.mode if rule else None) or policy.mode,
        precedence_checks=tuple(check for check in precedence_checks if check is not None),
        refusal=_make_refusal(label, rule),
        pins=frozenset((rule.pins if rule else None) or ()),
        pinned_only=rule is not None and rule.pinned_only,
        checks=checks,
        waivers=compile_waivers(policy, name),
        depends_on_earlier_files=any(check.depends_on_earlier_files for check in checks.time),
        ratchet_settle=DEFAULT_RATCHET_SETTLE if merged.ratchet_settle is None else merged.ratchet_settle,
        requires_wheel_metadata=merged.metadata == "wheel",
    )


def activate_checks(merged: Requirements, label: str | None) -> ActiveChecks:
    """Return the check of each requirement that asks something.

    Raises:
        TypeError: a check of none of the shapes, or of several.
    """
    terms = get_rule_terms(merged, label)
    active: list[Check] = [check for each in REQUIREMENTS if (check := each.active(merged, terms)) is not None]
    links = [check for check in active if isinstance(check, AttestationCheck)]
    checks = ActiveChecks(
        page=tuple(check for check in active if isinstance(check, PageCheck)),
        files=tuple(check for check in active if isinstance(check, FileCheck)),
        attestations=tuple(sorted(links, key=lambda check: check.order)),
        time=tuple(check for check in active if isinstance(check, TimeCheck)),
        releases=tuple(check for check in active if isinstance(check, ReleaseCheck)),
    )
    if sum(map(len, (checks.page, checks.files, checks.attestations, checks.time, checks.releases))) != len(active):
        raise TypeError("a check has exactly one of the shapes")
    return checks


def is_denied(policy: Policy, name: NormalizedName) -> bool:
    """Whether no file of the project can be approved, whatever it is: denied, or no rule governs.

    For the root list, whose hundreds of thousands of names are not worth compiling a rule for.
    """
    governing = _find_rule(policy, name)
    return governing is None or governing[1].deny is not None


def _make_refusal(label: str | None, rule: Rule | None) -> Reason | None:
    if rule is None:
        return make_reason(ReasonCode.NO_RULE, None, _tell_no_rule, ())
    return None if rule.deny is None else make_reason(ReasonCode.DENIED, label, _tell_denied, (rule.deny,))


def _tell_no_rule() -> Words:
    return Words("no rule of the policy covers this project; ask for one", "a rule that covers the project")


def _tell_denied(why: str) -> Words:
    return Words(f"denied by the policy: {why}", None, why)


def _find_rule(policy: Policy, name: NormalizedName) -> tuple[str, Rule] | None:
    return next(((label, rule) for covers, label, rule in _compile_rule_names(policy) if covers(name)), None)


@lru_cache(maxsize=8)
def _compile_rule_names(policy: Policy) -> tuple[tuple[StringPredicate, str, Rule], ...]:
    return tuple(
        (compile_name_patterns(rule.projects), rule.name or f"rules[{number}]", rule)
        for number, rule in enumerate(policy.rules)
    )
