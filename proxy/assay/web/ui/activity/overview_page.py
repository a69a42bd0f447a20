"""Overview page of a view. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from assay.policy.language.times import format_instant
from assay.publishers.release_provenance import ProvenanceWord
from assay.simple.model import NormalizedName
from assay.web.ui.activity.chart import NO_RULE, render_refusal_chart
from assay.web.ui.activity.overview import OVERVIEW_DAYS, Overview, ReleaseLine, total_by_rule
from assay.web.ui.activity.words import WORD_MEANINGS, render_words
from assay.web.ui.layout import render_facts, render_page, render_table
from assay.web.ui.markup import Child, Markup, element, join_markup, join_separated, link_if_safe, markup_if
from assay.web.ui.policy import render_waivers
from assay.web.ui.releases import build_version_url

_MAX_NAMES: Final = 12
"""Maximum number of projects that a table cell names."""
_MAX_ALARMS: Final = 100
_MAX_PUBLISHERS: Final = 50
_MAX_RULES: Final = 20


def render_overview_page(overview: Overview, shown_view: str | None) -> bytes:
    """Return the overview page as UTF-8 HTML.

    Args:
        overview: facts of the page.
        shown_view: name of the view; None for the view ``default``, which pages do not name.
    """
    return render_page(
        "Overview",
        element("h1", "Overview"),
        element(
            "p",
            f"Projects whose page or files clients{' of the view ' + shown_view if shown_view else ''} got in the last"
            f" {OVERVIEW_DAYS} days. The numbers come from what Assay recorded; this page asks no index.",
        ),
        markup_if(overview.is_cut, element("p", f"Only the last {overview.projects:,} used projects are counted.")),
        _render_counts(overview),
        element("h2", "Provenance"),
        _render_words(overview),
        element("h2", "Lost, changed or inconsistent provenance"),
        _render_alarms(overview.alarms),
        element("h2", "Publishers"),
        _render_publishers(overview),
        element("h2", "Refusals"),
        _render_refusals(overview),
        element("h2", "Waivers"),
        render_waivers(overview.waivers, overview.now),
        _render_advisories(overview),
        element("p", f"As of {format_instant(overview.now)}.", class_="soft"),
        root="",
        path="overview",
    )


def _render_counts(overview: Overview) -> Markup:
    attested = len(
        {each for word in (ProvenanceWord.FULL, ProvenanceWord.PARTIAL) for each in overview.list_projects(word)}
    )
    unknown = len(overview.list_projects(None)) + len(overview.undescribed)
    return render_facts(
        [
            ("projects used", f"{overview.projects:,}"),
            ("attested", f"{attested:,}"),
            ("not attested", f"{len(overview.list_projects(ProvenanceWord.NO)):,}"),
            ("unknown", f"{unknown:,}"),
            ("refused requests", f"{sum(each.total for each in overview.refusals):,}"),
            ("waivers", f"{sum(waiver.expires > overview.now for waiver in overview.waivers):,}"),
        ],
        class_="counts",
    )


def _render_words(overview: Overview) -> Markup:
    rows: list[tuple[Child, ...]] = [
        (element("strong", word.value), WORD_MEANINGS[word], f"{len(names):,}", _render_projects(names))
        for word in ProvenanceWord
        for names in [overview.list_projects(word)]
    ]
    unknown = overview.list_projects(None)
    rows.append(
        (
            element("strong", "unknown"),
            "too little of the release was examined",
            f"{len(unknown):,}",
            _render_projects(unknown),
        )
    )
    if overview.undescribed:
        missing = (
            "no summary of the page is recorded yet; the next use of the project may add it",
            f"{len(overview.undescribed):,}",
            _render_projects(overview.undescribed),
        )
        rows.append((element("strong", "not examined"), *missing))
    return join_markup(
        (
            element(
                "p",
                "PyPI's words for a release: the highest version that clients got, or the newest examined release if"
                " they got only the page of the project.",
            ),
            render_table("Provenance of the used releases", ("Word", "Meaning", "Projects", "Names"), rows),
        )
    )


def _render_projects(names: Sequence[NormalizedName]) -> Markup:
    links = [element("a", name, href=f"project/{name}") for name in names[:_MAX_NAMES]]
    more = len(names) - len(links)
    return join_separated([*links, f"{more:,} more" if more > 0 else ""], ", ")


def _render_alarms(alarms: Sequence[ReleaseLine]) -> Markup:
    if not alarms:
        return element("p", "None of the used releases.")
    rows: list[tuple[Child, ...]] = [
        (
            element("a", line.project, href=f"project/{line.project}"),
            element("a", line.version, href=build_version_url("", line.project, line.version)),
            render_words(line.words),
            "a file was used" if line.is_used else "newest release",
        )
        for line in alarms[:_MAX_ALARMS]
    ]
    more = len(alarms) - len(rows)
    return join_markup(
        (
            render_table("Releases to look into", ("Project", "Version", "Provenance", "Why shown"), rows),
            markup_if(more > 0, element("p", f"{more:,} more are in the JSON form of this page.")),
        )
    )


def _render_publishers(overview: Overview) -> Markup:
    if not overview.publishers:
        return element("p", "No publisher of the used projects is known.")
    rows: list[tuple[Child, ...]] = [
        (element("code", name), f"{len(projects):,}", _render_projects(projects))
        for name, projects in overview.publishers[:_MAX_PUBLISHERS]
    ]
    more = len(overview.publishers) - len(rows)
    return join_markup(
        (
            element("p", "The publishers of the last attested release with an approved file."),
            render_table("Publishers by number of projects", ("Publisher", "Projects", "Names"), rows),
            markup_if(more > 0, element("p", f"{more:,} more publishers are in the JSON form of this page.")),
        )
    )


def _render_refusals(overview: Overview) -> Markup:
    rules = total_by_rule(overview.refusals)
    if not rules:
        return element("p", f"No request was refused in the last {OVERVIEW_DAYS} days.")
    rows: list[tuple[Child, ...]] = [
        (
            rule.rule or NO_RULE,
            ", ".join(f"{code} {count:,}" for code, count in sorted(rule.by_code.items(), key=lambda item: -item[1])),
            f"{rule.total:,}",
        )
        for rule in rules[:_MAX_RULES]
    ]
    return join_markup(
        (
            render_refusal_chart(rules, overview.since.date(), OVERVIEW_DAYS + 1),
            element("p", "A bar shows the refused requests of one day, in UTC. All rules have the same scale."),
            render_table("Refused requests by rule", ("Rule", "Reasons", "Requests"), rows),
            element("p", element("a", "All recorded refusals", href="refusals")),
        )
    )


def _render_advisories(overview: Overview) -> Markup:
    if overview.advisories is None:
        return Markup()
    rows: list[tuple[Child, ...]] = [
        (
            link_if_safe(line.id, line.link),
            "malware" if line.is_malware else "vulnerability",
            element("a", line.project, href=f"project/{line.project}"),
            ", ".join(line.versions),
            line.summary,
        )
        for line in overview.advisories
    ]
    columns = ("Advisory", "Kind", "Project", "Used versions", "Summary")
    table = render_table("Advisories on used versions", columns, rows)
    return join_markup(
        (element("h2", "Advisories"), table if rows else element("p", "No advisory covers a used version."))
    )
