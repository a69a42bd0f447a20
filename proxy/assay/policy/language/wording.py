"""Wording of a rule for people, which the policy page and `assay check` share. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from assay.policy.language.model import Policy, Requirements, Rule, get_rule_terms, merge_requirements
from assay.policy.requirements.base import Phrase, Requirement
from assay.policy.requirements.registry import REQUIREMENTS

_SHOWN_EARLY: Final = (
    "attestations",
    "publishers",
    "predicates",
    "builder",
    "min-age",
    "uploaded-before",
    "late-files",
    "indexes",
    "trust",
    "types",
    "project-status",
)
"""Requirements that are listed first, in this order. The names are those of the key `lifts` of a waiver."""
_SHOWN_LATE: Final = ("ratchet",)
"""Requirements that are listed last. The names are those of the key `lifts` of a waiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleWording:
    """Text of one rule: "A file of" `projects` `consequence` `phrases`."""

    title: str
    projects: tuple[str, ...]
    consequence: str
    """End of the sentence: ``is approved if it:``, or that the file is denied."""
    phrases: tuple[Phrase, ...]
    """Requirements; empty if the rule denies its projects."""
    mode_note: str
    """Sentence about the rule's own mode; empty if the rule has none."""

    def iter_lines(self) -> Iterator[str]:
        """Yield the lines of the text for a terminal."""
        yield self.title
        yield f"   A file of {', '.join(self.projects)} {self.consequence}"
        for phrase in self.phrases:
            yield f"   - {phrase.text}"
            for item in phrase.items:
                yield f"     - {item}"
        if self.mode_note:
            yield f"   {self.mode_note}"


def describe_rule(number: int, rule: Rule, policy: Policy) -> RuleWording:
    """Return the text of the rule with the given number, counted from 0."""
    is_denied = rule.deny is not None
    return RuleWording(
        title=f"{number + 1}. {rule.name or 'unnamed rule'}",
        projects=rule.projects,
        consequence=f"is denied: {rule.deny}" if is_denied else "is approved if it:",
        phrases=() if is_denied else tuple(_iter_phrases(rule, policy.defaults)),
        mode_note="" if rule.mode is None else f"This rule is in {rule.mode} mode.",
    )


def _iter_phrases(rule: Rule, defaults: Requirements) -> Iterator[Phrase]:
    """Yield a phrase for each requirement of `rule`, including requirements inherited from `defaults`.

    A phrase such as "is at least 3 days old" completes the sentence "A file is approved if it …".
    """
    merged = merge_requirements(rule, defaults)
    terms = get_rule_terms(merged, rule.name)
    for requirement in sorted(REQUIREMENTS, key=_find_place):
        yield from requirement.describe(merged, terms)
    if rule.pins:
        effect = "; no other file is approved" if rule.pinned_only else ", regardless of the other requirements"
        pinned = "the file" if len(rule.pins) == 1 else f"one of {len(rule.pins)} files"
        yield Phrase(f"or is {pinned} pinned by digest{effect}")


def _find_place(requirement: Requirement[Any]) -> int:
    """Return the sort key of a requirement. Requirements with equal keys keep the order of the policy language."""
    if requirement.lift in _SHOWN_EARLY:
        return _SHOWN_EARLY.index(requirement.lift)
    return len(_SHOWN_EARLY) + (requirement.lift in _SHOWN_LATE)
