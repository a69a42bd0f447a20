"""Functions for all uses of private names of diskcache 5.6.3.

The private names are the connection of a cache, and two tables of its database: the table of settings and the table of
rows. `find_settings_change` checks the table of settings when a cache is opened. `find_write_change` checks the table
of rows at the first write. If a check fails, `report_change` logs a warning, and `records` uses the public API.
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
"""Primary SQLite result codes of a statement that does not match the tables of the database."""


class _ChangedError(Exception):
    """Error for a private name that does not behave as in diskcache 5.6.3."""


class Row(NamedTuple):
    """Row of diskcache's table, with the columns that `Cache.set` writes for a small value."""

    key: str
    store_time: float
    access_time: float
    mode: int
    value: bytes


def report_change(change: str, fallback: str) -> None:
    """Log a warning that a private name of diskcache has changed.

    `fallback` describes the behaviour without the private name.
    """
    telemetry.warning(
        "private-api-changed", library="diskcache", version=diskcache.__version__, changed=change, instead=fallback
    )


def write_rows(cache: Any, rows: Iterable[Row]) -> None:  # noqa: ANN401 - diskcache ships no types
    """Write rows inside a transaction of `cache`.

    In diskcache 5.6.3, `Cache._con` is the connection of the current thread, and `Cache.set` writes these columns. The
    public alternative is to call `Cache.set` for each row. It first searches for the row, and takes 35 µs for each row
    instead of 20.
    """
    cache._con.executemany(_UPSERT_ROW, rows)  # noqa: SLF001 - the purpose of this module


def delete_stored_settings(database: Path) -> None:
    """Delete the settings that an earlier run stored, because `Cache` would execute them as SQLite pragmas.

    In diskcache 5.6.3, the table `Settings` has keys and values. The value of ``count`` is the number of rows, which is
    kept. The public API has no such function; the alternative is a new database.
    """
    with closing(sqlite3.connect(database, timeout=1)) as connection, connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'Settings'").fetchone():
            connection.execute("DELETE FROM Settings WHERE key <> 'count'")


def find_write_change(cache: Any, mode: int) -> str | None:  # noqa: ANN401 - as above
    """Test `write_rows`: write two rows, overwrite one of them, and read them with the public API.

    Returns:
        A description of the difference in the installed diskcache; None if there is no difference.

    Raises:
        sqlite3.Error: the disk failed, so the test has no result.
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
    """Raise `_ChangedError` unless both rows were found and deleted. The error rolls the transaction back."""
    if found != [b"value", b"value"] or deleted != [True, True]:
        raise _ChangedError("a written row cannot be read")


def find_settings_change(cache: Any, database: Path) -> str | None:  # noqa: ANN401 - as above
    """Check that an open cache stores its settings in the table `Settings`, as `delete_stored_settings` assumes.

    Returns:
        A description of the difference in the installed diskcache; None if there is no difference.
    """
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
