"""Hidden versions: a withheld newest version, and a version of which only an sdist is left."""

from __future__ import annotations

from dataclasses import replace

import pytest
from packaging.utils import NormalizedName

from assay.gate.hidden_versions import find_hidden_versions
from tests.unit.policy.page_text import read_page


def find(text: str) -> dict[str, str]:
    return {each.hiding.value: str(each.version) for each in find_hidden_versions(read_page(text))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("1.0a", {}),
        ("1.0a 2.0w", {"newest": "2.0"}),
        ("2.0w 1.0a", {"newest": "2.0"}),
        ("1.0w 2.0a", {}),
        ("1.0w", {"newest": "1.0"}),
        # The newest version is the one that an installer would choose on the index
        ("1.0a 2.0rc1w", {}),
        ("1.0rc1w", {"newest": "1.0rc1"}),
        ("1.0w 2.0rc1a", {"newest": "1.0"}),
        ("1.0a 2.0wy", {}),
        ("1.0a 2.0we", {}),
        # A version with an approved or undecided file is not withheld
        ("1.0a 2.0w 2.0us", {"sdist-only": "2.0"}),
        ("1.0a 2.0u", {}),
        # Only an sdist is left
        ("1.0a 1.0ws", {}),
        ("1.0as", {}),
        ("1.0w 1.0as", {"sdist-only": "1.0"}),
        ("1.0w 1.0as 1.1w 1.1as 1.2a", {"sdist-only": "1.1"}),
        ("1.0w 1.0as 1.1w", {"newest": "1.1", "sdist-only": "1.0"}),
        ("1.0wy 1.0as", {}),
    ],
)
def test_a_withheld_newest_version_and_a_version_without_its_wheels_are_found(
    text: str, expected: dict[str, str]
) -> None:
    assert find(text) == expected


def test_wheels_of_one_version_do_not_count_for_another_spelling_of_it() -> None:
    assert find("1.0w 1.0.0as 1a") == {}
    assert find("1.0w 1.0.0as") == {"sdist-only": "1.0"}


def test_the_verdict_is_that_of_the_first_withheld_file() -> None:
    verdicts = read_page("2.0ws 2.0w 1.0a")
    (hidden,) = find_hidden_versions(verdicts)
    assert hidden.withheld is verdicts[0]
    (halved,) = find_hidden_versions(read_page("2.0as 2.0w"))
    assert halved.withheld.file.filename.endswith(".whl")


def test_a_file_of_another_project_is_no_version_of_this_one() -> None:
    first, second = read_page("1.0a 2.0w")
    assert find_hidden_versions([first, second])
    foreign = replace(second, file=replace(second.file, owner=NormalizedName("other")))
    assert find_hidden_versions([first, foreign]) == ()
