"""Private names of diskcache, as read in 5.6.3, each behind one function.

They are the connection of a cache and the two tables in its database. `find_*_change` tries them on a cache: settings
when it is opened, rows at its first write. Where one fails, `report_change` logs a warning, and `records` uses the
public way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import diskcache

from assay import telemetry

_UPSERT_ROW: Final = """
INSERT INTO Cache (key, raw, store_time, access_time, mode, value) VALUES (?, 1, ?, ?, ?, ?)
ON CONFLICT (key, raw) DO UPDATE SET store_time = excluded.store_time, access_time = excluded.access_time,
    mode = excluded.mode, value = excluded.value, expire_time = NULL, access_count = 0, tag = NULL, size = 0,
    filename = NULL
"""
_SELF_TEST_KEY: Final = "assay:self-test"
_SCHEMA_ERRORS: Final = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH})
"""Primary result codes of a statement that does not fit the tables."""


class _ChangedError(Exception):
    """A private name is not as it was read."""


class Row(NamedTuple):
    """A value as `Cache.set` would write it inline."""

    key: str
    store_time: float
    access_time: float
    mode: int
    value: bytes


def report_change(change: str, fallback: str) -> None:
    """Log that a private name is not as it was read, and what is used instead."""
    telemetry.warning(
        "private-api-changed", library="diskcache", version=diskcache.__version__, changed=change, instead=fallback
    )


def write_rows(cache: Any, rows: Iterable[Row]) -> None:  # noqa: ANN401 - diskcache ships no types
    """Write rows inside a transaction of `cache`.

    Read in 5.6.3: `Cache._con` is the connection of this thread, and `Cache.set` writes these columns of its table.
    Public way: `Cache.set` for each, which looks for the row first (35 µs a row instead of 20).
    """
    cache._con.executemany(_UPSERT_ROW, rows)  # noqa: SLF001 - this module's purpose


def delete_stored_settings(database: Path) -> None:
    """Drop the settings that an earlier run wrote, of which `Cache` would make pragmas.

    Read in 5.6.3: a table `Settings` of keys and values, of which ``count`` is the number of rows. Public way: none
    but a new database.
    """
    with closing(sqlite3.connect(database, timeout=1)) as connection, connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'Settings'").fetchone():
            connection.execute("DELETE FROM Settings WHERE key <> 'count'")


def find_write_change(cache: Any, mode: int) -> str | None:  # noqa: ANN401 - as above
    """Write two rows by `write_rows`, one over another, read them by the public way; return what has changed.

    Raises:
        sqlite3.Error: the disk fails, which says nothing about diskcache.
    """
    try:
        with cache.transact():
            cache.set(_SELF_TEST_KEY, b"")
            write_rows(cache, [Row(f"{_SELF_TEST_KEY}{number}", 1, 1, mode, b"value") for number in ("", "2")])
            found = [cache.get(_SELF_TEST_KEY), cache.get(f"{_SELF_TEST_KEY}2")]
            deleted = [cache.delete(_SELF_TEST_KEY), cache.delete(f"{_SELF_TEST_KEY}2")]
            _require_written(found, deleted)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _SCHEMA_ERRORS:
            raise
        return f"the table Cache: {error}"
    except _ChangedError as error:
        return f"the table Cache: {error}"
    except (AttributeError, TypeError) as error:
        return f"Cache._con: {error}"
    return None


def _require_written(found: list[bytes | None], deleted: list[bool]) -> None:
    """Raise, so that the transaction is rolled back, unless both rows were found and deleted."""
    if found != [b"value", b"value"] or deleted != [True, True]:
        raise _ChangedError("a row that was written is not found")


def find_settings_change(cache: Any, database: Path) -> str | None:  # noqa: ANN401 - as above
    """Look for the settings of an opened cache where `delete_stored_settings` deletes them; return what has changed."""
    try:
        with closing(sqlite3.connect(database, timeout=1)) as connection:
            stored = dict(connection.execute("SELECT key, value FROM Settings").fetchall())
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR:
            raise
        return f"the table Settings: {error}"
    if stored.get("size_limit") != cache.size_limit or stored.get("count") != len(cache):
        return "the table Settings: a setting is not found"
    return None
