"""Policy compiled for one project: the active checks of its rule, its waivers and its revocations. Pure.

Each requirement of the policy language has a check. The check is active if the rule uses the requirement. Only active
checks run when a file is judged. The compiled policy is cached by policy and project.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

from assay.evidence import Attestation
from assay.policy.candidate import PageContext
from assay.policy.language.model import Mode, Policy, Requirements, Rule, get_rule_terms, merge_requirements
from assay.policy.language.patterns import compile_name_patterns
from assay.policy.precedence.base import PrecedenceCheck
from assay.policy.precedence.checks import PRECEDENCE_CHECKS
from assay.policy.precedence.revocations import compile_revoked_test
from assay.policy.provenance import find_questions
from assay.policy.requirements.base import (
    AttestationCheck,
    Check,
    FileCheck,
    PageCheck,
    ReleaseCheck,
    TimeCheck,
    is_never_revoked,
)
from assay.policy.requirements.countersigned import Countersigner
from assay.policy.requirements.ratchet import DEFAULT_RATCHET_SETTLE, RatchetScope
from assay.policy.requirements.registry import REQUIREMENTS
from assay.policy.verdict import Reason, ReasonCode, Words, make_reason
from assay.policy.waivers import CompiledWaiver, compile_waivers
from assay.publishers.base import PublisherTable
from assay.publishers.globs import StringPredicate
from assay.simple.model import NormalizedName, Sha256


@dataclass(frozen=True, slots=True)
class ActiveChecks:
    """Active checks of a rule: one field for each base class of checks in `assay.policy.requirements.base`.

    If the rule does not use a requirement, the check of that requirement is not active.
    """

    page: tuple[PageCheck, ...]
    files: tuple[FileCheck, ...]
    attestations: tuple[AttestationCheck, ...]
    """Attestation checks, in the order in which they run."""
    time: tuple[TimeCheck, ...]
    releases: tuple[ReleaseCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompiledRule:
    """Compiled policy for the files of one project."""

    label: str | None
    """Name of the governing rule; None if no rule governs."""
    mode: Mode
    precedence_checks: tuple[PrecedenceCheck, ...]
    """Checks that overrule every approval, such as revocations (step 1 of the precedence)."""
    refusal: Reason | None
    """Reason to withhold all files, because the rule denies the project or no rule governs it (step 2). Else None."""
    pins: frozenset[Sha256]
    pinned_only: bool
    checks: ActiveChecks
    """Checks of the requirements (step 6)."""
    waivers: tuple[CompiledWaiver, ...]
    ratchet_settle: timedelta
    compares_lines: bool
    """True if the ratchet compares a file only with publishers of its release line and of earlier ones."""
    requires_wheel_metadata: bool
    publishers: tuple[PublisherTable, ...] | None
    """Publishers that the rule names; None if it permits any publisher."""
    sources: frozenset[str] | None
    """Names of the evidence sources that count; None: all."""
    countersigners: tuple[Countersigner, ...]
    """Third parties whose statements the rule requires."""

    def check_page(self, context: PageContext) -> tuple[Reason, ...]:
        """Return the reasons that withhold every file of the page."""
        reasons = (check.check_page(context) for check in self.checks.page)
        return tuple(reason for reason in reasons if reason is not None)

    def find_questions(self, context: PageContext) -> frozenset[str]:
        """Return the questions to evidence sources beside the index whose answers count for files of the page."""
        found = find_questions(self.publishers, self.sources, context.sources, context.project)
        return found | self.find_required_questions(context)

    def find_required_questions(self, context: PageContext) -> frozenset[str]:
        """Return the questions that must be answered before a file is approved: those about countersigners."""
        found = frozenset[str]()
        for each in self.countersigners:
            named = () if each.publisher is None else (each.publisher,)
            found |= find_questions(named, self.sources, context.sources, context.project)
        return found


@lru_cache(maxsize=4096)
def compile_rule(policy: Policy, name: NormalizedName) -> CompiledRule:
    """Return the compiled policy for the files of the project `name`."""
    label, rule = _find_rule(policy, name) or (None, None)
    merged = merge_requirements(rule, policy.defaults)
    revoked_keys = frozenset(key for each in policy.revocations for key in each.keys or ())
    checks = activate_checks(merged, label, revoked_keys, compile_revoked_test(policy, name))
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
        ratchet_settle=DEFAULT_RATCHET_SETTLE if merged.ratchet_settle is None else merged.ratchet_settle,
        compares_lines=merged.ratchet_scope is RatchetScope.LINE,
        requires_wheel_metadata=merged.metadata == "wheel",
        publishers=merged.publishers if isinstance(merged.publishers, tuple) else None,
        sources=None if merged.evidence is None else frozenset(merged.evidence),
        countersigners=merged.countersigned or (),
    )


def activate_checks(
    merged: Requirements,
    label: str | None,
    revoked_keys: frozenset[str] = frozenset(),
    is_revoked: Callable[[Attestation], bool] = is_never_revoked,
) -> ActiveChecks:
    """Return the active checks of a rule.

    Args:
        merged: requirements of the rule, completed by the defaults (see `merge_requirements`).
        label: name of the rule, for reasons; None if no rule governs.
        revoked_keys: names of the keys whose countersignatures no longer count.
        is_revoked: returns whether a revocation covers an attestation.

    Raises:
        TypeError: the class of a check has none of the base classes of checks, or several.
    """
    terms = get_rule_terms(merged, label, revoked_keys, is_revoked)
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
        raise TypeError("each check must have exactly one of the base classes of checks")
    return checks


def names_publishers(policy: Policy, name: NormalizedName) -> bool:
    """Return whether the rule that governs a project names publishers, instead of any or none."""
    label, rule = _find_rule(policy, name) or (None, None)
    return get_rule_terms(merge_requirements(rule, policy.defaults), label).names_publishers


def is_denied(policy: Policy, name: NormalizedName) -> bool:
    """Return True if no file of the project can be approved: its rule denies the project, or no rule governs it.

    The list of all projects calls this function. Compiling a rule for each of its many hundred thousand names would
    take too long.
    """
    governing = _find_rule(policy, name)
    return governing is None or governing[1].deny is not None


def _make_refusal(label: str | None, rule: Rule | None) -> Reason | None:
    if rule is None:
        return make_reason(ReasonCode.NO_RULE, None, _tell_no_rule, ())
    return None if rule.deny is None else make_reason(ReasonCode.DENIED, label, _tell_denied, (rule.deny,))


def _tell_no_rule() -> Words:
    return Words("no rule of the policy covers this project; ask for a rule", "a rule that covers the project")


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
