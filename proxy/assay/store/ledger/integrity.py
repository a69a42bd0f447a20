"""Digests of the ledger's rows, by which a damaged row is found when the ledger is opened.

Each row has a digest of its values. The digests do not protect against a program that may write to the storage
directory: they find bytes that the disk or an incomplete copy has changed. Without them, a changed first digest would
withhold a good file as ``digest-changed``, and a changed project name would let the project begin without history.
"""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from pathlib import Path
from typing import Final

from assay.errors import LedgerError

_DIGEST_BYTES: Final = 8
_MAX_NAMED: Final = 3
"""Maximum number of projects that an error names."""
SEALED_COLUMNS: Final = {
    "projects": ("id", '"index"', "project", "serial", "serial_url", "rollback_since", "serial_version"),
    "files": ("project", "filename", "version", "sha256", "first_seen", "late", "corrected"),
    "established": ("project", "filename", "sha256", "trust_root", "issuer", "subject", "version", "logged"),
    "publishers": ("project", "trust_root", "issuer", "subject", "version", "logged", "existed"),
    "evidence": ("project", "sha256", "document", "version"),
    "forgotten": ("project", "version", "what", "filename", "sha256", "found", "reason", "at"),
}
"""For each table, the columns that the digest of a row covers. `forgotten.announced` changes and is left out."""


def register_digest(database: sqlite3.Connection) -> None:
    """Define the SQL function `row_digest` for a connection."""
    database.create_function("row_digest", 1, _compute_digest, deterministic=True)


def _compute_digest(text: str) -> bytes:
    return blake2b(text.encode("ascii"), digest_size=_DIGEST_BYTES).digest()


def make_digest_expression(table: str) -> str:
    """Return the SQL expression for the digest of a row, from its columns."""
    # hex() works for every type and for bytes that are no UTF-8; typeof() distinguishes equal bytes of other types.
    values = "||','||".join(f"typeof({column})||hex({column})" for column in SEALED_COLUMNS[table])
    return f"row_digest('{table}:'||{values})"


def make_insert(table: str, more: str = "") -> str:
    """Return the statement that inserts a row with its digest.

    Its parameters are the columns in `SEALED_COLUMNS`. `more` is what follows, such as ``ON CONFLICT``.
    """
    columns = ", ".join(SEALED_COLUMNS[table])
    values = ", ".join(f"? AS {column}" for column in SEALED_COLUMNS[table])
    return (
        f"INSERT INTO {table} ({columns}, digest) SELECT {columns}, {make_digest_expression(table)}"  # noqa: S608 - constants
        f" FROM (SELECT {values}) WHERE true {more}"
    )


def make_sealing(table: str) -> str:
    """Return the statement that sets the digests of changed rows; the caller appends a condition."""
    return f"UPDATE {table} SET digest = {make_digest_expression(table)}"  # noqa: S608 - constants


def check_rows(database: sqlite3.Connection, path: Path) -> None:
    """Check the digest of every row.

    Raises:
        LedgerError: a row does not match its digest; the message names its project.
        sqlite3.Error: the database cannot be read.
    """
    for table in SEALED_COLUMNS:
        key = "id" if table == "projects" else "project"
        damaged = f"SELECT DISTINCT {key} FROM {table} WHERE digest IS NOT {make_digest_expression(table)} LIMIT ?"  # noqa: S608 - constants
        _require_none(database, path, table, database.execute(damaged, (_MAX_NAMED + 1,)).fetchall())
    # A damaged entry of the index would hide a project, and quick_check does not compare indexes with their tables.
    hidden = (
        "SELECT id FROM projects p NOT INDEXED"
        " WHERE NOT EXISTS (SELECT 1 FROM projects q INDEXED BY sqlite_autoindex_projects_1"
        ' WHERE q."index" = p."index" AND q.project = p.project AND q.id = p.id) LIMIT ?'
    )
    _require_none(database, path, "projects", database.execute(hidden, (_MAX_NAMED + 1,)).fetchall())


def _require_none(database: sqlite3.Connection, path: Path, table: str, keys: list[tuple[int]]) -> None:
    if not keys:
        return
    names = [_name_project(database, key) for (key,) in keys[:_MAX_NAMED]]
    more = " and others" if len(keys) > _MAX_NAMED else ""
    raise LedgerError(
        f"the ledger {path} is damaged: facts about {', '.join(names)}{more} (table {table}) do not match their"
        " digests; restore the file from a backup, or move it away and import an export with: assay ledger import FILE"
        " --new-ledger"
    )


def _name_project(database: sqlite3.Connection, key: int) -> str:
    query = 'SELECT CAST(project AS BLOB), CAST("index" AS BLOB) FROM projects WHERE id = ?'
    found = database.execute(query, (key,)).fetchone()
    if found is None:
        return "an unknown project"
    project, index = (ascii((value or b"").decode("utf-8", "replace"))[1:-1] for value in found)
    return f"{project} on the index {index}"
