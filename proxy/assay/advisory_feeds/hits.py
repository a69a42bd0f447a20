"""Hits: malware advisories that cover versions that clients got, and those that a person must accept. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.advisories.model import Advisory
from assay.advisories.snapshot import AdvisorySnapshot, Hit
from assay.ports import UsedProject
from assay.simple.fields import parse_version

__all__ = ["UsedHit", "find_used_hits", "select_on_hold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedHit:
    """Malware advisory that covers versions of a project that clients got."""

    advisory: Advisory
    used: UsedProject
    versions: tuple[str, ...]
    """Versions that clients got and that the advisory covers; at least one."""

    @property
    def key(self) -> Hit:
        """Pair of advisory and project."""
        return self.advisory.id, self.used.project


def find_used_hits(snapshot: AdvisorySnapshot, used: Sequence[UsedProject]) -> list[UsedHit]:
    """Return the malware advisories that cover a version that clients got, in the order of `used`."""
    found: list[UsedHit] = []
    for each in used:
        if not each.versions or not snapshot.has_project(each.project):
            continue
        got = [(text, version) for text in each.versions if (version := parse_version(text)) is not None]
        for advisory in snapshot.find(each.project, only_malware=True):
            covered = tuple(text for text, version in got if advisory.covers(each.project, version))
            if covered:
                found.append(UsedHit(advisory=advisory, used=each, versions=covered))
    return found


def select_on_hold(
    before: AdvisorySnapshot, after: AdvisorySnapshot, used: Sequence[UsedProject], max_new_hits: int
) -> frozenset[Hit]:
    """Return the hits of `after` that a person must accept, besides those that are already on hold.

    They are all hits that newly withhold a version that clients got, if they concern more than `max_new_hits` projects;
    else none. A single hit on a used project therefore acts at once.

    A hit that was in force before is never put on hold, because it would then also stop to withhold the versions that
    it withheld before. A feed could otherwise end a record by extending it together with many others.

    Args:
        before: the snapshot in force.
        after: the snapshot that replaces it, with the hits that are already on hold.
        used: the projects of which clients got files, with the versions of these files.
        max_new_hits: maximum number of projects of which one refresh may newly withhold such versions.
    """
    known = {
        (hit.used.project, version)
        for hit in find_used_hits(before, used)
        if hit.advisory.withholds
        for version in hit.versions
    }
    new = [
        hit
        for hit in find_used_hits(after, used)
        if hit.advisory.withholds and any((hit.used.project, version) not in known for version in hit.versions)
    ]
    if len({hit.used.project for hit in new}) <= max_new_hits:
        return frozenset()
    return frozenset(hit.key for hit in new if not _is_in_force(before, hit.key))


def _is_in_force(snapshot: AdvisorySnapshot, hit: Hit) -> bool:
    advisory_id, project = hit
    found = snapshot.find(project, only_malware=True)
    return any(each.id == advisory_id and each.withholds for each in found)
