"""For each withheld file of a page, the nearest version that can be had instead. Pure."""

from __future__ import annotations

from bisect import bisect_left

from packaging.version import Version

from assay.policy.verdict import Approved, Verdict, Withheld, withhold


def add_nearest_versions(verdicts: list[Verdict]) -> None:
    """Tell, in place, each withheld file of a version with nothing approved which version is the nearest that has."""
    if not {Approved, Withheld} <= set(map(type, verdicts)):
        return
    wanted, approved = _collect_versions(verdicts, Withheld), _collect_versions(verdicts, Approved)
    if not approved or wanted <= approved:
        return
    ladder = sorted(approved)
    finals = [version for version in ladder if not version.is_prerelease]
    nearest = {version: str(_find_nearest(version, finals, ladder)) for version in wanted - approved}
    for place, verdict in enumerate(verdicts):
        if isinstance(verdict, Withheld) and (name := nearest.get(_get_version(verdict))) is not None:  # type: ignore[arg-type]  # None is in no dict
            verdicts[place] = _with_nearest(verdict, name)


def _get_version(verdict: Verdict) -> Version | None:
    distribution = verdict.file.distribution
    return None if distribution is None else distribution.version


def _collect_versions(verdicts: list[Verdict], kind: type[Approved | Withheld]) -> set[Version]:
    """By identity first: a release's files share their version once parsed, and comparing versions is a slow call."""
    found: dict[int, Version] = {}
    for each in verdicts:
        if type(each) is kind and (distribution := each.file.distribution) is not None:
            found[id(distribution.version)] = distribution.version
    return set(found.values())


def _find_nearest(version: Version, final_versions: list[Version], approved_versions: list[Version]) -> Version:
    """The next lower one, else the next higher; pre-releases only beside one, or where there is nothing else."""
    steps = approved_versions if version.is_prerelease or not final_versions else final_versions
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
