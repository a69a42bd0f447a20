"""Review of a valid policy: rules that cannot work as written. Pure.

An error means that a rule never has the effect that its text states. A warning names a gap that may be intended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from assay.policy.language.model import Policy, Rule
from assay.policy.language.patterns import covers_pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Problem of a valid configuration or policy, as one sentence."""

    text: str
    is_error: bool = False
    """True if the configuration or policy cannot work as written. False for a warning."""

    def within(self, label: str) -> Problem:
        """Return the problem with a label before its text."""
        return Problem(text=f"{label}: {self.text}", is_error=self.is_error)


def review_policy(policy: Policy) -> Iterator[Problem]:
    """Yield the problems of a policy: shadowed rules, repeated names, and a missing rule for all projects."""
    for number, rule in enumerate(policy.rules):
        yield from _find_shadowed(number, rule, policy.rules[:number])
    named = sorted((rule.name, number) for number, rule in enumerate(policy.rules) if rule.name is not None)
    for name, group in groupby(named, key=lambda pair: pair[0]):
        places = [f"rules[{number}]" for _, number in group]
        if len(places) > 1:
            text = f"{' and '.join(places)} have the name {name!r}, so a reason does not tell which of them applied"
            yield Problem(text=text, is_error=True)
    if not any(covers_pattern(pattern, "*") for rule in policy.rules for pattern in rule.projects):
        yield Problem(text='no rule has projects = ["*"]: each project that no rule covers is withheld')


def _find_shadowed(number: int, rule: Rule, earlier: Sequence[Rule]) -> Iterator[Problem]:
    """Yield the problem of a rule whose patterns an earlier rule covers, all of them or some of them."""
    covering = {
        pattern: _label(position, other)
        for pattern in rule.projects
        for position, other in reversed(list(enumerate(earlier)))
        if any(covers_pattern(wider, pattern) for wider in other.projects)
    }
    if not covering:
        return
    by = " and ".join(sorted(set(covering.values())))
    if len(covering) == len(rule.projects):
        yield Problem(
            text=f"{_label(number, rule)} never applies, because the earlier {by} covers its projects", is_error=True
        )
    else:
        listed = ", ".join(covering)
        yield Problem(text=f"{_label(number, rule)} never applies to {listed}, because the earlier {by} covers them")


def _label(number: int, rule: Rule) -> str:
    return f"rules[{number}] ({rule.name})" if rule.name else f"rules[{number}]"
