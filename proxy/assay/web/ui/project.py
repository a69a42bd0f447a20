"""Project page: the answer first, then the reasons, one row for each version, and the history of publishers. Pure.

A row is folded. Inside, the files of a version are in groups with the same verdict for the same reasons. A page has a
limited number of versions and of files, so a project with thousands of files has a page that a phone can show. The
query parameter ``version`` selects a version, all files of which the page then shows above the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from packaging.version import Version

from assay.evidence import Unstated
from assay.policy.language.times import format_instant
from assay.policy.shown_advisories import ShownAdvisory
from assay.policy.verdict import Approved, Withheld
from assay.publishers.release_provenance import ProvenanceWord, get_publication_time
from assay.simple.fields import parse_version
from assay.simple.model import ProjectStatus
from assay.simple.namespaces import Namespace
from assay.web.ui.activity.words import render_words
from assay.web.ui.advisories import render_advisories
from assay.web.ui.layout import render_page
from assay.web.ui.markup import Child, Markup, element, join_markup, join_separated, markup_if
from assay.web.ui.project_answer import render_answer, render_reasons
from assay.web.ui.release_files import MAX_FILES_PER_RELEASE, count_files, render_badge, render_groups
from assay.web.ui.releases import (
    NO_VERSION,
    FileVerdict,
    Release,
    State,
    UndecidedFile,
    get_version_anchor,
    group_files,
    group_releases,
)
from assay.web.ui.timeline import (
    LABELS_WITHOUT_PUBLISHER,
    NO_ATTESTATION,
    UNEXAMINED,
    UNSTATED,
    collect_marks,
    get_publisher_label,
    render_legend,
    render_timeline,
)

VERSIONS_PER_PAGE: Final = 50
"""Maximum number of versions on one HTML page. A project with more versions has several pages."""
_MAX_FILES_IN_ROWS: Final = 60
"""Maximum number of files whose facts are in the rows of one HTML page, together. Other rows have a link."""
_MAX_GROUPS_IN_ROW: Final = 4
"""Maximum number of groups of a row without the facts of files."""
_MAX_NAMED: Final = 2
"""Maximum number of codes or publishers that a row names."""
_WITHOUT_PUBLISHER: Final = frozenset({NO_ATTESTATION, UNEXAMINED, UNSTATED})
_MAX_SUGGESTED_VERSIONS: Final = 300
"""Maximum number of versions that the field for a version suggests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFacts:
    """Facts about a project that its page shows."""

    name: str
    """Normalized name."""
    index: str
    """Name of the index that owns the project."""
    files: Sequence[FileVerdict]
    words: Mapping[Version, tuple[ProvenanceWord, ...]] = field(default_factory=dict)
    """PyPI's words for the provenance of each version."""
    absence_reason: str | None = None
    """Message to show if the index owns the name but has no such project."""
    status: ProjectStatus | None = None
    """Status of the project as the index states it (PEP 792)."""
    advisories: Sequence[ShownAdvisory] = ()
    """Advisories that cover a listed version."""
    namespaces: Sequence[Namespace] = ()
    """Namespaces of the project as the index states them (PEP 752)."""
    stale_since: datetime | None = None
    """Last time at which the index confirmed its page, if the index is unavailable now; else None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Part of a project that a request selects."""

    page: int = 1
    """Number of the HTML page, from 1. A number beyond the last page selects the last page."""
    version: str | None = None
    """Version to show above the rows, or `NO_VERSION`. The HTML page with its row is chosen instead of `page`."""
    only_withheld: bool = False
    """True to show only versions and files that are withheld."""


def render_project_page(facts: ProjectFacts, selection: Selection, now: datetime) -> bytes:
    """Return the page of a project as UTF-8 HTML.

    Args:
        facts: facts to show.
        selection: part of the project to show.
        now: time of the verdicts.
    """
    releases = group_releases(facts.files, facts.words)
    rows = [each for each in releases if each.has_withheld] if selection.only_withheld else releases
    place = _find_release(rows, selection.version)
    last = max(1, -(-len(rows) // VERSIONS_PER_PAGE))
    page = min(selection.page, last) if place is None else place // VERSIONS_PER_PAGE + 1
    selected = None if place is None else rows[place]
    anchors: set[str] = set()
    withheld = [each for each in facts.files if isinstance(each, Withheld)]
    return render_page(
        facts.name if selected is None else f"{facts.name} {selected.title}",
        element("h1", facts.name),
        *(element("p", note, class_="note") for note in _list_notes(facts)),
        render_answer(releases, facts.files, facts.absence_reason, _build_link),
        render_reasons(withheld),
        element("p", _describe_counts(facts, releases)),
        *_render_controls(facts, replace(selection, page=page), rows),
        markup_if(
            selection.version is not None and selected is None,
            element("p", _explain_missing_version(selection), class_="note"),
        ),
        *_render_selected(selected, only_withheld=selection.only_withheld, anchors=anchors),
        *_render_rows(replace(selection, page=page), rows, selected, anchors),
        *render_advisories(facts.advisories),
        *_render_publishers(facts.files),
        element(
            "p",
            f"Judged at {format_instant(now)}. The same verdicts apply to pip, uv and all other clients.",
            class_="soft",
        ),
        root="../",
        search_text=facts.name,
    )


def _find_release(releases: Sequence[Release], version: str | None) -> int | None:
    """Return the place of the release that the value of ``?version=`` selects, or None."""
    if version is None:
        return None
    wanted = None if version == NO_VERSION else parse_version(version)
    if wanted is None and version != NO_VERSION:
        return None
    return next((place for place, each in enumerate(releases) if each.version == wanted), None)


def _explain_missing_version(selection: Selection) -> str:
    files = " with withheld files" if selection.only_withheld else ""
    return f"The index lists no version {selection.version}{files}."


def _list_notes(facts: ProjectFacts) -> list[str]:
    """Return what limits the verdicts: the state of the index, the status of the project, and files without verdict."""
    unstated = (each.evidence for each in facts.files if not isinstance(each, UndecidedFile))
    notes = list(dict.fromkeys(f"{each.problem}." for each in unstated if isinstance(each, Unstated)))
    if facts.stale_since is not None:
        since = format_instant(facts.stale_since)
        notes.insert(0, f"The index is unavailable. It last confirmed this page at {since}.")
    if facts.status is not None and facts.status.status != "active":
        reason = f": {facts.status.reason}" if facts.status.reason else "."
        notes.append(f"The index marks this project as {facts.status.status}{reason}")
    if undecided := sum(isinstance(each, UndecidedFile) for each in facts.files):
        are = "1 file is" if undecided == 1 else f"{undecided:,} files are"
        notes.append(f"{are} undecided, because the provenance is unavailable now: listed, but not served.")
    return notes


def _describe_counts(facts: ProjectFacts, releases: Sequence[Release]) -> str:
    approved = sum(isinstance(each, Approved) for each in facts.files)
    withheld = sum(isinstance(each, Withheld) for each in facts.files)
    counts = (
        f"{_count_versions(releases)}: {count_files(approved)} approved, {withheld:,} withheld. Index: {facts.index}."
    )
    if not facts.namespaces:
        return counts
    return f"{counts} Namespaces according to the index: {', '.join(each.describe() for each in facts.namespaces)}."


def _count_versions(releases: Sequence[Release]) -> str:
    return "1 version" if len(releases) == 1 else f"{len(releases):,} versions"


def _build_link(version: str) -> str:
    """Return the URL of a version, relative to the page."""
    return f"?{urlencode({'version': version})}#{get_version_anchor(version)}"


def _build_query(**parameters: str | None) -> str:
    return "?" + urlencode({key: value for key, value in parameters.items() if value is not None})


def _render_controls(facts: ProjectFacts, selection: Selection, rows: Sequence[Release]) -> list[Markup]:
    """Return the form that selects a version, and the links between all files and the withheld files."""
    if not facts.files:
        return []
    only = "withheld" if selection.only_withheld else None
    numbered = [each for each in rows if each.version is not None]
    form = element(
        "form",
        element("label", "Version", for_="version"),
        element("input", id="version", name="version", list="versions", maxlength=256, autocomplete="off", size=12),
        element(
            "datalist",
            *(element("option", value=each.key) for each in numbered[:_MAX_SUGGESTED_VERSIONS]),
            id="versions",
        ),
        None if only is None else element("input", type="hidden", name="only", value=only),
        element("button", "Go", type="submit"),
        action=facts.name,
        method="get",
        class_="jump",
    )
    has_both = any(isinstance(each, Withheld) for each in facts.files) and not all(
        isinstance(each, Withheld) for each in facts.files
    )
    choices = (
        element("a", "all files", href=facts.name, aria_current=None if only else "true"),
        element("a", "only withheld files", href=_build_query(only="withheld"), aria_current="true" if only else None),
    )
    shown = element("p", "Show: ", join_separated(choices, " · "), class_="choice")
    return [markup_if(len(rows) > 1, form), markup_if(has_both or only, shown)]


def _render_selected(release: Release | None, *, only_withheld: bool, anchors: set[str]) -> list[Markup]:
    if release is None:
        return []
    files = _choose_files(release, only_withheld=only_withheld)
    hidden = len(files) - MAX_FILES_PER_RELEASE
    command = element("code", "assay explain")
    more = element("p", f"{count_files(hidden)} more not shown. The command ", command, " lists them.")
    return [
        element(
            "section",
            element("h2", release.title if release.version is None else f"Version {release.title}"),
            render_groups(group_files(files), max_files=MAX_FILES_PER_RELEASE, anchors=anchors),
            markup_if(hidden > 0, more),
            id=get_version_anchor(release.key),
        )
    ]


def _choose_files(release: Release, *, only_withheld: bool) -> list[FileVerdict]:
    return [each for each in release.files if isinstance(each, Withheld)] if only_withheld else release.files


def _render_rows(
    selection: Selection, rows: Sequence[Release], selected: Release | None, anchors: set[str]
) -> list[Markup]:
    if not rows:
        return []
    shown = rows[(selection.page - 1) * VERSIONS_PER_PAGE : selection.page * VERSIONS_PER_PAGE]
    left = 0 if selected is not None else _MAX_FILES_IN_ROWS
    drawn = []
    for release in shown:
        files = _choose_files(release, only_withheld=selection.only_withheld)
        is_detailed = len(files) <= left
        left -= len(files) if is_detailed else left  # older versions get no facts either, so that the rows are alike
        if release is selected:
            drawn.append(_render_link_row(release))
        else:
            drawn.append(_render_row(release, files, is_detailed=is_detailed, anchors=anchors))
    pages = _render_pagination(selection, max(1, -(-len(rows) // VERSIONS_PER_PAGE)))
    heading, listed = element("h2", "Versions"), join_markup((pages, *drawn, pages))
    if selected is None:
        return [heading, listed]
    return [heading, element("details", element("summary", f"All {_count_versions(rows)}"), listed)]


def _render_row(release: Release, files: Sequence[FileVerdict], *, is_detailed: bool, anchors: set[str]) -> Markup:
    """Return the row of a release as a folded element. If it is not detailed, it links to the files of the release."""
    groups = group_files(files)
    shown = groups if is_detailed else groups[:_MAX_GROUPS_IN_ROW]
    others = len(groups) - len(shown)
    link = element("a", f"Show {count_files(len(files))} of {release.title}", href=_build_link(release.key))
    more = element("p", link, f", in {others} more groups" if others else None)
    return element(
        "details",
        element("summary", element("strong", release.title), " ", *_summarize_release(release)),
        render_groups(shown, max_files=len(files) if is_detailed else 0, anchors=anchors),
        markup_if(not is_detailed, more),
        class_=f"row {_get_row_state(release).value}",
        id=get_version_anchor(release.key),
    )


def _render_link_row(release: Release) -> Markup:
    """Return the row of the selected release, whose files the page shows above the rows."""
    link = element("a", element("strong", release.title), href=f"#{get_version_anchor(release.key)}")
    return element("p", link, " ", *_summarize_release(release), class_=f"row {_get_row_state(release).value}")


def _summarize_release(release: Release) -> list[Markup]:
    badges = [render_badge(state, f"{number:,}") for state in State if (number := release.count(state))]
    # An unattested release says so in its code or publisher already.
    is_telling = set(release.words) - {ProvenanceWord.NO}
    words = [Markup(" "), element("span", "provenance ", render_words(release.words), class_="soft")]
    summary = [join_separated(badges, " "), Markup(" "), element("span", _describe_release(release), class_="soft")]
    return [*summary, *(words if is_telling else ())]


def _get_row_state(release: Release) -> State:
    """Return the state of the row: that of all its files, or `LIFTED` if they differ."""
    return states.pop() if len(states := {state for state in State if release.count(state)}) == 1 else State.LIFTED


def _describe_release(release: Release) -> Markup:
    """Return the codes, the yank, the publishers and the date of a release in one line."""
    verdicts = [each for each in release.files if not isinstance(each, UndecidedFile)]
    codes = dict.fromkeys(each.reasons[0].code.value for each in verdicts if isinstance(each, Withheld))
    labels = dict.fromkeys(get_publisher_label(each.evidence) for each in verdicts)
    # If every file is withheld, the code says what is missing.
    publishers = {each: None for each in labels if release.has_approved or each not in LABELS_WITHOUT_PUBLISHER}
    times = [time for each in verdicts if (time := get_publication_time(each.evidence, each.file.upload_time))]
    yanked = "yanked" if all(each.file.yanked is not None for each in release.files) else None
    date = element("span", f"{min(times):%Y-%m-%d}", class_="short") if times else None
    return join_separated((_name_some(codes), yanked, _name_some(publishers), date), " · ")


def _name_some(names: dict[str, None]) -> str:
    listed = ", ".join(list(names)[:_MAX_NAMED])
    return f"{listed} and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else listed


def _render_pagination(selection: Selection, last: int) -> Markup:
    if last == 1:
        return Markup()
    only = "withheld" if selection.only_withheld else None
    newer, older = (_build_query(page=str(selection.page + step), only=only) for step in (-1, 1))
    links: tuple[Child, ...] = (
        element("a", "newer versions", href=newer) if selection.page > 1 else None,
        f"page {selection.page} of {last}",
        element("a", "older versions", href=older) if selection.page < last else None,
    )
    return element("p", join_separated(links, " · "))


def _render_publishers(files: Sequence[FileVerdict]) -> list[Markup]:
    """Return the history of the project's publishers. It is a picture if some release has evidence of one."""
    verdicts = [each for each in files if not isinstance(each, UndecidedFile)]
    if not verdicts:
        return []
    labels = {get_publisher_label(each.evidence) for each in verdicts}
    marks = [] if labels <= _WITHOUT_PUBLISHER else collect_marks(verdicts)
    if not marks:
        return [element("h2", "Publishers"), element("p", _explain_missing_publishers(labels))]
    return [element("h2", "Publishers"), render_timeline(marks), render_legend(marks)]


def _explain_missing_publishers(labels: set[str]) -> str:
    if labels == {NO_ATTESTATION}:
        return "No file has an attestation, so no publisher is known."
    if labels <= _WITHOUT_PUBLISHER:
        return "No publisher is known: no attestation has been examined."
    return "No file of this project has a publication time."
