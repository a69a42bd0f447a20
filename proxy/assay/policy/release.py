"""What one file's verdict means for the others of its release and project, once all are judged. Pure.

`release = "whole"`: "no sdist of a version whose wheels are withheld: pip would build it". And for each withheld file,
the nearest version that can be had instead.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime

from packaging.version import Version

from assay.policy.candidate import FileFacts
from assay.policy.compiled import CompiledRule
from assay.policy.verdict import Approved, Reason, ReasonCode, Undecided, Verdict, Withheld, withhold
from assay.simple.model import Kind

_MAX_INSTANT = datetime.max.replace(tzinfo=UTC)


def withhold_incomplete_releases(
    verdicts: list[Verdict], all_facts: list[FileFacts], rule: CompiledRule, now: datetime
) -> None:
    """Withhold, in place, each approved source archive of a version of which some wheel is withheld."""
    wheels: dict[Version, list[Verdict]] = {}
    for verdict in verdicts:
        distribution = verdict.file.distribution
        if distribution is not None and distribution.kind is Kind.WHEEL:
            wheels.setdefault(distribution.version, []).append(verdict)
    for place, verdict in enumerate(verdicts):
        distribution = verdict.file.distribution
        if not isinstance(verdict, Approved) or distribution is None or distribution.kind is not Kind.SDIST:
            continue
        if verdict.file.sha256 in rule.pins or _is_waived(all_facts[place], rule, now):
            continue
        siblings = wheels.get(distribution.version, ())
        if withheld := [each for each in siblings if isinstance(each, Withheld)]:
            verdicts[place] = _withhold_sdist(verdict, withheld, rule)
        elif any(isinstance(each, Undecided) for each in siblings):
            verdicts[place] = Undecided(file=verdict.file)


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


def _is_waived(facts: FileFacts, rule: CompiledRule, now: datetime) -> bool:
    return any(
        ReasonCode.FILE_TYPE in each.lifted_codes
        and each.expires > now
        and each.covers(facts.file, facts.effective_time)
        for each in rule.waivers
    )


def _withhold_sdist(verdict: Approved, withheld_wheels: list[Withheld], rule: CompiledRule) -> Withheld:
    heal = [max(reason.until or _MAX_INSTANT for reason in each.reasons) for each in withheld_wheels]
    first = withheld_wheels[0]
    message = (
        f"{first.file.filename} of the same release is withheld ({first.reasons[0].code}), and installers would build "
        'this source archive in its place; ask for a waiver of "release"'
    )
    reason = Reason(
        code=ReasonCode.FILE_TYPE,
        rule=rule.label,
        message=message,
        expected="a release whose wheels are all approved",
        found=f"{len(withheld_wheels)} withheld",
        until=None if _MAX_INSTANT in heal else max(heal),
    )
    return Withheld(
        file=verdict.file,
        reasons=(reason,),
        enforced=False,
        rule=verdict.rule,
        evidence=verdict.evidence,
        changes_at=_earliest((verdict.changes_at, *(each.changes_at for each in withheld_wheels))),
    )


def _earliest(instants: Iterable[datetime | None]) -> datetime | None:
    return min((each for each in instants if each is not None), default=None)
