"""Guard: which snapshot of a feed is refused, and which hits need a person's acceptance. Pure.

A feed is not signed, so its server, or anyone who controls it, can remove records or name harmless projects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from packaging.version import Version

from assay.advisories.model import Advisory
from assay.advisories.snapshot import AdvisorySnapshot, FeedSnapshot, Hit
from assay.simple.model import NormalizedName

__all__ = ["ServedProject", "UsedHit", "explain_refusal", "find_used_hits", "select_on_hold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedProject:
    """Project of which files were served recently, with the versions of these files."""

    index: str
    project: NormalizedName
    versions: frozenset[Version]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedHit:
    """Malware record that covers versions that were served recently."""

    index: str
    project: NormalizedName
    versions: tuple[Version, ...]
    """Served versions that the record covers, sorted."""
    advisory: Advisory

    @property
    def key(self) -> Hit:
        """Pair of advisory and project."""
        return self.advisory.id, self.project


def explain_refusal(previous: FeedSnapshot, candidate: FeedSnapshot) -> str | None:
    """Return the reason why `candidate` must not replace `previous` until a person accepts it; None if it may.

    A feed only grows, apart from single records. A snapshot that lost a tenth of the records, or whose newest change is
    older than that of the previous snapshot, is incomplete or an old one.
    """
    before, after = previous.feed_count, candidate.feed_count
    if after < before and after * 10 <= before * 9:
        return f"the snapshot has {after} records and the previous one had {before}; at most a tenth may be missing"
    old, new = previous.newest_modified, candidate.newest_modified
    if old is not None and (new is None or new < old):
        found = "missing" if new is None else f"of {_format(new)}"
        return f"the newest change in the snapshot is {found}, before that of the previous one, {_format(old)}"
    return None


def _format(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def find_used_hits(snapshot: AdvisorySnapshot, served: Iterable[ServedProject]) -> Iterator[UsedHit]:
    """Yield the malware records that cover served versions, whether on hold or not."""
    for each in served:
        if not snapshot.has_project(each.project):
            continue
        for advisory in snapshot.find(each.project, only_malware=True):
            covered = sorted(version for version in each.versions if advisory.covers(each.project, version))
            if covered:
                yield UsedHit(index=each.index, project=each.project, versions=tuple(covered), advisory=advisory)


def select_on_hold(
    before: AdvisorySnapshot, after: AdvisorySnapshot, served: Iterable[ServedProject], max_new_hits: int
) -> frozenset[Hit]:
    """Return the hits of `after` that a person must accept, besides those that are already on hold.

    They are all hits that newly withhold a served version, if they concern more than `max_new_hits` projects; else
    none. A single hit on a used project therefore acts at once.

    Args:
        before: the snapshot in force.
        after: the snapshot that replaces it, with the hits that are already on hold.
        served: the projects that were served in the last 30 days.
        max_new_hits: maximum number of projects of which one refresh may newly withhold served versions.
    """
    served = list(served)
    known = {
        (hit.project, version)
        for hit in find_used_hits(before, served)
        if hit.advisory.withholds
        for version in hit.versions
    }
    new = [
        hit
        for hit in find_used_hits(after, served)
        if hit.advisory.withholds and any((hit.project, version) not in known for version in hit.versions)
    ]
    return frozenset(hit.key for hit in new) if len({hit.project for hit in new}) > max_new_hits else frozenset()
