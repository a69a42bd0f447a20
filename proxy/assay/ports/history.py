"""Types of the facts that the ledger keeps about a project. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from assay.evidence import PublisherIdentity
from assay.simple.model import Sha256

MAX_SERIAL: Final = 10**13
"""Highest serial that is believed. PyPI's is below 10^8; a count of milliseconds since 1970 is below 10^13."""
_ROLLBACK_BELIEVED_AFTER = timedelta(days=7)
"""Time after which lower serials are believed. By then, the index could as well have sent the old page with its old
serial; digests, publishers and first-seen times still hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFile:
    """Facts of the ledger about one filename of a project."""

    sha256: Sha256
    """First digest of this filename. A file with another digest is withheld as ``digest-changed``."""
    first_seen: datetime
    late: bool
    """True if an earlier page of the project did not list the file. The age of the file is then never counted
    from before `first_seen`, even if the page states an earlier upload-time."""
    corrected: bool = False
    """True if `first_seen` was once later than the clock, and was set to it. It is corrected only once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSigner:
    """Identity that signed a file. The fact stays, even if the index stops offering the provenance document."""

    identity: PublisherIdentity
    filename: str
    sha256: Sha256
    logged: datetime
    """Integrated time of the attestation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstablishedPublisher:
    """Publisher that was established for a project. The fact stays, whatever happens to the files that it signed."""

    identity: PublisherIdentity
    logged: datetime
    """Integrated time of the attestation that established the publisher."""
    existed: datetime
    """Time at which both the attested file and the attestation existed."""


class ForgottenKind(StrEnum):
    """Kind of fact that no longer counts."""

    PUBLISHERS = "publishers"
    """All established publishers of the project. Attestations logged until then establish none again."""
    SERIAL = "serial"
    FIRST_SEEN = "first-seen"
    """Times of first sight: of one file, or of all files of the project."""
    DIGEST = "digest"
    """First digest of one filename. The filename never gets this digest again."""
    EVIDENCE = "evidence"
    """Provenance document of one file, given by the digest of the file."""
    SIGNERS = "signers"
    """Signers of one filename."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenFact:
    """Statement of an operator that facts of one kind no longer count. The facts themselves stay in the ledger."""

    what: ForgottenKind
    version: int
    """Version of the project's facts. Each statement has a higher version than the facts that it makes invalid. Facts
    recorded later have at least this version."""
    at: datetime
    reason: str
    found: str = ""
    """Fact that no longer counts, as text: the serial, the digest of the provenance document, or a summary."""
    filename: str | None = None
    sha256: Sha256 | None = None
    """Digest of the file, for the kinds `DIGEST` and `EVIDENCE`."""


@dataclass(frozen=True, slots=True)
class ForgottenFacts:
    """All such statements about one project, the earliest first."""

    rows: tuple[ForgottenFact, ...] = ()
    _digests: frozenset[tuple[str | None, Sha256 | None]] = field(init=False, compare=False, repr=False)
    _documents: frozenset[tuple[Sha256 | None, str]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Index the rows."""
        by_kind = {kind: [row for row in self.rows if row.what is kind] for kind in ForgottenKind}
        digests = ((row.filename, row.sha256) for row in by_kind[ForgottenKind.DIGEST])
        documents = ((row.sha256, row.found) for row in by_kind[ForgottenKind.EVIDENCE])
        object.__setattr__(self, "_digests", frozenset(digests))
        object.__setattr__(self, "_documents", frozenset(documents))

    @property
    def version(self) -> int:
        """Version of the last row; 0 without a row."""
        return self.rows[-1].version if self.rows else 0

    def find_last_time(self, what: ForgottenKind) -> datetime | None:
        """Return the time of the last row of a kind; None if there is no such row."""
        return next((row.at for row in reversed(self.rows) if row.what is what), None)

    def has_digest(self, filename: str, sha256: Sha256 | None) -> bool:
        """Return whether a digest of a filename was forgotten."""
        return (filename, sha256) in self._digests

    def has_document(self, sha256: Sha256, document: str | None) -> bool:
        """Return whether the provenance document with the digest `document` was forgotten for a file."""
        return (sha256, document) in self._documents


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectHistory:
    """All facts of the ledger about one project on one index."""

    serial: int | None = None
    """Highest serial of the project's pages so far, or a lower one that was believed later."""
    serial_url: str | None = None
    """URL of the index that sent `serial`. None: not recorded, so `serial` counts for any URL."""
    rollback_since: datetime | None = None
    """Time at which the index first sent a lower serial; None if its last page had no lower one."""
    files: Mapping[str, SeenFile] = field(default_factory=dict)
    signers: tuple[FileSigner, ...] = ()
    publishers: tuple[EstablishedPublisher, ...] = ()
    """Publishers that were established while a page was judged, at most one entry for each identity."""
    evidence: Mapping[Sha256, str] = field(default_factory=dict)
    """For the digest of each file, the digest of the last provenance document for the file."""
    known: bool = False
    """True if a page of this project was ever judged."""
    forgotten: ForgottenFacts = field(default_factory=ForgottenFacts)
    """Statements of operators that some facts no longer count. Those facts are not in this history."""

    version: int = field(default=0, compare=False)
    """Version number of the project's facts in the ledger. If it has changed, the project's page must be judged again.
    In SQLite, it is the version of the last statement in `forgotten`. Histories with different versions can have the
    same facts."""
    is_confirmed: bool = field(default=True, compare=False)
    """False if the ledger is unavailable. This history is then the last one that it confirmed, and may be outdated."""

    def has_same_facts(self, other: ProjectHistory) -> bool:
        """Return whether both have the same facts, regardless of their order."""
        return self is other or (
            (self.known, self.serial, self.serial_url, self.rollback_since)
            == (other.known, other.serial, other.serial_url, other.rollback_since)
            and self.files == other.files
            and self.evidence == other.evidence
            and self.forgotten == other.forgotten
            and frozenset(self.signers) == frozenset(other.signers)
            and frozenset(self.publishers) == frozenset(other.publishers)
        )

    def is_rollback(self, serial: int | None, url: str | None, now: datetime) -> bool:
        """Return whether a page with `serial` from the index at `url` is older than one that was seen before.

        Serials of another URL and serials above `MAX_SERIAL` do not count. An index that has sent lower serials for
        seven days is believed.
        """
        if serial is None or self.serial is None or not serial < self.serial <= MAX_SERIAL:
            return False
        if url is not None and self.serial_url not in {None, url}:
            return False
        return self.rollback_since is None or now - self.rollback_since < _ROLLBACK_BELIEVED_AFTER

    def is_before_forgotten_serial(self, time: datetime) -> bool:
        """Return whether `time` is not after the time at which the serial was last forgotten.

        The serial of a page that was fetched at such a time must not be recorded.
        """
        at = self.forgotten.find_last_time(ForgottenKind.SERIAL)
        return at is not None and time <= at


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryChanges:
    """Facts that one judged page adds to a project's history."""

    serial: int | None = None
    serial_url: str | None = None
    """URL of the index that sent `serial`."""
    replaces_serial: bool = False
    """True if `serial` counts although it may be lower than the recorded one. It then also ends a rollback."""
    rollback_since: datetime | None = None
    """Time at which the index first sent a lower serial. An earlier recorded time is kept."""
    files: Mapping[str, SeenFile] = field(default_factory=dict)
    corrected_times: Mapping[str, datetime] = field(default_factory=dict)
    """New first-seen times by filename. A time that was corrected before stays."""
    signers: tuple[FileSigner, ...] = ()
    publishers: tuple[EstablishedPublisher, ...] = ()
    evidence: Mapping[Sha256, str] = field(default_factory=dict)
    forgotten: tuple[ForgottenFact, ...] = ()
    """Statements that facts no longer count, in an import. A judged page has none."""

    def __bool__(self) -> bool:
        """Return whether there is a fact to write."""
        return bool(
            self.files
            or self.corrected_times
            or self.signers
            or self.publishers
            or self.evidence
            or self.serial is not None
            or self.rollback_since is not None
        )
