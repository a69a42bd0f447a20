"""Tests of the judged page: it is valid while its inputs are unchanged, and its caches of renderings are bounded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from assay.gate.judged_page import Dependencies, JudgedPage, PreparedPage, RenderedPage, index_by_location
from assay.indexes import IndexSettings
from assay.ports import IndexPage, Validators
from assay.render import PageListing
from assay.simple.negotiate import PageFormat
from tests.unit.policy.factories import HOST, NOW, PERMISSIVE, a_file, a_policy, a_project, page

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


async def test_a_page_is_rendered_for_one_invented_origin_and_not_for_further_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page, rendered = judged(), list[str | None]()
    render = JudgedPage._render_uncached

    def counting(self: JudgedPage, page_format: PageFormat, origin: str | None, coding: str) -> RenderedPage:
        rendered.append(origin)
        return render(self, page_format, origin, coding)

    monkeypatch.setattr(JudgedPage, "_render_uncached", counting)
    kept = {
        (page_format, origin, coding): await page.render(page_format, origin, coding)
        for page_format in PageFormat
        for origin in ("https://a.example", None)
        for coding in ("zstd", "gzip", "identity")
    }
    assert len(rendered) == 12, "both HTML formats have the same bytes"
    for number in range(100):
        for coding in ("zstd", "gzip", "identity"):
            for page_format in PageFormat:
                await page.render(page_format, f"https://{number}.example", coding, is_expected=False)
    assert rendered[12:] == ["https://0.example"] * 6
    for key, before in kept.items():
        assert await page.render(*key) is before


async def test_a_client_that_invents_words_evicts_only_the_oldest_response() -> None:
    page = judged()
    first = await page.render(PageFormat.JSON, "https://a.example", "identity")
    for number in range(40):
        words = (None, str(number))
        page.prepared.put(words, PreparedPage(rendered=first, headers={}, not_modified_headers={}))
    assert list(page.prepared.snapshot()) == [(None, str(number)) for number in range(8, 40)]


def test_a_faulty_entry_does_not_hide_the_listed_file_at_the_same_location() -> None:
    faulty = a_file(url=f"https://user:pw@{HOST}/packages/widget-1.0-py3-none-any.whl")
    for policy in (PERMISSIVE, a_policy('deny = "no"')):
        for files in [(faulty, a_file()), (a_file(), faulty)]:
            verdicts = page(policy, *files)
            (found,) = index_by_location(verdicts).values()
            assert found.file == a_file()
    (found,) = index_by_location(page(PERMISSIVE, faulty, faulty)).values()
    assert found.file == faulty
