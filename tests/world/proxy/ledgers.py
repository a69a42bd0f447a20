"""Changes of every kind for a ledger, and its text."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from assay.ports import HistoryChanges
from assay.store.ledger.integrity import SEALED_COLUMNS
from assay.store.ledger.ledger import SqliteLedger
from tests.contract.ledger_contract import digest, publisher, seen, signer

LedgerFactory: TypeAlias = Callable[..., Awaitable[SqliteLedger]]

FULL_CHANGES = HistoryChanges(
    serial=7,
    files={"a-1.tar.gz": seen("a"), "b\ud800\n.whl": seen("b", late=True)},
    signers=(signer("a-1.tar.gz"), signer("b", subject="email:a@example.org")),
    publishers=(publisher(),),
    evidence={digest("a"): "1" * 64, digest("b"): "2" * 64},
)


async def export_lines(ledger: SqliteLedger) -> list[str]:
    return [line async for line in ledger.export()]


_TABLES_OF_VERSION_3 = {
    "files": """CREATE TABLE files (
        project INTEGER NOT NULL REFERENCES projects, filename BLOB NOT NULL, sha256 BLOB NOT NULL,
        first_seen INTEGER NOT NULL, late INTEGER NOT NULL, corrected INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (project, filename)
    ) WITHOUT ROWID""",
    "established": """CREATE TABLE established (
        project INTEGER NOT NULL REFERENCES projects, filename BLOB NOT NULL, sha256 BLOB NOT NULL,
        trust_root TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, logged INTEGER NOT NULL,
        PRIMARY KEY (project, filename, sha256, trust_root, issuer, subject)
    ) WITHOUT ROWID""",
    "publishers": """CREATE TABLE publishers (
        project INTEGER NOT NULL REFERENCES projects, trust_root TEXT NOT NULL, issuer TEXT NOT NULL,
        subject TEXT NOT NULL, logged INTEGER NOT NULL, existed INTEGER NOT NULL,
        PRIMARY KEY (project, trust_root, issuer, subject)
    ) WITHOUT ROWID""",
}


def make_older(path: Path, version: int = 1) -> None:
    """Turn a ledger into one of an earlier schema version.

    Version 4 lacks the digests of rows. Version 3 also lacks the table `forgotten` and the versions of facts. Version 2
    also lacks the columns `files.corrected`, `projects.serial_url` and `projects.rollback_since`. Version 1 also lacks
    the table `publishers`.
    """
    with closing(sqlite3.connect(path)) as connection:
        for table in SEALED_COLUMNS:
            connection.execute(f"ALTER TABLE {table} DROP COLUMN digest")
        if version < 4:
            _remove_versions(connection)
        if version < 3:
            for table, column in (("files", "corrected"), ("projects", "serial_url"), ("projects", "rollback_since")):
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        if version < 2:
            connection.execute("DROP TABLE publishers")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()


def _remove_versions(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE forgotten")
    for table, statement in _TABLES_OF_VERSION_3.items():
        connection.execute(f"ALTER TABLE {table} RENAME TO new_{table}")
        connection.execute(statement)
        columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))
        connection.execute(f"INSERT INTO {table} SELECT {columns} FROM new_{table}")  # noqa: S608 - constants
        connection.execute(f"DROP TABLE new_{table}")
    connection.execute("ALTER TABLE projects DROP COLUMN serial_version")
    connection.execute("ALTER TABLE evidence DROP COLUMN version")
