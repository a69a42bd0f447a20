"""Tombstones: withheld versions that a page lists for installers, for each value of `withheld`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from packaging.version import Version

from assay.policy.language.model import Showing
from assay.policy.reasons import summarize_withheld
from assay.policy.tombstones import Presentation, make_tombstones, present_versions
from assay.policy.verdict import Undecided, Withheld
from assay.simple.model import File, Kind
from tests.unit.policy.factories import PERMISSIVE, UNATTESTED, a_file, a_policy, ago, digest, page, seen
from tests.unit.policy.page_text import read_page

YOUNG = a_policy('min-age = "3 days"')
STOP, EXPLAIN, HIDE = Showing.STOP, Showing.EXPLAIN, Showing.HIDE


def present(showing: Showing, text: str) -> dict[str, str]:
    return {str(version): each.value for version, each in present_versions(showing, read_page(text)).items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The table in docs/policy-semantics.md
        ("1.8a 1.9w 2.0a", {"1.9": "yanked"}),
        ("1.8a 1.9w 2.0rc1a", {"1.9": "yanked"}),
        ("1.7w 1.8a 1.9w 2.0a", {"1.7": "available", "1.9": "yanked"}),
        ("1.8w 1.9w", {"1.8": "available", "1.9": "available"}),
        # Only a final release that is not yanked and has an approved file counts as approved
        ("1.8rc1a 1.9w", {"1.9": "available"}),
        ("1.8.dev1a 1.9w", {"1.9": "available"}),
        ("1.8.post1a 1.9w", {"1.9": "yanked"}),
        ("1.8ay 1.9w", {"1.9": "available"}),
        ("1.8ay 1.8as 1.9w", {"1.9": "yanked"}),
        ("1.8u 1.9w", {"1.9": "available"}),
        ("1.8ae 1.9w", {"1.9": "available"}),
        ("1.8as 1.9w", {"1.9": "yanked"}),
        # Pre-releases are compared like other versions
        ("1.8a 1.9rc1w", {"1.9rc1": "yanked"}),
        ("1.8rc1w 1.8a", {"1.8rc1": "available"}),
        # A version with an approved or undecided file has no tombstone
        ("1.8a 1.8ws 1.7w 1.7us", {"1.8": "omitted", "1.7": "omitted"}),
    ],
)
def test_stop_yanks_what_is_above_an_approved_version_and_leaves_the_rest_available(
    text: str, expected: dict[str, str]
) -> None:
    assert present(STOP, text) == expected


def test_explain_yanks_and_hide_omits() -> None:
    text = "1.7w 1.8a 1.8ws 1.9w"
    assert present(EXPLAIN, text) == {"1.7": "yanked", "1.8": "omitted", "1.9": "yanked"}
    assert present(HIDE, text) == {"1.7": "omitted", "1.8": "omitted", "1.9": "omitted"}


def test_equal_versions_in_another_spelling_are_one_version() -> None:
    verdicts = read_page("1.0a 1.0.0ws 2.0w")
    assert present_versions(STOP, verdicts)[Version("1")] is Presentation.OMITTED
    assert [each.file.filename for each in make_tombstones(STOP, verdicts)] == ["widget-2.0-py3-none-any.whl"]


def yanks(showing: Showing, text: str) -> dict[str, str | None]:
    return {each.file.filename.split("-")[1]: each.yanked for each in make_tombstones(showing, read_page(text))}


REASON = "withheld, denied: denied by the policy: no (rule: all)"


def test_the_yank_text_is_the_reason_where_the_version_is_yanked() -> None:
    assert yanks(STOP, "1.7w 1.8a 1.9w 2.0wy") == {"1.7": None, "1.9": REASON, "2.0": REASON}
    assert yanks(EXPLAIN, "1.7w 1.8a 1.9w") == {"1.7": REASON, "1.9": REASON}
    assert yanks(HIDE, "1.7w 1.8a 1.9w") == {}


def test_what_the_index_yanked_stays_yanked() -> None:
    assert yanks(STOP, "1.6w 1.7wy 1.8a") == {"1.6": None, "1.7": "the index's reason"}


def stones(*files: File, showing: Showing = EXPLAIN, **more: Any) -> dict[str, str | None]:
    return {each.file.filename: each.yanked for each in make_tombstones(showing, page(YOUNG, *files, **more))}


def test_a_version_with_nothing_approved_is_listed_with_its_reason() -> None:
    young = [a_file("2.0", uploaded=ago(1)), a_file("2.0", kind=Kind.SDIST, uploaded=ago(1))]
    found = stones(a_file(uploaded=ago(10)), *young)
    assert set(found) == {each.filename for each in young}
    assert all("allowed from 2026-11-23 12:00 UTC" in (text or "") for text in found.values())


@pytest.mark.parametrize("showing", list(Showing))
def test_a_version_with_an_approved_file_has_no_tombstone(showing: Showing) -> None:
    assert stones(a_file(uploaded=ago(10)), a_file(kind=Kind.SDIST, uploaded=ago(1)), showing=showing) == {}


@pytest.mark.parametrize("showing", list(Showing))
def test_an_entry_that_fails_a_check_of_the_entry_has_none(showing: Showing) -> None:
    foreign = a_file("2.0", url="https://evil.example/widget-2.0-py3-none-any.whl")
    nameless = a_file("3.0", distribution=None)
    twice = [a_file("4.0"), a_file("4.0", sha256=digest("x"))]
    malformed = a_file("6.0", problem="has a size that is no number")
    assert stones(foreign, nameless, *twice, a_file("5.0", sha256=None), malformed, showing=showing) == {}


def test_an_entry_that_only_contradicts_earlier_facts_has_one() -> None:
    future, changed = a_file("6.0", uploaded=ago(-1)), a_file("7.0", sha256=digest("other bytes"), uploaded=ago(20))
    history = seen(replace(changed, sha256=digest("first bytes")), at=ago(10))
    assert stones(future, changed, history=history, showing=STOP) == {future.filename: None, changed.filename: None}


def test_what_is_undecided_has_none() -> None:
    verdicts = page(PERMISSIVE, a_file(), default=None)
    assert isinstance(verdicts[0], Undecided)
    assert make_tombstones(EXPLAIN, verdicts) == ()


def test_the_yank_text_is_the_sentence() -> None:
    (verdict,) = page(YOUNG, a_file(uploaded=ago(1)), default=UNATTESTED)
    assert isinstance(verdict, Withheld)
    assert make_tombstones(EXPLAIN, [verdict])[0].yanked == summarize_withheld(verdict)
