"""Handling of SQLite database files that may be lost: error codes and removal."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

CORRUPT_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""Result codes for a damaged database."""
BROKEN_FILE_CODES: Final = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
"""Result codes after which a database must be opened again."""


def collect_error_codes(error: BaseException | None) -> set[int]:
    """Return the primary SQLite result codes of `error` and of all exceptions in its ``__context__`` chain.

    If an operation fails and the rollback fails too, only the exception of the rollback is raised. The first exception
    is then in the chain.
    """
    codes = set()
    while error is not None:
        codes.add(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        error = error.__context__
    return codes


def remove_database(database: Path) -> None:
    """Remove the database and the files that SQLite keeps beside it.

    Raises:
        OSError: a file cannot be removed.
    """
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def set_aside_database(database: Path, aside: Path) -> None:
    """Rename a damaged database to `aside`, and remove the files that SQLite keeps beside it.

    Raises:
        OSError: a file cannot be renamed or removed.
    """
    database.replace(aside)
    remove_database(database)
