"""Patterns of project names."""

from __future__ import annotations

import pytest

from assay.policy.language.patterns import compile_name_patterns, normalize_name_pattern


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
        ("acme-[ab]", "acme-a", True),
        ("acme-[!ab]", "acme-a", False),
        ("*", "anything", True),
        ("a.c", "abc", False),
    ],
)
def test_a_project_pattern_is_matched_after_normalisation(pattern: str, name: str, expected: bool) -> None:
    assert compile_name_patterns([normalize_name_pattern(pattern)])(name) is expected


@pytest.mark.parametrize("pattern", ["", "a b", "acme/*", "ac\nme", "äcme"])
def test_what_no_project_can_be_called_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="a project's name or a pattern"):
        normalize_name_pattern(pattern)
