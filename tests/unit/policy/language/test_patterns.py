"""Patterns for project names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.policy.language.patterns import compile_name_patterns, covers_pattern, normalize_name_pattern


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("acme", "acme", True),
        ("acme", "acme-core", False),
        ("acme-*", "acme-core", True),
        ("acme-*", "acme", False),
        ("Acme_*", "acme-core", True),
        ("ACME.Core", "acme-core", True),
        ("acme--__core", "acme-core", True),
        ("acme-?", "acme-1", True),
        ("acme-?", "acme-12", False),
        ("?cme", "acme", True),
        ("*-acme", "our-acme", True),
        ("*", "anything", True),
        ("a.c", "abc", False),
    ],
)
def test_a_project_pattern_is_matched_after_normalisation(pattern: str, name: str, expected: bool) -> None:
    assert compile_name_patterns([normalize_name_pattern(pattern)])(name) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "a b", "acme/*", "ac\nme", "äcme", "\u212aelvin", " acme", "acme "),
        *("!x", "[x", "x[a_c]", "acme-[ab]", "x]", "acme@1"),
        *("x_", "x.", "acme-", "-acme", "_acme", "_", "--"),
    ],
)
def test_what_no_project_can_be_called_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="a project name or a pattern"):
        normalize_name_pattern(pattern)


@pytest.mark.parametrize(
    ("wider", "pattern", "expected"),
    [
        ("*", "*", True),
        ("*", "a?b*", True),
        ("**", "*", True),
        ("a*", "a", True),
        ("a*", "a-*", True),
        ("a?", "ab", True),
        ("a?", "a?", True),
        ("a*c", "a-b-*c", True),
        ("a?", "a*", False),
        ("a-*", "a*", False),
        ("a", "a?", False),
        ("?", "*", False),
        ("a*c", "a*", False),
        ("?*", "*", False),
        ("acme", "acme-core", False),
        ("*a" * 100, "a" * 99, False),
        ("*a" * 100, "a" * 256, True),
    ],
)
def test_a_pattern_covers_another_one(wider: str, pattern: str, expected: bool) -> None:
    assert covers_pattern(wider, pattern) is expected


GLOBS = st.text("ab*?", min_size=1, max_size=6)


@given(GLOBS, GLOBS, st.text("abc", min_size=1, max_size=8))
def test_a_covering_pattern_matches_every_name_that_the_other_one_matches(wider: str, pattern: str, name: str) -> None:
    if covers_pattern(wider, pattern) and compile_name_patterns([pattern])(name):
        assert compile_name_patterns([wider])(name)
