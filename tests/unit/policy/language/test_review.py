"""Review of a valid policy: each rule that cannot work is found, and its counterpart that can work is accepted."""

from __future__ import annotations

import json

import pytest

from assay.policy.language.document import BUILT_IN_POLICY, load_policy
from assay.policy.language.review import review_policy

ALL = '[[rules]]\nname = "all"\nprojects = ["*"]\n'


def review(rules: str) -> list[tuple[bool, str]]:
    problems = review_policy(load_policy(f"version = 1\n{rules}", "policy.toml"))
    return [(problem.is_error, problem.text) for problem in problems]


def rule(*projects: str, name: str | None = None) -> str:
    stated = "" if name is None else f'name = "{name}"\n'
    return f"[[rules]]\nprojects = {json.dumps(projects)}\n{stated}"


@pytest.mark.parametrize(
    ("shadowed", "working"),
    [
        (ALL + rule("acme"), rule("acme") + ALL),
        (rule("acme-*") + rule("acme-web") + ALL, rule("acme-web") + rule("acme-*") + ALL),
        (rule("a", "b") + rule("b", "a") + ALL, rule("a", "b") + rule("b", "c") + ALL),
        (rule("a*") + rule("b") + rule("ab", "b") + ALL, rule("a*") + rule("ab", "c") + ALL),
        (rule("Acme_Web") + rule("acme.web") + ALL, rule("acme-web") + rule("acme-web-2") + ALL),
    ],
)
def test_a_rule_that_earlier_rules_shadow_is_an_error(shadowed: str, working: str) -> None:
    ((is_error, text),) = review(shadowed)
    assert is_error
    assert "never applies, because the earlier rules[" in text
    assert not any(is_error for is_error, _ in review(working))


def test_a_partly_shadowed_rule_is_a_warning() -> None:
    assert review(rule("a-*", name="early") + rule("a-b", "c") + ALL) == [
        (False, "rules[1] never applies to a-b, because the earlier rules[0] (early) covers them")
    ]


def test_a_policy_without_a_rule_for_all_projects_is_a_warning() -> None:
    ((is_error, text),) = review(rule("acme"))
    assert (is_error, text.startswith('no rule has projects = ["*"]')) == (False, True)
    assert review("") != []
    assert review(rule("acme") + rule("**")) == []
    assert [*review_policy(BUILT_IN_POLICY)] == []


def test_two_rules_of_one_name_are_an_error() -> None:
    twice = rule("a", name="one") + rule("b", name="one") + ALL
    assert review(twice) == [
        (True, "rules[0] and rules[1] have the name 'one', so a reason does not tell which of them applied")
    ]
    assert review(twice.replace("one", "two", 1)) == []
    assert review(rule("a") + rule("b") + ALL) == [], "rules without a name have no equal names"
