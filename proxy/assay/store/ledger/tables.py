"""Tables of the ledger and their migration.

The schema has a version, SQLite's ``user_version``. A ledger of an earlier version is migrated when it is opened for
writing, in one transaction, and a copy of it is kept beside it. A ledger of a later version is refused.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from assay.errors import LedgerError
from assay.store.ledger.integrity import SEALED_COLUMNS, check_rows, make_sealing, register_digest

_APPLICATION_ID = 0x41535359
"""``ASSY`` as SQLite's application_id, which marks a ledger of Assay."""
SCHEMA_VERSION = 5
"""Current version of the tables. Version 1 had no table `publishers`. Version 2 had no columns `files.corrected`,
`projects.serial_url` and `projects.rollback_since`. Version 3 had no table `forgotten`, and no versions of facts.
Version 4 had no digests of rows."""
_SEALED_SCHEMA_VERSION = 5
"""First schema version with digests of rows."""
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",  # in WAL mode, a lower level may lose the last transactions at a power failure
    "foreign_keys = ON",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "mmap_size = 0",
    f"journal_size_limit = {16 * 2**20}",
)
# Names from an index are bytes, because they may contain NUL and lone surrogates. The `version` of a fact is that of
# the project's last row in `forgotten` when the fact was written. The columns of a primary key come first: otherwise,
# quick_check of older SQLite reports damage in tables without rowid.
_FILES_TABLE = """CREATE TABLE files (
    project INTEGER NOT NULL REFERENCES projects, filename BLOB NOT NULL, version INTEGER NOT NULL DEFAULT 0,
    sha256 BLOB NOT NULL, first_seen INTEGER NOT NULL, late INTEGER NOT NULL, corrected INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project, filename, version)
) WITHOUT ROWID"""
_ESTABLISHED_TABLE = """CREATE TABLE established (
    project INTEGER NOT NULL REFERENCES projects, filename BLOB NOT NULL, sha256 BLOB NOT NULL,
    trust_root TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 0,
    logged INTEGER NOT NULL,
    PRIMARY KEY (project, filename, sha256, trust_root, issuer, subject, version)
) WITHOUT ROWID"""
_PUBLISHERS_TABLE = """CREATE TABLE publishers (
    project INTEGER NOT NULL REFERENCES projects, trust_root TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 0, logged INTEGER NOT NULL, existed INTEGER NOT NULL,
    PRIMARY KEY (project, trust_root, issuer, subject, version)
) WITHOUT ROWID"""
_FORGOTTEN_TABLE = """CREATE TABLE forgotten (
    project INTEGER NOT NULL REFERENCES projects, version INTEGER NOT NULL, what TEXT NOT NULL, filename BLOB,
    sha256 BLOB, found TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL, announced INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project, version)
) WITHOUT ROWID"""
_DIGEST_COLUMNS = tuple(f"ALTER TABLE {table} ADD COLUMN digest BLOB" for table in SEALED_COLUMNS)
_TABLES = (
    """CREATE TABLE projects (
        id INTEGER PRIMARY KEY, "index" TEXT NOT NULL, project TEXT NOT NULL, serial INTEGER,
        serial_url TEXT, rollback_since INTEGER, serial_version INTEGER NOT NULL DEFAULT 0,
        UNIQUE ("index", project)
    )""",
    _FILES_TABLE,
    _ESTABLISHED_TABLE,
    _PUBLISHERS_TABLE,
    """CREATE TABLE evidence (
        project INTEGER NOT NULL REFERENCES projects, sha256 BLOB NOT NULL, document TEXT NOT NULL,
        version INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (project, sha256)
    ) WITHOUT ROWID""",
    _FORGOTTEN_TABLE,
    *_DIGEST_COLUMNS,
)


def _rebuild(table: str, statement: str, columns: str) -> tuple[str, ...]:
    """Return the statements that give a table a new primary key and keep its rows."""
    return (
        f"ALTER TABLE {table} RENAME TO old_{table}",
        statement,
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM old_{table}",  # noqa: S608 - constants
        f"DROP TABLE old_{table}",
    )


_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE publishers (
            project INTEGER NOT NULL REFERENCES projects, trust_root TEXT NOT NULL, issuer TEXT NOT NULL,
            subject TEXT NOT NULL, logged INTEGER NOT NULL, existed INTEGER NOT NULL,
            PRIMARY KEY (project, trust_root, issuer, subject)
        ) WITHOUT ROWID""",
    ),
    (
        "ALTER TABLE files ADD COLUMN corrected INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE projects ADD COLUMN serial_url TEXT",
        "ALTER TABLE projects ADD COLUMN rollback_since INTEGER",
    ),
    (
        "ALTER TABLE projects ADD COLUMN serial_version INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE evidence ADD COLUMN version INTEGER NOT NULL DEFAULT 0",
        *_rebuild("files", _FILES_TABLE, "project, filename, sha256, first_seen, late, corrected"),
        *_rebuild("established", _ESTABLISHED_TABLE, "project, filename, sha256, trust_root, issuer, subject, logged"),
        *_rebuild("publishers", _PUBLISHERS_TABLE, "project, trust_root, issuer, subject, logged, existed"),
        _FORGOTTEN_TABLE,
    ),
    (*_DIGEST_COLUMNS, *(make_sealing(table) for table in SEALED_COLUMNS)),
)
"""Statements that bring the tables from each version to the next, from version 1 on."""


class Transaction:
    """Context manager of a transaction, which locks the database for writing when it begins."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        """Begin the transaction."""
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Commit the transaction, or roll it back after an error."""
        if kind is None:
            try:
                self._database.execute("COMMIT")
            except sqlite3.Error:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        # After an error such as a full disk, SQLite may have rolled back already. The first error is the one to report.
        with suppress(sqlite3.Error):
            self._database.execute("ROLLBACK")


def prepare_database(database: sqlite3.Connection, path: Path, *, may_create: bool) -> int:
    """Configure a database and check its integrity; create the tables if it is new.

    Returns:
        The version of its schema, which may be an earlier one.

    Raises:
        LedgerError: the database is unexpectedly empty, damaged, of a later version, or not a ledger of Assay.
        sqlite3.Error: the file is not a SQLite database.
    """
    for pragma in _PRAGMAS:
        database.execute(f"PRAGMA {pragma}").fetchall()
    register_digest(database)
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and may_create:
        with Transaction(database):
            for table in _TABLES:
                database.execute(table)
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        raise LedgerError(f"{path} is not a ledger of Assay; restore it, or import an export into a new directory")
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {path} has schema version {version}, but this Assay knows versions up to {SCHEMA_VERSION}"
            " only; install the Assay that wrote it, or restore the copy that was kept beside it"
        )
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise LedgerError(f"the ledger {path} is damaged ({found}); restore it, or import an export")
    if version >= _SEALED_SCHEMA_VERSION:
        check_rows(database, path)
    return int(version)


def get_copy_path(path: Path, version: int) -> Path:
    """Return the path of the copy that is made before a ledger is migrated.

    `path` is the path of the ledger, and `version` is its schema version before the migration.
    """
    return path.with_name(f"{path.stem}-schema-{version}{path.suffix}")


def _keep_copy(database: sqlite3.Connection, copy_path: Path) -> None:
    """Write a durable copy of the database to `copy_path`. The complete copy replaces an earlier copy.

    Raises:
        LedgerError: the copy cannot be written.
    """
    temporary = copy_path.with_name(f"{copy_path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(temporary, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = FULL").fetchall()
            database.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, without a write-ahead log beside it
        _sync(temporary)
        temporary.replace(copy_path)
        _sync(copy_path.parent)
    except (sqlite3.Error, OSError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise LedgerError(
            f"the ledger cannot be migrated, because its copy {copy_path} cannot be written: {error}; nothing was"
            " changed"
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def migrate_database(database: sqlite3.Connection, path: Path, version: int) -> None:
    """Copy the database, and then migrate it from `version` to `SCHEMA_VERSION` in one transaction.

    Raises:
        LedgerError: the copy cannot be written; nothing was changed.
        sqlite3.Error: the tables cannot be changed; nothing was changed.
    """
    _keep_copy(database, get_copy_path(path, version))
    with Transaction(database):
        for statements in _MIGRATIONS[version - 1 :]:
            for statement in statements:
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
