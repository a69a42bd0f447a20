"""Tests of globs for claims."""

from __future__ import annotations

import pytest

from assay.publishers.globs import compile_glob


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


@pytest.mark.parametrize(("pattern", "claim"), [("kit", "\u212ait"), ("k*", "\u212ait"), ("i", "\u0130"), ("ss", "ß")])
def test_only_letters_of_ascii_have_another_case(pattern: str, claim: str) -> None:
    """The Kelvin sign is no k, though `str.lower` makes it one."""
    assert not compile_glob(pattern, ignore_case=True)(claim)
    assert not compile_glob(claim, ignore_case=True)(pattern)
    assert compile_glob(pattern, ignore_case=True)(pattern.upper())
    assert compile_glob(claim, ignore_case=True)(claim)
