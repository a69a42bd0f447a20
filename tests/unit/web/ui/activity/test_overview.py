"""Facts of the overview: which release stands for a project, alarms, publishers, advisories, limits."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from packaging.utils import NormalizedName

from assay.advisories.model import Advisory, AffectedPackage, version_key
from assay.ports import DescribedProject, ProjectSummary, RefusalCount, UsedProject
from assay.web.ui.activity.overview import (
    MAX_ADVISORIES,
    MAX_OVERVIEW_PROJECTS,
    Overview,
    build_overview,
    overview_to_json,
    total_by_rule,
)
from assay.web.ui.activity.overview_page import render_overview_page
from tests.world.clients.html_reader import read_harmless_page

NOW = datetime(2026, 7, 1, tzinfo=UTC)
SCRIPT = "<script>alert(1)</script>"


def describe(
    name: str, releases: dict[str, tuple[str, ...]] | None, *used: str, by: tuple[str, ...] = ()
) -> DescribedProject:
    project = NormalizedName(name)
    summary = None
    if releases is not None:
        summary = ProjectSummary(
            index="pypi",
            project=project,
            view="default",
            judged_at=NOW,
            approved=1,
            withheld=0,
            releases=releases,
            publishers=by,
        )
    versions = dict.fromkeys(used, NOW)
    return DescribedProject(
        used=UsedProject(index="pypi", project=project, last_used=NOW, versions=versions), summary=summary
    )


def build(*described: DescribedProject, **changes: Any) -> Overview:
    stated: dict[str, Any] = {"refusals": (), "waivers": (), "find_advisories": None, "now": NOW, **changes}
    return build_overview("default", described, **stated)


def lines(overview: Overview) -> list[str]:
    return [f"{each.project} {each.version}: {each.text}" for each in overview.releases]


def test_the_release_that_stands_for_a_project() -> None:
    releases = {"3.0rc1": ("full",), "2.1": (), "2.0": ("no", "lost"), "1.0": ("full",)}
    assert lines(build(describe("a", releases))) == ["a 2.0: no, lost"], "the highest examined final release"
    assert lines(build(describe("a", releases, "1.0"))) == ["a 1.0: full"], "the used one"
    assert lines(build(describe("a", releases, "1.0", "2.0"))) == ["a 2.0: no, lost"], "the highest used one"
    assert lines(build(describe("a", releases, "9.0"))) == ["a 2.0: no, lost"], "the used one is not listed any more"
    assert lines(build(describe("a", {"3.0rc1": ("full",)}))) == ["a 3.0rc1: full"]
    assert lines(build(describe("a", {"2.1": ()}))) == ["a 2.1: unknown"]


def test_every_used_release_with_an_alarm_is_listed() -> None:
    releases = {"3.0": ("full", "changed"), "2.0": ("no", "lost"), "1.0": ("full",)}
    found = build(describe("a", releases, "1.0", "2.0"), describe("b", releases))
    assert [f"{each.project} {each.version}" for each in found.alarms] == ["a 2.0", "b 3.0"]


def test_a_word_that_is_not_pypis_is_left_out() -> None:
    assert lines(build(describe("a", {"1.0": ("full", SCRIPT, "good")}))) == ["a 1.0: full"]
    assert lines(build(describe("a", {SCRIPT: ("full",)}))) == [f"a {SCRIPT}: full"]


def test_projects_without_a_summary_are_not_examined() -> None:
    found = build(describe("b", None), describe("a", {}))
    assert found.undescribed == ("a", "b")
    assert found.releases == ()


def test_the_publisher_of_the_most_projects_comes_first() -> None:
    found = build(
        describe("a", {"1": ("full",)}, by=("one",)),
        describe("b", {"1": ("full",)}, by=("two", "one")),
        describe("c", {"1": ("full",)}, by=("two",)),
        describe("d", {"1": ("full",)}, by=("two",)),
    )
    assert found.publishers == (("two", ("b", "c", "d")), ("one", ("a", "b")))


def test_the_number_of_projects_is_limited() -> None:
    many = [describe(f"p{number}", {"1": ("full",)}) for number in range(MAX_OVERVIEW_PROJECTS + 1)]
    assert (build(*many).projects, build(*many).is_cut) == (MAX_OVERVIEW_PROJECTS, True)
    assert build(*many[:-1]).is_cut is False


def test_refusals_are_totalled_by_rule() -> None:
    day = date(2026, 6, 30)
    found = total_by_rule(
        [
            RefusalCount(day, "a", "denied", 1),
            RefusalCount(day, "b", "forged", 2),
            RefusalCount(day + timedelta(days=1), "b", "denied", 3),
            RefusalCount(day + timedelta(days=1), "b", "forged", 4),
        ]
    )
    assert [(each.rule, each.total) for each in found] == [("b", 9), ("a", 1)]
    assert found[0].by_code == {"forged": 6, "denied": 3}
    assert found[0].by_day == {day.toordinal(): 2, day.toordinal() + 1: 7}


def make_advisory(key: str, project: str, *versions: str) -> Advisory:
    affected = AffectedPackage(
        project=NormalizedName(project), versions=frozenset(filter(None, map(version_key, versions)))
    )
    return Advisory(id=key, modified=NOW, affected=(affected,), summary=SCRIPT)


def test_advisories_cover_used_versions_only_and_malware_comes_first() -> None:
    known = {
        "a": [make_advisory("GHSA-1", "a", "1.0", "2.0"), make_advisory("GHSA-2", "a", "3.0")],
        "b": [make_advisory("MAL-1", "b", "1.0")],
    }
    used = [describe("a", None, "1.0", "2.0", "2.5"), describe("b", None, "1.0"), describe("c", None, "1.0")]
    found = build(*used, find_advisories=lambda project: known.get(project, []))
    assert found.advisories is not None
    assert [(each.id, each.versions) for each in found.advisories] == [("MAL-1", ("1.0",)), ("GHSA-1", ("1.0", "2.0"))]
    page = read_harmless_page(render_overview_page(found, None))
    assert SCRIPT in page.text
    assert "https://osv.dev/vulnerability/MAL-1" in page.links
    assert [each["id"] for each in overview_to_json(found)["advisories"]] == ["MAL-1", "GHSA-1"]
    assert "Advisories" not in read_harmless_page(render_overview_page(build(*used), None)).text


def test_the_number_of_advisories_is_limited() -> None:
    many = [make_advisory(f"GHSA-{number}", "a", "1.0") for number in range(MAX_ADVISORIES + 1)]
    found = build(describe("a", None, "1.0"), find_advisories=lambda _: many)
    assert found.advisories is not None
    assert len(found.advisories) == MAX_ADVISORIES


def test_hostile_names_show_as_text() -> None:
    found = build(
        describe("a", {"2.0": ("no", "lost"), SCRIPT: ("full", "changed")}, "2.0", SCRIPT, by=(SCRIPT,)),
        refusals=[RefusalCount(NOW.date(), SCRIPT, "denied", 1)],
    )
    page = read_harmless_page(render_overview_page(found, SCRIPT))
    assert page.text.count(SCRIPT) >= 5


def test_a_page_with_thousands_of_projects_stays_small() -> None:
    many = [
        describe(f"project-{number}", {"1.0": ("no", "lost")}, "1.0", by=(f"publisher-{number}",))
        for number in range(MAX_OVERVIEW_PROJECTS)
    ]
    assert len(render_overview_page(build(*many), None)) < 150_000
