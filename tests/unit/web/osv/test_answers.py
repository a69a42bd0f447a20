"""Answers of the OSV API: shapes, pages, and the records that count."""

from __future__ import annotations

import json
from typing import Any

import pytest
from packaging.utils import NormalizedName

from assay.web.osv.answers import PARSE_COST, AnswerLimits, CountingRecords, answer_batch, answer_query
from assay.web.osv.queries import PackageQuery, parse_query
from tests.unit.policy.factories import NOW, a_policy
from tests.world.advisories.records import make_affected, make_record
from tests.world.advisories.snapshots import make_snapshot

RECORDS = [make_record(f"GHSA-{number}", make_affected("foo", versions=["1.0"])) for number in range(5)]
IGNORING = a_policy(more='[[ignored-advisories]]\nid = "GHSA-3"\nreason = "x"\nexpires = 2027-01-01')


def records(*, policy: Any = None, own: bool = True) -> CountingRecords:
    return CountingRecords(
        snapshot=make_snapshot(*RECORDS), policy=policy or a_policy(), now=NOW, applies_to=lambda _: own
    )


def asked(token: str = "", name: str = "foo") -> PackageQuery:
    package = {"name": name, "ecosystem": "PyPI"}
    return parse_query(json.dumps({"package": package, "version": "1.0", "page_token": token}).encode())


def read_pages(answer: Any) -> list[list[str]]:
    """Return the ids on each page."""
    pages, token = [], ""
    while token is not None:
        page = json.loads(answer(asked(token)))
        pages.append([each["id"] for each in page["vulns"]])
        token = page.get("next_page_token")
    return pages


def test_an_answer_has_the_records_as_the_feed_sent_them() -> None:
    assert json.loads(answer_query(asked(), records())) == {"vulns": RECORDS}
    assert answer_query(asked(name="bar"), records()) == b"{}"
    assert answer_query(PackageQuery(project=None, version=None, after=None), records()) == b"{}"


@pytest.mark.parametrize(
    "limits", [AnswerLimits(page_records=2), AnswerLimits(page_bytes=2 * len(json.dumps(RECORDS[0])) - 5)]
)
def test_further_records_are_on_further_pages(limits: AnswerLimits) -> None:
    pages = read_pages(lambda query: answer_query(query, records(), limits))
    assert pages == [["GHSA-0", "GHSA-1"], ["GHSA-2", "GHSA-3"], ["GHSA-4"]]


def test_a_batch_has_ids_and_times_in_the_order_of_its_queries() -> None:
    found = json.loads(answer_batch((asked(name="bar"), asked()), records()))
    assert found["results"][0] == {}
    assert found["results"][1]["vulns"][0] == {"id": "GHSA-0", "modified": "2026-11-20T10:00:00Z"}
    assert [len(each.get("vulns", [])) for each in found["results"]] == [0, 5]


def test_a_batch_that_reaches_its_limit_gives_a_token_for_each_query_that_is_not_complete() -> None:
    limits = AnswerLimits(batch_records=7)
    results = json.loads(answer_batch((asked(), asked(), asked()), records(), limits))["results"]
    assert [len(each.get("vulns", [])) for each in results] == [5, 2, 0]
    tokens = [each.get("next_page_token") for each in results]
    assert tokens[0] is None
    rest = json.loads(answer_batch((asked(tokens[1]), asked(tokens[2])), records()))["results"]
    assert [[each["id"] for each in result["vulns"]] for result in rest] == [
        ["GHSA-2", "GHSA-3", "GHSA-4"],
        [f"GHSA-{number}" for number in range(5)],
    ]


def test_ignored_records_and_projects_of_other_indexes_are_left_out() -> None:
    found = json.loads(answer_query(asked(), records(policy=IGNORING)))
    assert [each["id"] for each in found["vulns"]] == ["GHSA-0", "GHSA-1", "GHSA-2", "GHSA-4"]
    assert answer_query(asked(), records(own=False)) == b"{}"
    assert NormalizedName("foo") == asked().project


@pytest.mark.parametrize(("cost", "complete"), [(1, 1), (5 * PARSE_COST, 1), (5 * PARSE_COST + 1, 2), (10**6, 4)])
def test_a_batch_that_costs_too_much_is_continued_by_tokens(cost: int, complete: int) -> None:
    queries = tuple(asked() for _ in range(4))
    first = json.loads(answer_batch(queries, records(), AnswerLimits(batch_cost=cost)))["results"]
    assert [len(each.get("vulns", [])) for each in first] == [5] * complete + [0] * (4 - complete)
    assert ["next_page_token" in each for each in first] == [False] * complete + [True] * (4 - complete)
    rest = json.loads(answer_batch(tuple(asked(each["next_page_token"]) for each in first[complete:]), records()))
    assert [len(each["vulns"]) for each in rest["results"]] == [5] * (4 - complete)
