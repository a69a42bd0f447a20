"""Nearest approved version for each withheld file of a page. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from packaging.version import Version

from assay.policy.verdict import Approved, Verdict, Withheld, withhold
from assay.simple.model import INSTALLABLE_KINDS


def add_nearest_versions(verdicts: list[Verdict]) -> None:
    """Set `nearest` in the verdict on each withheld file whose version has no approved file.

    Versions that the index yanked, and versions without a wheel or sdist, are named only if there are no others.

    Verdicts are frozen, so the function replaces them in the list `verdicts` by copies.
    """
    if not {Approved, Withheld} <= set(map(type, verdicts)):
        return
    wanted, approved = collect_versions(verdicts, Withheld), collect_versions(verdicts, Approved)
    if not approved or wanted <= approved:
        return
    all_versions = sorted(collect_recommended_versions(verdicts) or approved)
    final_versions = [version for version in all_versions if not version.is_prerelease]
    nearest = {version: str(_find_nearest(version, final_versions, all_versions)) for version in wanted - approved}
    for place, verdict in enumerate(verdicts):
        if isinstance(verdict, Withheld) and (name := nearest.get(_get_version(verdict))) is not None:  # type: ignore[arg-type]  # None is never a key
            verdicts[place] = _with_nearest(verdict, name)


def collect_recommended_versions(verdicts: Iterable[Verdict]) -> set[Version]:
    """Return the versions that installers accept: those with an approved wheel or sdist that the index did not yank."""
    found: dict[int, Version] = {}  # by identity, as in `collect_versions`
    for each in verdicts:
        if not isinstance(each, Approved) or each.file.yanked is not None:
            continue
        distribution = each.file.distribution
        if distribution is not None and distribution.kind in INSTALLABLE_KINDS:
            found[id(distribution.version)] = distribution.version
    return set(found.values())


def _get_version(verdict: Verdict) -> Version | None:
    distribution = verdict.file.distribution
    return None if distribution is None else distribution.version


def collect_versions(verdicts: Iterable[Verdict], *kinds: type[Verdict]) -> set[Version]:
    """Return the versions of all verdicts of one of the `kinds`.

    Duplicates are first removed by object identity, because comparing versions is slow. All files of a release share
    one version object.
    """
    found: dict[int, Version] = {}
    for each in verdicts:
        if type(each) in kinds and (distribution := each.file.distribution) is not None:
            found[id(distribution.version)] = distribution.version
    return set(found.values())


def _find_nearest(version: Version, final_versions: list[Version], all_versions: list[Version]) -> Version:
    """Return the next lower version, or the lowest version if no lower one exists.

    Pre-releases are candidates only if `version` is a pre-release, or if there is no final version. Both lists are
    sorted.
    """
    steps = all_versions if version.is_prerelease or not final_versions else final_versions
    place = bisect_left(steps, version)
    return steps[place - 1] if place else steps[0]


def _with_nearest(verdict: Withheld, nearest: str) -> Withheld:
    return withhold(
        verdict.file,
        verdict.reasons,
        verdict.enforced,
        verdict.rule,
        verdict.evidence,
        verdict.changes_at,
        nearest,
    )
