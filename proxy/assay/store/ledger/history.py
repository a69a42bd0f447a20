"""Builder of a project's history from the rows of any engine. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from assay.evidence import PublisherIdentity
from assay.ports import EstablishedPublisher, FileSigner, ForgottenFacts, ProjectHistory, SeenFile
from assay.simple.model import Sha256
from assay.store.ledger.forgetting import Forgetting
from assay.store.ledger.rows import (
    DigestCache,
    ForgottenColumns,
    TimeCache,
    decode_forgotten,
    decode_name,
    get_signer_key,
)

_FileColumns: TypeAlias = tuple[bytes, bytes, int, bool, bool, int]
_SignerColumns: TypeAlias = tuple[str, str, str, bytes, bytes, int, int]
_PublisherColumns: TypeAlias = tuple[str, str, str, int, int, int]
_EvidenceColumns: TypeAlias = tuple[bytes, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFacts:
    """Rows of one project, with the columns in this order. Times are microseconds since 1970.

    The last column is the version of the fact, except in `forgotten`, where it is the first. Rows of the same fact are
    in the order of their versions.
    """

    serial: tuple[int | None, str | None, int | None, int]
    """Serial, its URL, time of the first lower serial."""
    forgotten: Iterable[ForgottenColumns] = ()
    """Kind, filename, digest, found, reason and time, in the order of the versions."""
    files: Iterable[_FileColumns] = ()
    """Filename, digest, first sight, late, corrected."""
    signers: Iterable[_SignerColumns] = ()
    """Trust root, issuer, subject, filename, digest, log time."""
    publishers: Iterable[_PublisherColumns] = ()
    """Trust root, issuer, subject, log time, time of existence."""
    evidence: Iterable[_EvidenceColumns] = ()
    """Digest of the file, digest of the document."""


def build_history(stored: StoredFacts, *, version: int | None = None) -> ProjectHistory:
    """Return the facts that count.

    Args:
        stored: rows of the project.
        version: version of the history; None: that of the last statement that facts no longer count.

    Raises:
        LedgerError: a value is invalid.
        OverflowError: a time is out of range.
        UnicodeError: a name is invalid.
    """
    return _Builder(stored).build(version)


class _Builder:
    def __init__(self, stored: StoredFacts) -> None:
        self._stored = stored
        self._times, self._digests = TimeCache(), DigestCache()
        rows = tuple(decode_forgotten(row, self._times, self._digests) for row in stored.forgotten)
        self._forgotten = ForgottenFacts(rows)
        self._forgetting = Forgetting(rows)

    def build(self, version: int | None) -> ProjectHistory:
        serial, serial_url, rollback_since, serial_version = self._stored.serial
        if not self._forgetting.counts_serial(serial, serial_version):
            serial = serial_url = rollback_since = None
        return ProjectHistory(
            serial=serial,
            serial_url=serial_url,
            rollback_since=None if rollback_since is None else self._times[rollback_since],
            files=MappingProxyType(self._build_files()),
            signers=self._build_signers(),
            publishers=self._build_publishers(),
            evidence=MappingProxyType(self._build_evidence()),
            known=True,
            forgotten=self._forgotten,
            version=self._forgotten.version if version is None else version,
        )

    def _build_files(self) -> dict[str, SeenFile]:
        found: dict[str, SeenFile] = {}
        for name, stored, first_seen, late, corrected, version in self._stored.files:
            filename, sha256 = decode_name(name), self._digests[stored]
            if self._forgetting.counts_digest(filename, sha256, version):
                seen = SeenFile(
                    sha256=sha256, first_seen=self._times[first_seen], late=bool(late), corrected=bool(corrected)
                )
                found[filename] = (
                    self._forgetting.adjust_time(filename, seen, version) if self._forgotten.rows else seen
                )
        return found

    def _build_signers(self) -> tuple[FileSigner, ...]:
        identities = dict[tuple[str, str, str], PublisherIdentity]()
        found: dict[tuple[str, str, PublisherIdentity], FileSigner] = {}
        for root, issuer, subject, filename, stored, logged, version in self._stored.signers:
            identity = identities.get((root, issuer, subject))
            if identity is None:
                identity = PublisherIdentity(trust_root=root, issuer=issuer, subject=subject)
                identities[root, issuer, subject] = identity
            signer = FileSigner(
                identity=identity,
                filename=decode_name(filename),
                sha256=self._digests[stored],
                logged=self._times[logged],
            )
            if self._forgetting.counts_signer(signer, version):
                found[get_signer_key(signer)] = signer
        return tuple(found.values())

    def _build_publishers(self) -> tuple[EstablishedPublisher, ...]:
        found: dict[PublisherIdentity, EstablishedPublisher] = {}
        for root, issuer, subject, logged, existed, version in self._stored.publishers:
            publisher = EstablishedPublisher(
                identity=PublisherIdentity(trust_root=root, issuer=issuer, subject=subject),
                logged=self._times[logged],
                existed=self._times[existed],
            )
            if self._forgetting.counts_publisher(publisher, version):
                found[publisher.identity] = publisher
        return tuple(found.values())

    def _build_evidence(self) -> dict[Sha256, str]:
        return {
            self._digests[stored]: document
            for stored, document, version in self._stored.evidence
            if self._forgetting.counts_evidence(self._digests[stored], document, version)
        }
