"""Reader of histories from the tables of the ledger, also of earlier schema versions."""

from __future__ import annotations

import sqlite3

from assay.ports import ForgottenNote, ProjectHistory
from assay.simple.model import NormalizedName
from assay.store.ledger.history import StoredFacts, build_history
from assay.store.ledger.rows import DigestCache, TimeCache, decode_forgotten

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
    key, *serial = found
    return build_history(_select_facts(database, schema_version, key, tuple(serial)))


def _select_facts(
    database: sqlite3.Connection,
    schema_version: int,
    key: int,
    serial: tuple[int | None, str | None, int | None, int],
) -> StoredFacts:
    """Return the rows of one project, which are read when they are iterated."""
    has_versions = schema_version >= _FORGOTTEN_SCHEMA_VERSION
    version = "version" if has_versions else "0"
    corrected = "corrected" if schema_version >= _CORRECTED_SCHEMA_VERSION else "0"
    forgotten = "SELECT version, what, filename, sha256, found, reason, at FROM forgotten WHERE project = ? ORDER BY 1"
    publishers = (
        f"SELECT trust_root, issuer, subject, logged, existed, {version} FROM publishers WHERE project = ?"  # noqa: S608 - constant
        " ORDER BY trust_root, issuer, subject, 6"
    )
    return StoredFacts(
        serial=serial,
        forgotten=database.execute(forgotten, (key,)) if has_versions else (),
        files=database.execute(
            f"SELECT filename, sha256, first_seen, late, {corrected}, {version} FROM files"  # noqa: S608 - constants
            " WHERE project = ? ORDER BY 1, 6",
            (key,),
        ),
        signers=database.execute(
            f"SELECT trust_root, issuer, subject, filename, sha256, logged, {version} FROM established"  # noqa: S608 - constant
            " WHERE project = ? ORDER BY filename, sha256, trust_root, issuer, subject, 7",
            (key,),
        ),
        publishers=database.execute(publishers, (key,)) if schema_version >= _PUBLISHERS_SCHEMA_VERSION else (),
        evidence=database.execute(
            f"SELECT sha256, document, {version} FROM evidence WHERE project = ? ORDER BY sha256",  # noqa: S608 - constant
            (key,),
        ),
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
