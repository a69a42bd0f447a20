"""Contract of every record of refusals. A test class of an engine inherits `RefusalsContract` and gives `refusals`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from packaging.utils import NormalizedName

from assay.ports import RefusalFilter, Refusals, RefusedRequest

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make_refusal(**changes: Any) -> RefusedRequest:
    refused = RefusedRequest(
        time=BEGIN,
        view="default",
        route="file",
        project=NormalizedName("widget"),
        filename="widget-1.0.tar.gz",
        sha256="ab" * 32,
        rule="everything",
        codes=("unattested", "too-young"),
        message="the file has no attestation",
        user="alice",
    )
    return replace(refused, **changes)


async def find(refusals: Refusals, limit: int = 100, before: int | None = None, **wanted: Any) -> list[RefusedRequest]:
    chosen = RefusalFilter(**{"views": ["default", "strict"], **wanted})
    return [replace(each, number=0) for each in await refusals.find(chosen, limit=limit, before=before)]


class RefusalsContract:
    @pytest.fixture
    def refusals(self) -> Refusals:
        raise NotImplementedError

    async def test_an_empty_record_has_nothing(self, refusals: Refusals) -> None:
        assert await find(refusals) == []
        assert await refusals.count_by_day("default", BEGIN.date()) == ()

    async def test_refusals_come_back_the_latest_first(self, refusals: Refusals) -> None:
        made = [make_refusal(filename=f"widget-{number}.tar.gz") for number in range(3)]
        for each in made:
            refusals.note(each)
        assert await find(refusals) == made[::-1]

    @pytest.mark.parametrize(
        "changes",
        [
            {"filename": "<script>alert(1)</script>"},
            {"message": "\u202eright to left", "rule": "' OR 1=1 --"},
            {"rule": None, "project": None, "sha256": None, "user": None},
        ],
    )
    async def test_any_text_comes_back_as_it_was(self, refusals: Refusals, changes: dict[str, Any]) -> None:
        refusals.note(make_refusal(**changes))
        assert await find(refusals) == [make_refusal(**changes)]

    async def test_text_that_is_not_unicode_is_escaped_and_long_text_shortened(self, refusals: Refusals) -> None:
        refusals.note(make_refusal(filename="a\udc80\0b", message="x" * 100_000))
        (found,) = await find(refusals)
        assert found.filename == "a\\udc80\\x00b"
        assert len(found.message) <= 1000

    @pytest.mark.parametrize(
        ("wanted", "change"),
        [
            ({"views": ["strict"]}, {"view": "strict"}),
            ({"project": "gadget"}, {"project": NormalizedName("gadget")}),
            ({"rule": "other"}, {"rule": "other"}),
            ({"code": "forged"}, {"codes": ("denied", "forged")}),
            ({"user": "bob"}, {"user": "bob"}),
        ],
    )
    async def test_a_filter_selects(self, refusals: Refusals, wanted: dict[str, Any], change: dict[str, Any]) -> None:
        refusals.note(make_refusal())
        refusals.note(make_refusal(**change))
        assert await find(refusals, **wanted) == [make_refusal(**change)]
        assert len(await find(refusals)) == 2

    async def test_a_code_matches_as_a_whole(self, refusals: Refusals) -> None:
        refusals.note(make_refusal(codes=("publisher-changed",)))
        assert await find(refusals, code="publisher") == []
        assert len(await find(refusals, code="publisher-changed")) == 1

    async def test_a_filter_without_views_matches_nothing(self, refusals: Refusals) -> None:
        refusals.note(make_refusal())
        assert await find(refusals, views=[]) == []

    async def test_pages_follow_each_other_without_a_gap(self, refusals: Refusals) -> None:
        made = [make_refusal(filename=f"widget-{number}.tar.gz") for number in range(5)]
        for each in made:
            refusals.note(each)
        seen, before = list[str](), None
        while page := await refusals.find(RefusalFilter(views=["default"]), limit=2, before=before):
            seen += [each.filename for each in page]
            before = page[-1].number
        assert seen == [each.filename for each in reversed(made)]

    async def test_refusals_are_counted_by_day_rule_and_first_reason(self, refusals: Refusals) -> None:
        for _ in range(2):
            refusals.note(make_refusal())
        await refusals.flush()
        refusals.note(make_refusal())
        refusals.note(make_refusal(rule=None, codes=("no-rule",)))
        refusals.note(make_refusal(time=BEGIN + timedelta(days=1)))
        refusals.note(make_refusal(view="strict"))
        assert await refusals.count_by_day("default", date(2026, 3, 1)) == (
            (date(2026, 3, 1), "", "no-rule", 1),
            (date(2026, 3, 1), "everything", "unattested", 3),
            (date(2026, 3, 2), "everything", "unattested", 1),
        )
        assert len(await refusals.count_by_day("default", date(2026, 3, 2))) == 1
