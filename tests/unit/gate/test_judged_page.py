"""A judged page holds while everything that it depends on is the same, and keeps what was made of it within bounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from assay.gate.judged_page import Dependencies, JudgedPage, PreparedPage
from assay.indexes import IndexSettings
from assay.ports import IndexPage, Validators
from assay.render import PageListing
from assay.simple.negotiate import PageFormat
from tests.unit.policy.factories import NOW, a_file, a_project

DEPENDENCIES: Dependencies = {"policy": "p", "roots": "r", "wheels": 1, "ledger": 3}


def judged(**changes: Any) -> JudgedPage:
    project = a_project(a_file("1.0"), name="foo")
    index = IndexSettings(name="test", url="https://index.example/")
    page = IndexPage(index=index, project=project, content_digest="1", confirmed_at=NOW, validators=Validators())
    made = JudgedPage(
        page=page,
        dependencies=DEPENDENCIES,
        has_failed_evidence=False,
        listing=PageListing(project=project, approved=()),
        by_location={},
        valid_until=None,
    )
    return replace(made, **changes)


def test_it_holds_while_everything_is_the_same() -> None:
    assert judged().is_valid(dict(DEPENDENCIES), NOW)
    assert judged().policy_digest == "p"


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_it_does_not_hold_when_anything_has_changed_or_is_not_known(name: str) -> None:
    assert not judged().is_valid({**DEPENDENCIES, name: "another"}, NOW)
    less = {key: value for key, value in DEPENDENCIES.items() if key != name}
    assert not judged().is_valid(less, NOW)
    assert not judged(dependencies=less).is_valid(DEPENDENCIES, NOW)


def test_it_holds_until_the_clock_alone_changes_a_verdict() -> None:
    page = judged(valid_until=NOW + timedelta(seconds=1))
    assert page.is_valid(DEPENDENCIES, NOW)
    assert not page.is_valid(DEPENDENCIES, NOW + timedelta(seconds=1))


async def test_a_client_that_invents_origins_and_words_evicts_only_the_oldest() -> None:
    page = judged()
    first = await page.render(PageFormat.JSON, "https://a.example", "identity")
    for number in range(7):
        await page.render(PageFormat.JSON, f"https://{number}.example", "identity")
    assert await page.render(PageFormat.JSON, "https://a.example", "identity") is first
    await page.render(PageFormat.JSON, "https://8.example", "identity")
    assert await page.render(PageFormat.JSON, "https://a.example", "identity") is first, "it was asked for in between"
    for number in range(40):
        words = (None, str(number))
        page.prepared.put(words, PreparedPage(rendered=first, headers={}, not_modified_headers={}))
    assert list(page.prepared.snapshot()) == [(None, str(number)) for number in range(8, 40)]
