"""Version specifiers as predicates."""

from __future__ import annotations

from itertools import permutations

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from assay.policy.language.values import compile_specifiers


@pytest.mark.parametrize("versions", list(permutations(("1.0", "1.0.0", "1.0.0.0"))), ids=" ".join)
def test_an_arbitrary_equality_covers_one_spelling_whatever_was_asked_before(versions: tuple[str, ...]) -> None:
    covers = compile_specifiers(SpecifierSet("===1.0.0"))
    found = {text: covers(Version(text)) for text in versions}
    assert found == {"1.0": False, "1.0.0": True, "1.0.0.0": False}


@pytest.mark.parametrize("text", ["==1.0", "==1.0.*", "~=1.0.0", ">=1,<2", "!=2"])
def test_every_other_specifier_covers_all_spellings(text: str) -> None:
    covers = compile_specifiers(SpecifierSet(text))
    assert all(covers(Version(each)) for each in ("1.0", "1.0.0", "1.0.0.0"))


def test_what_is_remembered_of_versions_is_the_same_for_all_projects() -> None:
    assert compile_specifiers(SpecifierSet("<2,>=1")) is compile_specifiers(SpecifierSet(">=1,<2"))


def test_arbitrary_equalities_with_two_spellings_are_told_apart() -> None:
    for text, expected in (("===1.0", (True, False)), ("===1.0.0", (False, True))):
        covers = compile_specifiers(SpecifierSet(text))
        assert (covers(Version("1.0")), covers(Version("1.0.0"))) == expected
