"""Versions that an installer does not get although the index has them, and that it may pass over in silence. Pure.

There are two such cases: the newest version of a project is withheld, and the wheels of a version are withheld but its
sdist is not, so that installers build the sdist. Each request for such a page is counted, and each such page is logged
once (event ``hidden``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from packaging.version import Version

from assay.policy.verdict import Verdict, Withheld
from assay.simple.model import INSTALLABLE_KINDS, Kind


class Hiding(StrEnum):
    """Case in which an installer does not get what the index has."""

    NEWEST = "newest"
    """All files of the newest version are withheld."""
    SDIST_ONLY = "sdist-only"
    """All wheels of a version are withheld, and an sdist of it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenVersion:
    """Version of a project with withheld files."""

    hiding: Hiding
    version: Version
    withheld: Withheld
    """Verdict on the first of the withheld files, in the order of the page."""


@dataclass(slots=True)
class HiddenReport:
    """Hidden versions of a judged page, and when they were logged."""

    versions: tuple[HiddenVersion, ...]
    logged_at: datetime | None = None
    """Time of the first request for the page, which logs the versions; None before."""


@dataclass(slots=True)
class _Release:
    withheld: list[Withheld] = field(default_factory=list)
    withheld_wheel: Withheld | None = None
    listed_kinds: set[Kind] = field(default_factory=set)


def find_hidden_versions(verdicts: Iterable[Verdict]) -> tuple[HiddenVersion, ...]:
    """Return the newest version if it is withheld, and the newest version of which only an sdist is left, if any.

    The newest version is the one that an installer would choose on the index: the highest final release that the index
    did not yank, or the highest pre-release if there is no final release. Files that installers ignore, and files that
    belong to another project, do not count. Undecided files count as listed.
    """
    releases = _group_by_version(verdicts)
    newest = max((each for each in releases if not each.is_prerelease), default=None) or max(releases, default=None)
    found = []
    if newest is not None and not releases[newest].listed_kinds:
        found.append(HiddenVersion(hiding=Hiding.NEWEST, version=newest, withheld=releases[newest].withheld[0]))
    halved = [
        (version, wheel)
        for version, release in releases.items()
        if release.listed_kinds == {Kind.SDIST} and (wheel := release.withheld_wheel) is not None
    ]
    if halved:
        version, wheel = max(halved, key=lambda each: each[0])
        found.append(HiddenVersion(hiding=Hiding.SDIST_ONLY, version=version, withheld=wheel))
    return tuple(found)


def _group_by_version(verdicts: Iterable[Verdict]) -> dict[Version, _Release]:
    # By identity first, since comparing versions is slow and the files of a release share one version object.
    by_identity: dict[int, _Release] = {}
    releases: dict[Version, _Release] = {}
    for verdict in verdicts:
        file, distribution = verdict.file, verdict.file.distribution
        if distribution is None or distribution.kind not in INSTALLABLE_KINDS:
            continue
        if file.yanked is not None or file.owner is not None:
            continue
        version = distribution.version
        release = by_identity.get(id(version))
        if release is None:
            release = by_identity[id(version)] = releases.setdefault(version, _Release())
        if not isinstance(verdict, Withheld):
            release.listed_kinds.add(distribution.kind)
            continue
        release.withheld.append(verdict)
        if distribution.kind is Kind.WHEEL and release.withheld_wheel is None:
            release.withheld_wheel = verdict
    return releases
