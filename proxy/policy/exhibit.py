"""What is on the table when a file is judged: the page's circumstances, the file's proven attestations, its time. Pure.

"A file's time is the latest of its upload-time, the log time of its publish attestation, and when it was first seen if
an earlier page of ours lacked it" (POLICY.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from packaging.version import Version

from proxy.evidence import PUBLISH, Attestation, Attested, Evidence
from proxy.policy.compiled import Terms
from proxy.policy.continuity import Continuity
from proxy.policy.provenance import count
from proxy.policy.verdict import Reason
from proxy.ports import Established, History
from proxy.simple.model import File, NormalizedName, ProjectStatus, Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """What policy needs to know of an index."""

    name: str
    hosts: frozenset[str]
    """Lower-case ``host[:port]`` that the index may use for files, metadata and provenance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The circumstances of a page, the same for all of its files but for `continuity`, which grows in order of time."""

    project: NormalizedName
    index: IndexFacts
    status: ProjectStatus | None = None
    history: History = field(default_factory=History)
    continuity: Continuity = field(default_factory=Continuity)
    repeated: frozenset[str] = frozenset()
    """Filenames listed more than once with different digests."""
    releases: Mapping[Version, datetime] = field(default_factory=dict)
    """When the first file of each version appeared, for `late-files`."""
    mismatched: frozenset[Sha256] = frozenset()
    """Wheels whose own METADATA contradicts the index's."""
    facts: Mapping[tuple[str, Sha256 | None], tuple[Established, ...]] = field(default_factory=dict)
    """`history.established` by file, of those that the page still lists."""
    origins: dict[str, bool] = field(default_factory=dict)
    """Scheme and authority of addresses met on this page, and whether they are the index's: thousands share one."""


@dataclass(slots=True)
class Exhibit:
    """One file with what is known of it."""

    file: File
    evidence: Evidence | None
    counted: tuple[Attestation, ...]
    """The attestations that count: the governing rule's publishers', or all Trusted Publishers' where it names none."""
    doubts: tuple[Reason, ...]
    """What the attestations lack of what the rule asks for."""
    time: datetime | None
    familiar: bool = False
    """It is signed exactly as files before it, by somebody who was established when it was logged."""
    again: bool = False
    """The same file with the same digest stands earlier on the page."""


def exhibit(file: File, evidence: Evidence | None, terms: Terms, context: Context, now: datetime) -> Exhibit:
    """Put a file on the table."""
    counted, doubts = count(evidence, terms)
    time = base_time(file, context.history, now)
    if counted:
        logged = _logged(counted)
        if logged is not None and (time is None or logged > time):
            time = logged
    return Exhibit(file, evidence, counted, doubts, time)


def base_time(file: File, history: History, now: datetime) -> datetime | None:
    """A file's time so far as it is known without evidence, which can only make it later."""
    time = file.upload_time
    seen = history.files.get(file.filename)
    if seen is not None:
        if not seen.late:
            return time
        first_seen = seen.first_seen
    elif history.known:
        first_seen = now
    else:
        return time
    return first_seen if time is None or first_seen > time else time


def existed(exhibit: Exhibit, context: Context, now: datetime) -> datetime:
    """The file's time; where it has none, when it was first seen: what hides its time gains nothing by it."""
    if exhibit.time is not None:
        return exhibit.time
    seen = context.history.files.get(exhibit.file.filename)
    return now if seen is None else seen.first_seen


def logged_first(evidence: Evidence | None) -> datetime | None:
    """When the log took the file's own attestation, whatever it states: by then the file existed.

    Of several the earliest, so that an attestation added later doesn't make a file look backdated.
    """
    if not isinstance(evidence, Attested) or not evidence.attestations:
        return None
    if len(evidence.attestations) == 1:
        return evidence.attestations[0].integrated_time
    return min(each.integrated_time for each in evidence.attestations)


def _logged(attestations: tuple[Attestation, ...]) -> datetime | None:
    if not attestations:
        return None
    if len(attestations) == 1:
        only = attestations[0]
        return only.integrated_time if only.predicate_type == PUBLISH else None
    times = [each.integrated_time for each in attestations if each.predicate_type == PUBLISH]
    return min(times) if times else None
