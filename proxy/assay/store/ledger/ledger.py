"""Ledger of permanent facts about projects in a separate SQLite database (`assay.ports.Ledger`).

The ledger is state, not cache. Nothing is evicted. The changes of a page are one transaction, which is durable
(synchronous=FULL) before `record` returns. A damaged, replaced or missing database is an error: Assay never creates a
new one by itself, because an empty ledger would let every project establish new publishers (docs/policy-semantics.md,
"Ratchet").

One thread owns the database. The histories loaded last are cached in memory, bounded by their number of facts; writes
update the cache and the database. Names from an index are stored as bytes, because they may not be valid UTF-8.

No fact is deleted. Facts that an operator has declared wrong stay in their tables, and a row of the table `forgotten`
states that they no longer count (`store.ledger.forgetting`). Another process may add such a row while the proxy runs.
The ledger then discards the cached histories, at the latest before its next write.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import LedgerError, StorageError
from assay.ports import (
    ForgottenFact,
    ForgottenKind,
    ForgottenNews,
    ForgottenNote,
    HistoryChanges,
    ImportResult,
    ProjectHistory,
    Replacement,
)
from assay.simple.model import NormalizedName
from assay.store.ledger import text as ledger_text
from assay.store.ledger.forgetting import make_rows
from assay.store.ledger.importing import plan_import
from assay.store.ledger.reading import load_history, load_unannounced, load_versions
from assay.store.ledger.rows import count_facts, merge_changes
from assay.store.ledger.tables import (
    SCHEMA_VERSION,
    Transaction,
    get_copy_path,
    migrate_database,
    prepare_database,
)
from assay.store.ledger.writing import write_changes, write_forgotten
from assay.store.threads import ThreadPool

_MAX_CACHED_FACTS = 60_000
"""Limit on the facts cached in memory (about 18 MB). A project with 15,000 attested files has 45,000 facts."""
_Result = TypeVar("_Result")


class SqliteLedger:
    """Ledger of one storage directory.

    Args:
        path: path of the database.
        may_create: True if the storage directory is new, so the database may be created. If False, the database must
            exist.
        read_only: True if another process may be writing the database.
        may_migrate: False to refuse a database of an earlier schema version. Another process may be using it.
        max_cached_facts: limit on the facts cached in memory.
    """

    def __init__(
        self,
        path: Path,
        *,
        may_create: bool,
        read_only: bool = False,
        may_migrate: bool = True,
        max_cached_facts: int = _MAX_CACHED_FACTS,
    ) -> None:
        self._path = path
        self._fresh = may_create
        self._may_migrate = may_migrate
        self._mode = "ro" if read_only else "rw"
        self._thread = ThreadPool("ledger", 1)
        self._database: sqlite3.Connection | None = None
        self._inode = 0
        self._schema_version = 0
        self._migrated_from: int | None = None
        self._cached_histories = Lru[tuple[str, str], ProjectHistory](max_weight=max_cached_facts, weigh=count_facts)
        """Histories that were loaded last. Only the ledger's thread changes the cache. The event loop only reads from
        it."""
        self._data_version = self._polled_data_version = 0
        """SQLite's number of the last change by another process, when it was last read and when it was last polled."""
        self._polled_versions: dict[tuple[str, NormalizedName], int] | None = None
        self._may_have_unannounced = True
        """False if the last poll found no unannounced statement and this process has made none since."""

    async def open(self) -> None:
        """Open the database and check its integrity.

        If the storage directory is new, create the database. If the database has an earlier schema version, migrate it,
        unless the ledger is read-only.

        Raises:
            LedgerError: the database is missing, damaged, of a later version, or not a ledger of Assay; or the database
                must be copied before a migration, and the copy cannot be written.
        """
        await self._run(self._open)
        if self._migrated_from is not None:
            telemetry.event(
                "ledger-migrated",
                from_version=self._migrated_from,
                to_version=SCHEMA_VERSION,
                copy=str(get_copy_path(self._path, self._migrated_from)),
            )

    async def get_history(self, index: str, project: NormalizedName) -> ProjectHistory:
        """Return all facts about a project; an empty history if the ledger has no facts.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        kept = self._cached_histories.peek((index, project))
        return kept if kept is not None else await self._run(lambda: self._get_history(index, project))

    async def record(
        self, index: str, project: NormalizedName, changes: HistoryChanges, *, known: ProjectHistory
    ) -> ProjectHistory | None:
        """Add `changes` durably, unless another writer has added facts since `known` was read.

        Existing facts about files, signers and publishers are not changed, except that a first-seen time is corrected
        once. A serial is replaced only by a higher serial, unless the changes say otherwise. A new evidence document
        replaces the earlier document.

        Returns:
            The new history. None if another writer has added facts since `known` was read; nothing is written in this
            case.

        Raises:
            LedgerError: the ledger cannot be written; none of the changes is written.
        """
        return await self._run(lambda: self._record(index, project, changes, known))

    async def forget(
        self,
        index: str,
        project: NormalizedName,
        what: ForgottenKind,
        *,
        filenames: Sequence[str] = (),
        at: datetime,
        reason: str,
    ) -> tuple[ForgottenNote, ...]:
        """State that facts of one kind no longer count, as `assay.ports.Ledger` describes.

        Raises:
            NotFoundError: the ledger has no such fact; nothing is written.
            LedgerError: the ledger cannot be written.
        """
        make = partial(make_rows, what=what, filenames=filenames, at=at, reason=reason)
        return await self._run(lambda: self._forget(index, project, make))

    async def poll_forgotten(self) -> ForgottenNews:
        """Return what other processes have stated since the last call, and what is unannounced.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        return await self._run(self._poll_forgotten)

    async def mark_announced(self, notes: Sequence[ForgottenNote]) -> None:
        """Record that statements are in the log and in the audit trail.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        await self._run(lambda: self._mark_announced(notes))

    async def list_projects(self) -> list[tuple[str, NormalizedName]]:
        """Return all projects with facts, each with the name of its index, in a stable order.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        return await self._run(self._list_projects)

    async def export(self) -> AsyncIterator[str]:
        """Yield all facts as lines of text without line ends, in a stable order (format: `store.ledger.text`).

        Raises:
            LedgerError: the ledger cannot be read.
        """
        yield ledger_text.HEADER_LINE
        for index, project in await self._run(self._list_projects):
            history = await self._run(partial(load_history, self._db, self._schema_version, index, project))
            for line in ledger_text.encode_history(index, project, history):
                yield line

    async def import_(self, lines: Iterable[str], *, replacement: Replacement | None = None) -> ImportResult:
        """Add the facts that `export` wrote, all or none, as `assay.ports.Ledger` describes.

        Statements that facts no longer count are added too. Without `replacement`, facts to which an existing statement
        applies are left out.

        Raises:
            LedgerError: a line is malformed, or the ledger cannot be written.
        """
        return await self._run(lambda: self._import(lines, replacement))

    async def close(self) -> None:
        """Close the database in its thread, and end the thread. Idempotent."""
        with suppress(StorageError):
            await self._run(self._close)
        await self._thread.close()

    async def _run(self, action: Callable[[], _Result]) -> _Result:
        return await self._thread.run(self._translate_errors, action)

    def _translate_errors(self, action: Callable[[], _Result]) -> _Result:
        try:
            return action()
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
            # A value that SQLite cannot store makes the page fail; it is not truncated.
            raise LedgerError(f"the ledger {self._path} cannot be used: {error}") from error

    def _open(self) -> None:
        if not self._fresh and (not self._path.exists() or not self._path.stat().st_size):
            raise LedgerError(
                f"the ledger {self._path} is missing or empty although this storage directory has been in use; restore"
                " it from a backup"
            )
        if self._fresh:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        self._inode = self._path.stat().st_ino
        place = f"file:{quote(str(self._path.absolute()))}?mode={self._mode}"
        database = sqlite3.connect(place, uri=True, timeout=5, isolation_level=None)
        try:
            found = prepare_database(database, self._path, may_create=self._fresh)
            self._schema_version = found
            if found < SCHEMA_VERSION and self._mode != "ro":
                self._require_may_migrate(found)
                migrate_database(database, self._path, found)
                self._migrated_from, self._schema_version = found, SCHEMA_VERSION
        except BaseException:
            database.close()
            raise
        self._database = database

    def _require_may_migrate(self, version: int) -> None:
        if not self._may_migrate:
            raise LedgerError(
                f"the ledger {self._path} has the earlier schema version {version}; start the new proxy once, which"
                " migrates it"
            )

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    @property
    def _db(self) -> sqlite3.Connection:
        if self._database is None:
            raise LedgerError(f"the ledger {self._path} is not open")
        return self._database

    def _list_projects(self) -> list[tuple[str, NormalizedName]]:
        rows = self._db.execute('SELECT "index", project FROM projects ORDER BY "index", project').fetchall()
        return [(index, NormalizedName(project)) for index, project in rows]

    def _get_history(self, index: str, project: NormalizedName) -> ProjectHistory:
        self._discard_if_changed()
        history = self._cached_histories.get((index, project))
        if history is None:
            history = load_history(self._db, self._schema_version, index, project)
            self._cached_histories.put((index, project), history)
        return history

    def _discard_if_changed(self) -> None:
        """Discard the cached histories if another process has written to the database."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version != self._data_version:
            self._data_version = version
            self._cached_histories.clear()

    def _record(
        self, index: str, project: NormalizedName, changes: HistoryChanges, known: ProjectHistory
    ) -> ProjectHistory | None:
        self._check_inode()
        with Transaction(self._db):
            current = self._get_history(index, project)
            if not current.has_same_facts(known):
                return None
            if current.known and not changes:
                return current
            recorded = merge_changes(current, changes)
            write_changes(self._db, (index, project), changes, current, recorded)
        self._cached_histories.put((index, project), recorded)
        return recorded

    def _check_inode(self) -> None:
        # SQLite would continue to write to a deleted file, and all facts would be lost when it is closed.
        if self._path.stat().st_ino != self._inode:
            raise LedgerError(f"the ledger {self._path} was replaced while it was in use")

    def _import(self, lines: Iterable[str], replacement: Replacement | None) -> ImportResult:
        count = conflicts = replaced = 0
        self._cached_histories.clear()
        self._may_have_unannounced = True
        with Transaction(self._db):
            for index, project, changes in ledger_text.read_changes(lines):
                known = load_history(self._db, self._schema_version, index, project)
                plan = plan_import(known, changes, replacement)
                write_forgotten(self._db, (index, project), plan.forgotten)
                write_changes(self._db, (index, project), plan.changes, plan.known, plan.recorded)
                conflicts += plan.conflicts
                replaced += plan.replaced
                count += 1
        return ImportResult(projects=count, conflicts=conflicts, replaced=replaced)

    def _forget(
        self, index: str, project: NormalizedName, make: Callable[[ProjectHistory], tuple[ForgottenFact, ...]]
    ) -> tuple[ForgottenNote, ...]:
        self._check_inode()
        with Transaction(self._db):
            known = load_history(self._db, self._schema_version, index, project)
            rows = make(known)
            write_forgotten(self._db, (index, project), rows)
        self._cached_histories.clear()
        self._may_have_unannounced = True
        return tuple(ForgottenNote(index=index, project=project, fact=row) for row in rows)

    def _poll_forgotten(self) -> ForgottenNews:
        self._discard_if_changed()
        before = self._polled_versions
        has_changed = before is None or self._polled_data_version != self._data_version
        if has_changed:
            self._polled_versions, self._polled_data_version = load_versions(self._db), self._data_version
        versions = self._polled_versions or {}
        unannounced = load_unannounced(self._db) if has_changed or self._may_have_unannounced else ()
        self._may_have_unannounced = bool(unannounced)
        return ForgottenNews(
            projects=() if before is None else tuple(key for key in versions if versions[key] != before.get(key, 0)),
            unannounced=unannounced,
        )

    def _mark_announced(self, notes: Sequence[ForgottenNote]) -> None:
        self._check_inode()
        with Transaction(self._db):
            self._db.executemany(
                "UPDATE forgotten SET announced = 1 WHERE version = ?"
                ' AND project = (SELECT id FROM projects WHERE "index" = ? AND project = ?)',
                ((note.fact.version, note.index, note.project) for note in notes),
            )
