"""Advisories that are shown: malware first, then the newest; only those that cover a listed version."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from packaging.utils import NormalizedName

from assay.policy.language.model import Policy
from assay.policy.shown_advisories import MAX_SHOWN, ShownAdvisory, select_counting, select_shown
from tests.unit.policy.factories import NOW, a_file, a_policy, an_advisory

WIDGET = NormalizedName("widget")
FILES = [a_file(f"{number}.0") for number in range(1, 12)] + [a_file(distribution=None)]
OLD = an_advisory("PYSEC-1", versions=["1.0"])
NEW = replace(an_advisory("PYSEC-2", versions=["2.0", "0.9"]), modified=OLD.modified + timedelta(days=1))
MALWARE = an_advisory("MAL-1", introduced="10.0")
ELSEWHERE = an_advisory("PYSEC-3", versions=["0.1"])
ALL = [OLD, MALWARE, ELSEWHERE, NEW]


def shown(policy: Policy | None = None, advisories: object = ALL) -> tuple[ShownAdvisory, ...]:
    return select_shown(policy or a_policy(), WIDGET, FILES, advisories, NOW)  # type: ignore[arg-type]


def test_each_has_the_listed_versions_that_it_covers() -> None:
    found = [(each.id, each.versions) for each in shown()]
    assert found == [("MAL-1", ("10.0", "11.0")), ("PYSEC-2", ("2.0",)), ("PYSEC-1", ("1.0",))]


@pytest.mark.parametrize(
    ("top", "expected"),
    [('advisories = "off"', ["MAL-1"]), ('malware = "note"', ["MAL-1", "PYSEC-2", "PYSEC-1"])],
)
def test_the_policy_may_leave_out_all_but_malware(top: str, expected: list[str]) -> None:
    assert [each.id for each in shown(a_policy(top=top))] == expected


def test_an_ignored_one_is_shown_with_the_end_of_the_exception() -> None:
    more = '[[ignored-advisories]]\nid = "{}"\nreason = "x"\nexpires = {}\n'
    policy = a_policy(more=more.format("MAL-1", "2026-12-31") + more.format("PYSEC-1", "2026-11-01"))
    kinds = {each.id: each.kind for each in shown(policy)}
    assert kinds == {
        "MAL-1": "malware, ignored until 2027-01-01 00:00 UTC",
        "PYSEC-2": "vulnerability",
        "PYSEC-1": "vulnerability",
    }
    assert [each.to_json()["ignored"] for each in shown(policy)] == [True, False, False]


def test_those_that_count_are_neither_ignored_nor_switched_off() -> None:
    ignoring = '[[ignored-advisories]]\nid = "PYSEC-1"\nreason = "x"\nexpires = 2026-12-31\n'
    assert [each.id for each in select_counting(a_policy(more=ignoring), ALL, NOW)] == ["MAL-1", "PYSEC-3", "PYSEC-2"]
    assert [each.id for each in select_counting(a_policy(top='advisories = "off"'), ALL, NOW)] == ["MAL-1"]


def test_many_versions_are_named_by_the_first_and_the_last() -> None:
    (found,) = shown(advisories=[an_advisory("MAL-2")])
    assert found.named_versions == "1.0, 2.0, 3.0, … 9.0, 10.0, 11.0 (11 versions)"


def test_texts_of_the_feed_are_escaped_and_the_number_is_limited() -> None:
    many = [replace(an_advisory(f"MAL-{number}"), summary="a\x1b[2Jb") for number in range(MAX_SHOWN + 1)]
    found = shown(advisories=many)
    assert len(found) == MAX_SHOWN
    assert found[0].to_json()["summary"] == r"a\x1b[2Jb"
