"""Facts about one project that the ledger keeps: values, pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from assay.evidence import PublisherIdentity
from assay.simple.model import Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFile:
    """What the ledger remembers of one filename of a project."""

    sha256: Sha256
    """The digest first seen for this filename; another one later is ``digest-changed``."""
    first_seen: datetime
    late: bool
    """An earlier page of the project did not list it, so `first_seen` bounds its age."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstablishedIdentity:
    """A file of the project whose attestation was approved: what the ratchet is built on."""

    identity: PublisherIdentity
    filename: str
    sha256: Sha256
    logged: datetime
    """Integrated time of the attestation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectHistory:
    """Everything the ledger knows of one project on one index."""

    serial: int | None = None
    """The highest serial seen."""
    files: Mapping[str, SeenFile] = field(default_factory=dict)
    established: tuple[EstablishedIdentity, ...] = ()
    evidence: Mapping[Sha256, str] = field(default_factory=dict)
    """File digest to the digest of the provenance document last judged for it."""
    known: bool = False
    """False when no page of this project was ever judged."""
    version: int = field(default=0, compare=False)
    """Version of the project in the ledger, 0 if the ledger has none; no fact."""

    def has_same_facts(self, other: ProjectHistory) -> bool:
        """Return whether both know the same, in whatever order and version."""
        return self is other or (
            (self.known, self.serial) == (other.known, other.serial)
            and self.files == other.files
            and self.evidence == other.evidence
            and frozenset(self.established) == frozenset(other.established)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryChanges:
    """What one judged page adds to a project's history."""

    serial: int | None = None
    files: Mapping[str, SeenFile] = field(default_factory=dict)
    established: tuple[EstablishedIdentity, ...] = ()
    evidence: Mapping[Sha256, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.files or self.established or self.evidence or self.serial is not None)
