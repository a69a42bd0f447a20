"""Hits: malware advisories that cover versions that clients got, and those that a person must accept. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from assay.advisories.model import Advisory
from assay.advisories.snapshot import AdvisorySnapshot, FeedSnapshot, Hit
from assay.ports import UsedProject
from assay.simple.fields import parse_version

__all__ = ["HitReview", "UsedHit", "find_used_hits", "review_hits"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HitReview:
    """Hits of a feed's new snapshot on versions that clients got."""

    on_hold: frozenset[Hit]
    """Hits that a person must accept, besides those that are already on hold."""
    in_force: frozenset[Hit]
    """Hits that withhold versions."""


def review_hits(
    before: AdvisorySnapshot,
    previous: FeedSnapshot | Collection[Hit],
    new: FeedSnapshot,
    used: Sequence[UsedProject],
    max_new_hits: int,
) -> HitReview:
    """Return the hits of a feed's new snapshot that a person must accept, and those that withhold versions.

    A person must accept all hits that newly withhold a version that clients got, if they concern more than
    `max_new_hits` projects; else none. A single hit on a used project therefore acts at once.

    A hit of this feed that was in force before is never put on hold, because it would then also stop to withhold the
    versions that it withheld before. A feed could otherwise end a record by extending it together with many others.

    Args:
        before: the snapshot in force, of all feeds.
        previous: the snapshot of this feed that is in force. If it was lost: the hits that were in force with it. The
            versions that they cover do not count as newly withheld.
        new: the snapshot of this feed that replaces it, with the hits that are already on hold.
        used: the projects of which clients got files, with the versions of these files.
        max_new_hits: maximum number of projects of which one refresh may newly withhold such versions.
    """
    known = {
        (hit.used.project, version)
        for hit in find_used_hits(before, used)
        if hit.advisory.withholds
        for version in hit.versions
    }
    stored = frozenset[Hit]() if isinstance(previous, FeedSnapshot) else frozenset(previous)
    acting = [hit for hit in find_used_hits(AdvisorySnapshot([new]), used) if hit.advisory.withholds]
    added = [
        hit
        for hit in acting
        if hit.key not in stored and any((hit.used.project, version) not in known for version in hit.versions)
    ]
    on_hold = frozenset[Hit]()
    if len({hit.used.project for hit in added}) > max_new_hits:
        on_hold = frozenset(
            hit.key for hit in added if not (isinstance(previous, FeedSnapshot) and _is_in_force(previous, hit.key))
        )
    return HitReview(on_hold=on_hold, in_force=frozenset(hit.key for hit in acting) - on_hold)


def _is_in_force(feed: FeedSnapshot, hit: Hit) -> bool:
    advisory_id, project = hit
    return any(each.id == advisory_id and each.withholds for each in feed.find(project, only_malware=True))
