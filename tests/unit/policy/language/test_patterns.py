"""Patterns of project names and globs of claims."""

from __future__ import annotations

import pytest

from assay.policy.language.patterns import compile_glob, compile_name_patterns, normalize_name_pattern


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


@pytest.mark.parametrize(
    ("pattern", "claim", "expected"),
    [
        ("octo/widget", "octo/widget", True),
        ("octo/widget", "octo/widgets", False),
        ("octo/*", "octo/widget", True),
        ("octo/*", "octo/", True),
        ("octo/*", "octo/group/widget", False),
        ("octo/**", "octo/group/widget", True),
        ("octo/**", "octo", False),
        ("**/widget", "a/b/widget", True),
        ("*", "a/b", False),
        ("**", "a/b", True),
        ("refs/tags/v?", "refs/tags/v1", True),
        ("refs/tags/v?", "refs/tags/v/", False),
        ("a.b", "axb", False),
        ("a[b]", "a[b]", True),
        ("a[b]", "ab", False),
        ("octo/*", "octo/wid\nget", True),
        ("octo/widget", "octo/widget\n", False),
    ],
)
def test_a_glob_knows_paths(pattern: str, claim: str, expected: bool) -> None:
    assert compile_glob(pattern)(claim) is expected


def test_a_glob_compares_case_unless_told_otherwise() -> None:
    assert not compile_glob("Octo/*")("octo/widget")
    assert compile_glob("Octo/*", ignore_case=True)("ocTo/widget")
    assert compile_glob("Octo/Widget", ignore_case=True)("octo/WIDGET")
    assert not compile_glob("Octo/Widget")("octo/widget")
