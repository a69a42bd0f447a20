"""Overview of the projects that clients of a view used: its facts, and their form as JSON. Pure.

All facts come from records and from memory. No index is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeAlias

from assay.advisories.model import Advisory
from assay.policy.language.model import Waiver
from assay.ports import DescribedProject, ProjectSummary, RefusalCount
from assay.publishers.release_provenance import ALARMING_WORDS, ProvenanceWord
from assay.simple.fields import parse_version
from assay.simple.model import NormalizedName

OVERVIEW_DAYS: Final = 30
"""Length of the period in days."""
MAX_OVERVIEW_PROJECTS: Final = 5000
"""Maximum number of projects of an overview. The projects that were used last are shown."""
MAX_ADVISORIES: Final = 200
"""Maximum number of advisories of an overview."""
_WORDS: Final = frozenset(each.value for each in ProvenanceWord)
FindAdvisories: TypeAlias = Callable[[NormalizedName], Sequence[Advisory]]
"""Function that returns the advisories about a project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLine:
    """Release of a used project, with PyPI's words for its provenance."""

    project: NormalizedName
    version: str
    words: tuple[ProvenanceWord, ...]
    """Empty if too little is known."""
    is_used: bool
    """True if a client got a file of the release. False: only the page of the project was requested."""

    @property
    def text(self) -> str:
        """The words, separated by commas, or ``unknown``."""
        return ", ".join(self.words) or "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvisoryLine:
    """Advisory that covers used versions of a project."""

    project: NormalizedName
    versions: tuple[str, ...]
    id: str
    link: str
    summary: str
    is_malware: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Facts of the overview of one view."""

    view: str
    since: datetime
    now: datetime
    projects: int
    """Number of used projects."""
    is_cut: bool
    """True if more than `MAX_OVERVIEW_PROJECTS` projects were used."""
    undescribed: tuple[NormalizedName, ...]
    """Projects of which no judged page was summarized yet."""
    releases: tuple[ReleaseLine, ...]
    """For each other project, the highest version that was used; or its newest release, if none was."""
    alarms: tuple[ReleaseLine, ...]
    """Releases whose provenance is inconsistent, lost or changed: those of `releases`, and further used ones."""
    publishers: tuple[tuple[str, tuple[NormalizedName, ...]], ...]
    """Name of each publisher with its projects, the publisher of the most projects first."""
    refusals: tuple[RefusalCount, ...]
    waivers: tuple[Waiver, ...]
    """Waivers of the policy, the first to expire first."""
    advisories: tuple[AdvisoryLine, ...] | None
    """Advisories that cover used versions; None if no advisories are configured."""

    def list_projects(self, word: ProvenanceWord | None) -> list[NormalizedName]:
        """Return the projects whose release has a word; None: those about whose release too little is known."""
        return [each.project for each in self.releases if (not each.words if word is None else word in each.words)]


def get_period_start(now: datetime) -> datetime:
    """Return the time since which projects count as used."""
    return now - timedelta(days=OVERVIEW_DAYS)


def build_overview(
    view: str,
    described: Sequence[DescribedProject],
    *,
    refusals: Sequence[RefusalCount],
    waivers: Iterable[Waiver],
    find_advisories: FindAdvisories | None,
    now: datetime,
) -> Overview:
    """Return the overview of a view.

    Args:
        view: name of the view.
        described: used projects, at most one more than `MAX_OVERVIEW_PROJECTS`.
        refusals: numbers of refusals by day, rule and reason.
        waivers: waivers of the policy.
        find_advisories: returns the advisories about a project; None if no advisories are configured.
        now: current time in UTC.
    """
    shown = described[:MAX_OVERVIEW_PROJECTS]
    lines = [(each, _list_releases(each)) for each in shown]
    publishers: dict[str, list[NormalizedName]] = {}
    for each in shown:
        for name in () if each.summary is None else each.summary.publishers:
            publishers.setdefault(name, []).append(each.used.project)
    return Overview(
        view=view,
        since=get_period_start(now),
        now=now,
        projects=len(shown),
        is_cut=len(described) > len(shown),
        undescribed=tuple(sorted(each.used.project for each, found in lines if not found)),
        releases=tuple(sorted((found[0] for _, found in lines if found), key=lambda line: line.project)),
        alarms=tuple(line for _, found in lines for line in found if ALARMING_WORDS & set(line.words)),
        publishers=tuple(
            (name, tuple(sorted(projects)))
            for name, projects in sorted(publishers.items(), key=lambda item: (-len(item[1]), item[0]))
        ),
        refusals=tuple(refusals),
        waivers=tuple(sorted(waivers, key=lambda waiver: waiver.expires)),
        advisories=None if find_advisories is None else _list_advisories(shown, find_advisories),
    )


def _list_releases(described: DescribedProject) -> list[ReleaseLine]:
    """Return the release that stands for a project, then the other used releases, the highest version first.

    The release that stands for a project is the highest used one. If no used one is known, it is the highest final
    release about which enough is known, or else the highest release. A policy need not examine new releases.
    """
    summary = described.summary
    if summary is None or not summary.releases:
        return []
    used = [text for text in summary.releases if text in described.used.versions]
    chosen = used or [
        next(filter(partial(_is_examined_final, summary), summary.releases), next(iter(summary.releases)))
    ]
    return [
        ReleaseLine(
            project=described.used.project,
            version=text,
            words=tuple(ProvenanceWord(word) for word in summary.releases[text] if word in _WORDS),
            is_used=bool(used),
        )
        for text in chosen
    ]


def _is_examined_final(summary: ProjectSummary, text: str) -> bool:
    version = parse_version(text) if summary.releases[text] else None
    return version is not None and not version.is_prerelease


def _list_advisories(shown: Iterable[DescribedProject], find: FindAdvisories) -> tuple[AdvisoryLine, ...]:
    """Return the advisories that cover used versions, malware first."""
    lines = []
    for each in shown:
        project = each.used.project
        used = [version for text in each.used.versions if (version := parse_version(text)) is not None]
        for advisory in find(project) if used else ():
            covered = tuple(str(version) for version in sorted(used) if advisory.covers(project, version))
            if covered:
                lines.append(
                    AdvisoryLine(
                        project=project,
                        versions=covered,
                        id=advisory.id,
                        link=advisory.link,
                        summary=advisory.summary,
                        is_malware=advisory.is_malware,
                    )
                )
    return tuple(sorted(lines, key=lambda line: (not line.is_malware, line.project, line.id))[:MAX_ADVISORIES])


@dataclass(slots=True)
class RuleTotals:
    """Refusals of one rule in the period."""

    rule: str
    """Name of the rule; empty if no rule governs the project."""
    total: int = 0
    by_code: dict[str, int] = field(default_factory=dict)
    by_day: dict[int, int] = field(default_factory=dict)
    """Number of refusals by the ordinal of the day."""


def total_by_rule(refusals: Iterable[RefusalCount]) -> list[RuleTotals]:
    """Return the refusals of each rule, the rule with the most refusals first."""
    found: dict[str, RuleTotals] = {}
    for each in refusals:
        rule, day = found.setdefault(each.rule, RuleTotals(each.rule)), each.day.toordinal()
        rule.total += each.total
        rule.by_code[each.code] = rule.by_code.get(each.code, 0) + each.total
        rule.by_day[day] = rule.by_day.get(day, 0) + each.total
    return sorted(found.values(), key=lambda rule: (-rule.total, rule.rule))


def overview_to_json(overview: Overview) -> dict[str, Any]:
    """Return the overview as a JSON object."""
    return {
        "view": overview.view,
        "since": overview.since.isoformat(),
        "until": overview.now.isoformat(),
        "projects": overview.projects,
        "more-projects": overview.is_cut,
        "not-examined": list(overview.undescribed),
        "releases": [_release_to_json(line) for line in overview.releases],
        "alarms": [_release_to_json(line) for line in overview.alarms],
        "publishers": [{"name": name, "projects": list(projects)} for name, projects in overview.publishers],
        "refusals": [
            {"day": each.day.isoformat(), "rule": each.rule or None, "reason": each.code, "count": each.total}
            for each in overview.refusals
        ],
        "waivers": [
            {
                "projects": list(waiver.projects),
                "lifts": [lift.value for lift in waiver.lifts],
                "expires": waiver.expires.isoformat(),
                "reason": waiver.reason,
            }
            for waiver in overview.waivers
        ],
        "advisories": None
        if overview.advisories is None
        else [
            {
                "id": line.id,
                "project": line.project,
                "versions": list(line.versions),
                "summary": line.summary,
                "malware": line.is_malware,
            }
            for line in overview.advisories
        ],
    }


def _release_to_json(line: ReleaseLine) -> dict[str, Any]:
    return {
        "project": line.project,
        "version": line.version,
        "provenance": [word.value for word in line.words],
        "used": line.is_used,
    }
