"""Chart of refusals: lanes, bars, limits, hostile names."""

from __future__ import annotations

from datetime import date

from assay.web.ui.activity.chart import render_refusal_chart
from assay.web.ui.activity.overview import RuleTotals
from tests.world.clients.html_reader import HtmlReader, read_harmless_page

FIRST = date(2026, 6, 1)
SCRIPT = "</title><script>alert(1)</script>"


def make_rule(name: str, **by_day: int) -> RuleTotals:
    days = {FIRST.toordinal() + int(day.removeprefix("day")): count for day, count in by_day.items()}
    return RuleTotals(name, total=sum(days.values()), by_day=days)


def draw(*rules: RuleTotals) -> HtmlReader:
    return read_harmless_page(f"<html>{render_refusal_chart(rules, FIRST, 31)}</html>".encode())


def bars(page: HtmlReader) -> list[dict[str, str]]:
    return [attributes for tag, attributes in page.elements if tag == "rect"]


def test_without_refusals_there_is_no_chart() -> None:
    assert render_refusal_chart([], FIRST, 31) == ""


def test_each_rule_has_a_lane_and_each_day_a_bar_of_the_same_scale() -> None:
    page = draw(make_rule("a", day0=10, day30=5), make_rule("", day3=1))
    assert [each["height"] for each in bars(page)] == ["30", "15", "3"]
    assert "2026-06-01, a: 10" in page.text
    assert "no rule" in page.text
    assert "a: 15; no rule: 1" in page.text, "the description has the numbers"


def test_days_outside_the_chart_have_no_bar() -> None:
    assert len(bars(draw(make_rule("a", day31=1, day5=1)))) == 1


def test_many_rules_share_the_last_lane() -> None:
    page = draw(*(make_rule(f"rule {number}", day1=100 - number) for number in range(40)))
    assert len([tag for tag, attributes in page.elements if attributes.get("class") == "lane"]) == 6
    assert "35 other rules" in page.text


def test_a_hostile_name_shows_as_text() -> None:
    page = draw(make_rule(SCRIPT, day1=1), make_rule("x" * 500, day1=1))
    assert page.text.count(SCRIPT) >= 2
    assert all(tag != "script" for tag, _ in page.elements)
