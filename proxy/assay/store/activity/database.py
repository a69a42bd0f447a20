"""Database of the record of activity: one SQLite database, whose loss changes nothing but history.

One thread owns the database. An error of the disk is logged once, and the database is tried again after a pause. A
database that is damaged, or that another program has changed, is renamed, and a new one is created.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from assay import telemetry
from assay.errors import StorageError
from assay.store.activity.schema import SCHEMA_VERSION, TABLES
from assay.store.ledger.tables import Transaction
from assay.store.sqlite_files import BROKEN_FILE_CODES, CORRUPT_CODES, collect_error_codes, set_aside_database
from assay.store.threads import ThreadPool

_APPLICATION_ID: Final = 0x41535341
"""``ASSA`` as SQLite's application_id, which marks a record of activity of Assay."""
_RETRY_DELAY_SECONDS: Final = 30.0
"""Pause in seconds before a failing database is tried again."""
_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = NORMAL",  # a power failure may lose the last minute of history, which is acceptable
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "mmap_size = 0",
    "cache_size = -2048",
    f"journal_size_limit = {4 * 2**20}",
)
_Result = TypeVar("_Result")


class _ForeignDatabaseError(Exception):
    """Error for a database whose tables are not the expected ones."""


class ActivityDatabase:
    """Database of one storage directory, and the thread that uses it.

    Args:
        path: path of the database. Its directory is created if necessary.
        clock: returns the current time in UTC.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock
        self._thread = ThreadPool("activity", 1)
        self._database: sqlite3.Connection | None = None
        self._failed_at: datetime | None = None

    async def run(self, action: Callable[[sqlite3.Connection], _Result], default: _Result) -> _Result:
        """Run `action` in the thread, in a transaction, and return its result; return `default` if the disk fails.

        Raises:
            StorageError: the database was closed with `close`.
        """
        return await self._thread.run(self._run_or_default, action, default)

    async def close(self) -> None:
        """Close the database in its thread, and end the thread. Idempotent."""
        with suppress(StorageError):
            await self._thread.run(self._close)
        await self._thread.close()

    def _run_or_default(self, action: Callable[[sqlite3.Connection], _Result], default: _Result) -> _Result:
        try:
            if self._database is None:
                if self._failed_at is not None and self._is_pausing(self._failed_at):
                    return default
                self._database = self._open()
            with Transaction(self._database):
                result = action(self._database)
        except (sqlite3.Error, OSError, OverflowError, _ForeignDatabaseError) as error:
            self._handle_failure(error)
            return default
        if self._failed_at is not None:
            self._failed_at = None
            telemetry.event("activity-recovered", database=self._path)
        return result

    def _is_pausing(self, failed_at: datetime) -> bool:
        return 0 <= (self._clock() - failed_at).total_seconds() < _RETRY_DELAY_SECONDS

    def _handle_failure(self, error: Exception) -> None:
        codes = collect_error_codes(error)
        if codes & CORRUPT_CODES or isinstance(error, _ForeignDatabaseError):
            self._close()
            aside = self._path.with_suffix(".broken")
            telemetry.security("activity-corrupt", database=self._path, found=error, set_aside=aside)
            with suppress(OSError):  # else the next action fails again
                set_aside_database(self._path, aside)
            return
        if self._failed_at is None:
            telemetry.warning("activity-unavailable", database=self._path, found=str(error) or type(error).__name__)
        self._failed_at = self._clock()
        if codes & BROKEN_FILE_CODES:
            self._close()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        # SQLite creates its additional files with the mode of the database.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        place = f"file:{quote(str(self._path.absolute()))}?mode=rw"
        database = sqlite3.connect(place, uri=True, timeout=1, isolation_level=None)
        try:
            # Text that is not UTF-8 must not make a whole query fail. The readers check all values.
            database.text_factory = lambda value: value.decode("utf-8", "replace")
            for pragma in _PRAGMAS:
                database.execute(f"PRAGMA {pragma}").fetchall()
            self._prepare_tables(database)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare_tables(self, database: sqlite3.Connection) -> None:
        """Create the tables if the database is new or of another version; else check that it has exactly these tables.

        Raises:
            _ForeignDatabaseError: another program has written the tables.
        """
        found = _read_schema(database)
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if found and (application, version) == (_APPLICATION_ID, SCHEMA_VERSION):
            # A trigger or view in a database that another program wrote must never run.
            if found != set(TABLES):
                raise _ForeignDatabaseError("the tables are not those of this version of Assay")
            return
        if found and application != _APPLICATION_ID:
            raise _ForeignDatabaseError("the file is another program's database")
        with Transaction(database):
            for statement in (*_make_drops(database), *TABLES):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if found:
            telemetry.event("activity-discarded", database=self._path, version=version)

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()


def _read_schema(database: sqlite3.Connection) -> set[str]:
    return {sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


def _make_drops(database: sqlite3.Connection) -> list[str]:
    """Return the statements that remove all tables, views and triggers. An index disappears with its table."""
    rows = database.execute("SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view', 'table')")
    kinds = {"trigger": 0, "view": 1, "table": 2}
    named = sorted((kinds[kind], kind, name.replace('"', '""')) for kind, name in rows)
    return [f'DROP {kind.upper()} "{name}"' for _, kind, name in named]
