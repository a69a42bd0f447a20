"""Reader of histories from the tables of the ledger, also of earlier schema versions."""

from __future__ import annotations

import sqlite3
from types import MappingProxyType

from assay.evidence import PublisherIdentity
from assay.ports import (
    EstablishedPublisher,
    FileSigner,
    ForgottenFacts,
    ForgottenNote,
    ProjectHistory,
    SeenFile,
)
from assay.simple.model import NormalizedName, Sha256
from assay.store.ledger.forgetting import Forgetting
from assay.store.ledger.rows import DigestCache, TimeCache, decode_forgotten, decode_name, get_signer_key

_PUBLISHERS_SCHEMA_VERSION = 2
"""First schema version with the table `publishers`. A ledger that is opened only for reading may have an earlier
version."""
_CORRECTED_SCHEMA_VERSION = 3
"""First schema version with the columns `files.corrected`, `projects.serial_url` and `projects.rollback_since`."""
_FORGOTTEN_SCHEMA_VERSION = 4
"""First schema version with the table `forgotten` and with versions of facts."""


def load_history(
    database: sqlite3.Connection, schema_version: int, index: str, project: NormalizedName
) -> ProjectHistory:
    """Return the facts about a project that count; an empty history if the database has none.

    Raises:
        LedgerError: a value is invalid.
        sqlite3.Error: the database cannot be read.
    """
    more = "serial_url, rollback_since" if schema_version >= _CORRECTED_SCHEMA_VERSION else "NULL, NULL"
    version = "serial_version" if schema_version >= _FORGOTTEN_SCHEMA_VERSION else "0"
    found = database.execute(
        f'SELECT id, serial, {more}, {version} FROM projects WHERE "index" = ? AND project = ?',  # noqa: S608 - constant
        (index, project),
    ).fetchone()
    if found is None:
        return ProjectHistory()
    key, serial, serial_url, rollback_since, serial_version = found
    reader = _HistoryReader(database, schema_version, key)
    if not reader.forgetting.counts_serial(serial, serial_version):
        serial = serial_url = rollback_since = None
    return ProjectHistory(
        serial=serial,
        serial_url=serial_url,
        rollback_since=None if rollback_since is None else reader.times[rollback_since],
        files=MappingProxyType(reader.load_files()),
        signers=reader.load_signers(),
        publishers=reader.load_publishers(),
        evidence=MappingProxyType(reader.load_evidence()),
        known=True,
        forgotten=reader.forgotten,
        version=reader.forgotten.version,
    )


def load_unannounced(database: sqlite3.Connection) -> tuple[ForgottenNote, ...]:
    """Return the statements that are neither in the log nor in the audit trail, in a stable order.

    Raises:
        LedgerError: a value is invalid.
        sqlite3.Error: the database cannot be read.
    """
    times, digests = TimeCache(), DigestCache()
    rows = database.execute(
        'SELECT p."index", p.project, f.version, what, filename, sha256, found, reason, at FROM forgotten f'
        " JOIN projects p ON p.id = f.project WHERE NOT announced ORDER BY 1, 2, 3"
    )
    return tuple(
        ForgottenNote(
            index=index, project=NormalizedName(project), fact=decode_forgotten(tuple(columns), times, digests)
        )
        for index, project, *columns in rows
    )


def load_versions(database: sqlite3.Connection) -> dict[tuple[str, NormalizedName], int]:
    """Return the version of the last statement about each project that has one.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    rows = database.execute(
        'SELECT p."index", p.project, max(f.version) FROM forgotten f JOIN projects p ON p.id = f.project'
        " GROUP BY f.project"
    )
    return {(index, NormalizedName(project)): version for index, project, version in rows}


class _HistoryReader:
    """Reader of the rows of one project.

    Attributes:
        forgotten: the statements that facts no longer count.
        forgetting: the same, as rules.
        times: cache of times.
    """

    def __init__(self, database: sqlite3.Connection, schema_version: int, key: int) -> None:
        self._database = database
        self._schema_version = schema_version
        self._key = key
        self.times, self._digests = TimeCache(), DigestCache()
        has_versions = schema_version >= _FORGOTTEN_SCHEMA_VERSION
        self._version = "version" if has_versions else "0"
        self.forgotten = self._load_forgotten() if has_versions else ForgottenFacts()
        self.forgetting = Forgetting(self.forgotten.rows)

    def _load_forgotten(self) -> ForgottenFacts:
        rows = self._database.execute(
            "SELECT version, what, filename, sha256, found, reason, at FROM forgotten WHERE project = ?"
            " ORDER BY version",
            (self._key,),
        )
        return ForgottenFacts(tuple(decode_forgotten(row, self.times, self._digests) for row in rows))

    def load_files(self) -> dict[str, SeenFile]:
        corrected = "corrected" if self._schema_version >= _CORRECTED_SCHEMA_VERSION else "0"
        rows = self._database.execute(
            f"SELECT filename, sha256, first_seen, late, {corrected}, {self._version} FROM files"  # noqa: S608 - constants
            " WHERE project = ? ORDER BY 1, 6",
            (self._key,),
        )
        found: dict[str, SeenFile] = {}
        for name, stored, first_seen, late, is_corrected, version in rows:
            filename, sha256 = decode_name(name), self._digests[stored]
            if self.forgetting.counts_digest(filename, sha256, version):
                seen = SeenFile(
                    sha256=sha256, first_seen=self.times[first_seen], late=bool(late), corrected=bool(is_corrected)
                )
                found[filename] = self.forgetting.adjust_time(filename, seen, version) if self.forgotten.rows else seen
        return found

    def load_signers(self) -> tuple[FileSigner, ...]:
        identities = dict[tuple[str, str, str], PublisherIdentity]()
        found: dict[tuple[str, str, PublisherIdentity], FileSigner] = {}
        for root, issuer, subject, filename, stored, logged, version in self._database.execute(
            f"SELECT trust_root, issuer, subject, filename, sha256, logged, {self._version} FROM established"  # noqa: S608 - constant
            " WHERE project = ? ORDER BY filename, sha256, trust_root, issuer, subject, 7",
            (self._key,),
        ):
            identity = identities.get((root, issuer, subject))
            if identity is None:
                identity = PublisherIdentity(trust_root=root, issuer=issuer, subject=subject)
                identities[root, issuer, subject] = identity
            signer = FileSigner(
                identity=identity,
                filename=decode_name(filename),
                sha256=self._digests[stored],
                logged=self.times[logged],
            )
            if self.forgetting.counts_signer(signer, version):
                found[get_signer_key(signer)] = signer
        return tuple(found.values())

    def load_publishers(self) -> tuple[EstablishedPublisher, ...]:
        if self._schema_version < _PUBLISHERS_SCHEMA_VERSION:
            return ()
        found: dict[PublisherIdentity, EstablishedPublisher] = {}
        for root, issuer, subject, logged, existed, version in self._database.execute(
            f"SELECT trust_root, issuer, subject, logged, existed, {self._version} FROM publishers WHERE project = ?"  # noqa: S608 - constant
            " ORDER BY trust_root, issuer, subject, 6",
            (self._key,),
        ):
            publisher = EstablishedPublisher(
                identity=PublisherIdentity(trust_root=root, issuer=issuer, subject=subject),
                logged=self.times[logged],
                existed=self.times[existed],
            )
            if self.forgetting.counts_publisher(publisher, version):
                found[publisher.identity] = publisher
        return tuple(found.values())

    def load_evidence(self) -> dict[Sha256, str]:
        rows = self._database.execute(
            f"SELECT sha256, document, {self._version} FROM evidence WHERE project = ? ORDER BY sha256",  # noqa: S608 - constant
            (self._key,),
        )
        return {
            self._digests[stored]: document
            for stored, document, version in rows
            if self.forgetting.counts_evidence(self._digests[stored], document, version)
        }
