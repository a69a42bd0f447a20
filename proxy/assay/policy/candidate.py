"""What is on the table when a file is judged: the page's circumstances, the file's proven attestations, its time. Pure.

A file's time is the latest of its upload-time, the log time of its first counted publish attestation, and its first
sight if an earlier page of the project lacked the file (docs/policy-semantics.md, "Time").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

from assay.evidence import PUBLISH_PREDICATE_TYPE, Attestation, Attested, Evidence, PublisherIdentity
from assay.policy.continuity import RatchetState
from assay.policy.verdict import Reason
from assay.ports import EstablishedIdentity, ProjectHistory, SeenFile
from assay.simple.model import File, NormalizedName, ProjectStatus, Sha256

T = TypeVar("T")

_ORIGIN_PATTERN = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """What policy needs to know of an index."""

    name: str
    hosts: frozenset[str]
    """Lower-case ``host[:port]`` that the index may use for files, metadata and provenance."""

    def owns(self, origin: str) -> bool:
        """Whether ``https://host[:port]/`` is the index's, without user information."""
        match = _ORIGIN_PATTERN.fullmatch(origin)
        if match is None:
            return False
        host, port = match[1].lower(), match[2]
        default = "443" if origin.startswith("https") else "80"
        return f"{host}:{port or default}" in self.hosts or (port in {None, default} and host in self.hosts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContext:
    """The circumstances of a page, the same for all files but for `ratchet_state`, which grows in order of time."""

    project: NormalizedName
    index: IndexFacts
    status: ProjectStatus | None = None
    files: tuple[File, ...] = ()
    """All files of the page, as it lists them."""
    history: ProjectHistory = field(default_factory=ProjectHistory)
    ratchet_state: RatchetState = field(default_factory=RatchetState)
    repeated_filenames: frozenset[str] = frozenset()
    """Filenames listed more than once with different digests."""
    mismatched_wheels: frozenset[Sha256] = frozenset()
    """Wheels whose own METADATA contradicts the index's."""
    established_by_file: Mapping[tuple[str, Sha256 | None], tuple[EstablishedIdentity, ...]] = field(
        default_factory=dict
    )
    """`history.established` by file, of those that the page still lists."""
    origin_ownership: dict[str, bool] = field(default_factory=dict)
    """Scheme and authority of addresses met on this page, and whether they are the index's: thousands share one."""
    index_origins: tuple[str, ...] = field(init=False)
    """How most addresses on hosts of the index begin."""
    _computed: dict[Callable[[PageContext], Any], Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Lay out what every file is held against."""
        usual = (f"{scheme}://{host}/" for scheme in ("https", "http") for host in sorted(self.index.hosts))
        object.__setattr__(self, "index_origins", tuple(origin for origin in usual if self.index.owns(origin)))

    def compute_once(self, compute: Callable[[PageContext], T]) -> T:
        """Return what `compute` finds out about the page; it is called for the first file that needs it."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        return cast("T", self._computed[compute])


@dataclass(slots=True)
class FileFacts:
    """One file with what is known of it."""

    file: File
    evidence: Evidence | None
    relevant_attestations: tuple[Attestation, ...]
    """The attestations that count: the governing rule's publishers', or all Trusted Publishers' where it names none."""
    provenance_failures: tuple[Reason, ...]
    """What the attestations lack of what the rule asks for."""
    effective_time: datetime | None
    logged_at: datetime | None
    """When the log took the file's own attestation, whatever it states: by then the file existed."""
    ledger_entry: SeenFile | None
    """What the ledger remembers of its name."""
    has_familiar_signer: bool = False
    """It is signed exactly as files before it, by somebody who was established when it was logged."""
    is_duplicate: bool = False
    """The same file with the same digest stands earlier on the page."""
    signers: dict[PublisherIdentity, datetime] | None = None
    """Who is proven to have signed it, and when, once `signers.find_signers` has found out."""


def gather_facts(
    file: File,
    evidence: Evidence | None,
    selected: tuple[tuple[Attestation, ...], tuple[Reason, ...]],
    context: PageContext,
    now: datetime,
) -> FileFacts:
    """Return what is known of a file; `selected` are its attestations that count, and what they lack."""
    seen = context.history.files.get(file.filename)
    time = (
        file.upload_time if seen is not None and not seen.late else compute_base_time(file, seen, context.history, now)
    )
    counted, failures = selected
    if not isinstance(evidence, Attested):
        return FileFacts(file, evidence, counted, failures, time, None, seen)
    if len(evidence.attestations) == 1:
        only = evidence.attestations[0]
        logged: datetime | None = only.integrated_time
        published = logged if counted and only.predicate_type == PUBLISH_PREDICATE_TYPE else None
    else:
        # The first, so that an attestation added later doesn't make a file look backdated.
        logged = _find_first_logged(evidence.attestations)
        published = _find_first_logged(each for each in counted if each.predicate_type == PUBLISH_PREDICATE_TYPE)
    if published is not None and (time is None or published > time):
        time = published
    return FileFacts(file, evidence, counted, failures, time, logged, seen)


def compute_base_time(file: File, seen: SeenFile | None, history: ProjectHistory, now: datetime) -> datetime | None:
    """A file's time so far as it is known without evidence, which can only make it later."""
    time = file.upload_time
    if seen is not None:
        if not seen.late:
            return time
        first_seen = seen.first_seen
    elif history.known:
        first_seen = now
    else:
        return time
    return first_seen if time is None or first_seen > time else time


def compute_existence_time(facts: FileFacts, now: datetime) -> datetime:
    """The file's time; where it has none, when it was first seen: what hides its time gains nothing by it."""
    if facts.effective_time is not None:
        return facts.effective_time
    return now if facts.ledger_entry is None else facts.ledger_entry.first_seen


def _find_first_logged(attestations: Iterable[Attestation]) -> datetime | None:
    return min((each.integrated_time for each in attestations), default=None)
