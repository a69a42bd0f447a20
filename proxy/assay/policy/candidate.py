"""Input of a judgement: facts about the page, and the file with its attestations and times. Pure.

A file's effective time is the latest of these: its upload-time; the log time of its first publish attestation that
counts; its first sight, if an earlier page of the project lacked the file (docs/policy-semantics.md, "Time").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

from assay.advisories.model import Advisory
from assay.evidence import INDEX_SOURCE, PUBLISH_PREDICATE_TYPE, Attestation, Attested, Evidence, PublisherIdentity
from assay.policy.continuity import RatchetState
from assay.policy.verdict import Reason
from assay.ports import FileSigner, ProjectHistory, SeenFile
from assay.simple.model import File, NormalizedName, ProjectStatus, Sha256

T = TypeVar("T")

_ORIGIN_PATTERN = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """Name and permitted hosts of an index."""

    name: str
    hosts: frozenset[str]
    """Lower-case ``host[:port]`` that the index may use for files, metadata and provenance."""

    def owns(self, origin: str) -> bool:
        """Return whether an origin such as ``https://host[:port]/`` is on a host of the index.

        Return False for an origin with user information.
        """
        match = _ORIGIN_PATTERN.fullmatch(origin)
        if match is None:
            return False
        host, port = match[1].lower(), match[2]
        default = "443" if origin.startswith("https") else "80"
        return f"{host}:{port or default}" in self.hosts or (port in {None, default} and host in self.hosts)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """Evidence source beside the indexes."""

    name: str
    publisher_kind: str | None = None
    """Kind of Trusted Publisher about whose repositories the source is asked. None: the source is asked about files
    without regard to a repository."""
    issuer: str = ""
    """OIDC issuer of the publishers that sign for this source, without a slash at the end."""
    repositories: Mapping[NormalizedName, str] = field(default_factory=dict)
    """Configured repository of a project, besides those that rules name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContext:
    """Facts about a page, the same for all of its files.

    `ratchet_state` is the exception: it changes while the files are judged in order of time.
    """

    project: NormalizedName
    index: IndexFacts
    status: ProjectStatus | None = None
    files: tuple[File, ...] = ()
    """All files of the page, in its order."""
    history: ProjectHistory = field(default_factory=ProjectHistory)
    ratchet_state: RatchetState = field(default_factory=RatchetState)
    repeated_filenames: frozenset[str] = frozenset()
    """Filenames listed more than once with different digests."""
    mismatched_wheels: frozenset[Sha256] = frozenset()
    """Digests of wheels whose own METADATA differs from the metadata of the index."""
    advisories: tuple[Advisory, ...] = ()
    """Advisories about the project; empty if the files of the index are not of PyPI's ecosystem."""
    sources: tuple[SourceFacts, ...] = ()
    """Evidence sources beside the index."""
    answered: Mapping[tuple[str, Sha256], frozenset[str]] = field(default_factory=dict)
    """Questions (`assay.evidence.make_question`) that sources have answered, by filename and digest. Their answers are
    part of the evidence."""
    signers_by_file: Mapping[tuple[str, Sha256 | None], tuple[FileSigner, ...]] = field(default_factory=dict)
    """Signers that the ledger has recorded for each file (`history.signers`), by filename and digest."""
    origin_ownership: dict[str, bool] = field(default_factory=dict)
    """Cache of `IndexFacts.owns` by origin, since thousands of URLs of a page share one origin."""
    index_origins: tuple[str, ...] = field(init=False)
    """Origins of the index's hosts, such as ``https://files.example/``. A URL that starts with one of them is on a host
    of the index, so it need not be parsed."""
    _computed: dict[Callable[[PageContext], Any], Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Compute `index_origins`."""
        usual = (f"{scheme}://{host}/" for scheme in ("https", "http") for host in sorted(self.index.hosts))
        object.__setattr__(self, "index_origins", tuple(origin for origin in usual if self.index.owns(origin)))

    def compute_once(self, compute: Callable[[PageContext], T]) -> T:
        """Return `compute(self)`, cached after the first call."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        return cast("T", self._computed[compute])


@dataclass(slots=True)
class FileFacts:
    """One file and the facts by which it is judged."""

    file: File
    evidence: Evidence | None
    relevant_attestations: tuple[Attestation, ...]
    """Attestations that count under the governing rule: those by its publishers. If the rule names no publishers,
    attestations by any Trusted Publisher count."""
    provenance_failures: tuple[Reason, ...]
    """Reasons of the failed attestation checks, such as `publishers` and `predicates`. Empty if the evidence is unknown
    or forged."""
    effective_time: datetime | None
    logged_at: datetime | None
    """Log time of the earliest attestation that the file's own index offers. The file existed by then. None if the
    index offers no verified attestation. Attestations of other sources may have been made long after the upload."""
    ledger_entry: SeenFile | None
    """Entry of the ledger for the filename."""
    has_familiar_signer: bool = False
    """True if an earlier file has the same signer key (`continuity.SignerKey`), and the signer was already established
    when this file's attestation was logged."""
    is_duplicate: bool = False
    """True if another page entry has the same filename and digest and represents the file. This entry is then withheld
    as a duplicate."""
    signers: dict[PublisherIdentity, datetime] | None = None
    """Proven signers and their log times, cached by `signers.find_signers`."""


def gather_facts(
    file: File,
    evidence: Evidence | None,
    selected: tuple[tuple[Attestation, ...], tuple[Reason, ...]],
    context: PageContext,
    now: datetime,
) -> FileFacts:
    """Return the facts about a file.

    `selected` is the result of `assay.policy.provenance.select_attestations` for the file: the attestations that count,
    and the reasons of the failed attestation checks.
    """
    seen = context.history.files.get(file.filename)
    time = (
        file.upload_time if seen is not None and not seen.late else compute_base_time(file, seen, context.history, now)
    )
    counted, failures = selected
    if not isinstance(evidence, Attested):
        return FileFacts(file, evidence, counted, failures, time, None, seen)
    if len(evidence.attestations) == 1:
        only = evidence.attestations[0]
        logged = only.integrated_time if only.source == INDEX_SOURCE else None
        published = only.integrated_time if counted and only.predicate_type == PUBLISH_PREDICATE_TYPE else None
    else:
        # The earliest one: an attestation that is added later must not make the file look backdated.
        logged = _find_first_logged(each for each in evidence.attestations if each.source == INDEX_SOURCE)
        published = _find_first_logged(each for each in counted if each.predicate_type == PUBLISH_PREDICATE_TYPE)
    if published is not None and (time is None or published > time):
        time = published
    return FileFacts(file, evidence, counted, failures, time, logged, seen)


def compute_base_time(file: File, seen: SeenFile | None, history: ProjectHistory, now: datetime) -> datetime | None:
    """Return the effective time of a file as far as it is known without evidence; None if no time is known.

    The effective time is the latest of several instants. The evidence can add one instant, so it can only make the
    effective time later.
    """
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
    """Return the effective time of the file, or a substitute if the effective time is unknown.

    The substitute is the first sight of the file according to the ledger, or `now` for a new file. A file that hides
    its time is therefore never treated as older than it is.
    """
    if facts.effective_time is not None:
        return facts.effective_time
    return now if facts.ledger_entry is None else facts.ledger_entry.first_seen


def _find_first_logged(attestations: Iterable[Attestation]) -> datetime | None:
    return min((each.integrated_time for each in attestations), default=None)
