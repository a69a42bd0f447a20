"""Ledger of permanent facts about projects in PostgreSQL, for several replicas (`assay.ports.Ledger`).

Each write compares the version of the project with the version that the writer knows, and sets a new one, in the same
statement. So of several replicas that judge a page at the same time, one writes its facts, and the others judge again.

Histories are cached in memory. A cached history is used after its version was compared with the database. While the
database is unavailable, the cached history is returned as unconfirmed for a limited time.

`store.postgresql.memory` compares what this process has seen with the database. If the database has lost facts, the
project is refused until an operator confirms that the database was restored from a backup. The lost facts are then
written again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Final

import asyncpg

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import DatabaseUnavailableError, LedgerError, LedgerUnavailableError, StorageError
from assay.ports import (
    ForgottenKind,
    ForgottenNews,
    ForgottenNote,
    HistoryChanges,
    ImportResult,
    Notice,
    NoticeTopic,
    ProjectHistory,
    ProjectKey,
    Replacement,
)
from assay.simple.model import NormalizedName
from assay.store.ledger import text as ledger_text
from assay.store.ledger.forgetting import make_rows
from assay.store.ledger.importing import plan_import
from assay.store.ledger.new_facts import NewFacts, select_new_facts
from assay.store.ledger.rows import count_facts, encode_serial, merge_changes
from assay.store.postgresql import ledger_statements as statements
from assay.store.postgresql.database import Connection, Database
from assay.store.postgresql.ledger_statements import OFFLOAD_MIN_FACTS, FoundVersion
from assay.store.postgresql.memory import LedgerMemory
from assay.telemetry.metrics import LEDGER_CONFLICTS, LEDGER_SECONDS

_GRACE_SECONDS: Final = 3600.0
_MAX_ANNOUNCED: Final = 100_000
"""Maximum number of projects whose versions in notices are remembered, about 20 MB."""
_VALUE_ERRORS: Final = (asyncpg.DataError, asyncpg.ProgramLimitExceededError, ValueError, OverflowError)
"""Errors of the driver and the server if a value cannot be stored."""
_IMPORTED_AT_ONCE: Final = 100
"""Number of projects whose lines are read in one thread call during an import."""


class PostgresLedger:
    """Ledger in a database that several replicas share.

    Args:
        database: the connections.
        grace_seconds: time after the last successful call for which cached histories are returned while the database is
            unavailable, in seconds.
        clock: returns the current time in seconds, monotonic.
    """

    def __init__(
        self,
        database: Database,
        *,
        grace_seconds: float = _GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._last_contact = clock()
        self._memory = LedgerMemory()
        self._polled: dict[tuple[str, NormalizedName], int] | None = None
        self._announced = Lru[ProjectKey, int](max_items=_MAX_ANNOUNCED)
        """Versions that other replicas have written, as their notices say."""

    def handle_notice(self, notice: Notice) -> None:
        """Learn from a notice that another replica has written facts about a project.

        While the database is unavailable, an earlier history of the project is then not used.
        """
        if notice.topic is NoticeTopic.PROJECT and notice.index and notice.project and notice.version:
            self._announced.put((notice.index, notice.project), notice.version)

    async def get_history(self, index: str, project: NormalizedName) -> ProjectHistory:
        """Return all facts about a project; an empty history if the ledger has none.

        While the database is unavailable, return the cached history with `is_confirmed` false, if the last successful
        call was at most `grace_seconds` ago and no notice has told of a later history.

        Raises:
            LedgerUnavailableError: the database is unavailable, and no cached history may be used.
            LedgerError: the ledger cannot be read, or it has lost facts about the project.
        """
        key = (index, project)
        try:
            return await self._get_confirmed(key)
        except LedgerUnavailableError:
            kept = self._memory.get_history(key)
            if kept is None or self._memory.is_refused(key) or self._clock() - self._last_contact > self._grace_seconds:
                raise
            if kept.version < (self._announced.get(key) or 0):
                raise
            return replace(kept, is_confirmed=False)

    async def record(
        self, index: str, project: NormalizedName, changes: HistoryChanges, *, known: ProjectHistory
    ) -> ProjectHistory | None:
        """Add `changes` durably, unless another writer has added facts since `known` was read.

        A `known` history with a version is compared by its version, and one without a version by its facts. Changes
        that add no fact write nothing. The rules for existing facts are those of `assay.ports.Ledger.record`.

        Returns:
            The new history. None if another writer has added facts since `known` was read; nothing is written in this
            case.

        Raises:
            LedgerUnavailableError: the database is unavailable. It is unknown whether the changes were written.
            LedgerError: the ledger cannot be written, or it has lost facts about the project.
        """
        recorded = await self._record((index, project), changes, known)
        if recorded is None:
            LEDGER_CONFLICTS.inc()
        return recorded

    async def _record(self, key: ProjectKey, changes: HistoryChanges, known: ProjectHistory) -> ProjectHistory | None:
        if not known.version and (known.known or self._memory.has_seen(key)):
            current = await self.get_history(*key)
            if not current.has_same_facts(known):
                return None
            known = current
        with self._translate_errors():
            recorded, facts = await _merge(known, changes)
        if known.known and not facts.count and facts.serial == encode_serial(known):
            # Nothing new: the version stays, so that no replica judges the page again.
            current = await self.get_history(*key)
            return current if current.version == known.version else None
        written = await self._write(key, facts, expected=known.version)
        if written is None:
            return None
        recorded = replace(recorded, version=written.version, is_confirmed=True)
        self._memory.put(key, recorded, written.restored)
        return recorded

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
            LedgerError: the ledger cannot be written, or the role of the connection may not do this.
        """
        key = (index, project)
        async with self._transaction("forget") as connection:
            await statements.lock_project(connection, key)  # without a row, `make_rows` raises an error
            known, _ = await statements.fetch_history(connection, key)
            rows = make_rows(known, what=what, filenames=filenames, at=at, reason=reason)
            await statements.write_forgotten(connection, key, rows)
        self._memory.forget(key)
        return tuple(ForgottenNote(index=index, project=project, fact=row) for row in rows)

    async def poll_forgotten(self) -> ForgottenNews:
        """Return what other processes have stated since the last call, and what is unannounced.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        async with self._connection("poll") as connection:
            versions = await statements.fetch_last_statements(connection)
            unannounced = await statements.fetch_unannounced(connection)
        before, self._polled = self._polled, versions
        return ForgottenNews(
            projects=() if before is None else tuple(key for key in versions if versions[key] != before.get(key, 0)),
            unannounced=unannounced,
        )

    async def mark_announced(self, notes: Sequence[ForgottenNote]) -> None:
        """Record that statements are in the log and in the audit trail.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        async with self._connection("mark") as connection:
            await statements.mark_announced(connection, notes)

    async def list_projects(self) -> list[tuple[str, NormalizedName]]:
        """Return all projects with facts, each with the name of its index, in a stable order.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        async with self._connection("list") as connection:
            return await statements.fetch_projects(connection)

    async def export(self) -> AsyncIterator[str]:
        """Yield all facts as lines of text without line ends, in a stable order (format: `store.ledger.text`).

        Raises:
            LedgerError: the ledger cannot be read.
        """
        yield ledger_text.HEADER_LINE
        for index, project in await self.list_projects():
            async with self._connection("load") as connection:
                history, _ = await statements.fetch_history(connection, (index, project))
            for line in ledger_text.encode_history(index, project, history):
                yield line

    async def import_(self, lines: Iterable[str], *, replacement: Replacement | None = None) -> ImportResult:
        """Add the facts that `export` wrote, all or none, as `assay.ports.Ledger` describes.

        The projects of the import are locked until the import ends.

        Raises:
            LedgerError: a line is malformed, the ledger cannot be written, or the role of the connection may not do
                this.
        """
        found = ImportResult(projects=0, conflicts=0)
        changes = ledger_text.read_changes(lines)
        async with self._transaction("import") as connection:
            # The client may wait for its input between two statements.
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            while batch := await asyncio.to_thread(lambda: list(islice(changes, _IMPORTED_AT_ONCE))):
                for index, project, each in batch:
                    try:
                        found = await self._import_project(connection, (index, project), each, replacement, found)
                    except _VALUE_ERRORS as error:
                        raise LedgerError(
                            f"the facts about {project:.100} on the index {index!r:.80} cannot be stored: {error}"
                        ) from error
        return found

    async def _import_project(
        self,
        connection: Connection,
        key: ProjectKey,
        changes: HistoryChanges,
        replacement: Replacement | None,
        found: ImportResult,
    ) -> ImportResult:
        """Write the facts of an import about one project; return `found` with its counts added."""
        is_new = await statements.lock_or_create_project(connection, key)
        known = ProjectHistory() if is_new else (await statements.fetch_history(connection, key))[0]
        plan = plan_import(known, changes, replacement)
        await statements.write_forgotten(connection, key, plan.forgotten)
        facts = select_new_facts(plan.changes, plan.known, plan.recorded)
        if facts.count or is_new or facts.serial != encode_serial(plan.known):
            version = (await statements.fetch_version(connection, key)).version
            await statements.record_facts(connection, key, facts, expected=version)
        self._memory.forget(key)
        return ImportResult(
            projects=found.projects + 1,
            conflicts=found.conflicts + plan.conflicts,
            replaced=found.replaced + plan.replaced,
        )

    async def _get_confirmed(self, key: ProjectKey) -> ProjectHistory:
        """Return the facts about a project, compared with the database.

        Raises:
            LedgerError: the ledger cannot be read, or has lost facts.
        """
        kept = self._memory.get_history(key)
        if kept is not None:
            async with self._connection("check") as connection:
                found = await statements.fetch_version(connection, key)
            if found.version == kept.version:
                self._memory.confirm(key, found.version, found.restored)
                return kept
        remembered = self._memory.remember(key)
        async with self._connection("load") as connection:
            history, restored = await statements.fetch_history(connection, key)
        lost = await self._memory.compare(key, remembered, history, restored)
        if lost is None:
            self._memory.put(key, history, restored)
            return history
        return await self._write_again(key, history, lost, restored)

    async def _write_again(
        self, key: ProjectKey, history: ProjectHistory, lost: HistoryChanges, restored: datetime | None
    ) -> ProjectHistory:
        """Write facts that a restored database has lost; return the history with them."""
        recorded, facts = await _merge(history, lost)
        if facts.count or not history.known or facts.serial != encode_serial(history):
            written = await self._write(key, facts, expected=history.version)
            if written is None:  # another replica has written its facts again
                return await self._get_confirmed(key)
            recorded = replace(recorded, version=written.version)
            telemetry.warning("ledger-facts-written-again", index=key[0], project=key[1], facts=facts.count)
        else:
            recorded = history
        self._memory.put(key, recorded, restored, is_restored=True)
        return recorded

    async def _write(self, key: ProjectKey, facts: NewFacts, *, expected: int) -> FoundVersion | None:
        """Write facts if the project has the version `expected`; return the new version, or None."""
        if statements.fits_one_statement(facts):
            async with self._connection("record") as connection:
                return await statements.record_facts(connection, key, facts, expected=expected)
        async with self._transaction("record") as connection:
            return await statements.record_facts(connection, key, facts, expected=expected)

    @asynccontextmanager
    async def _connection(self, operation: str) -> AsyncIterator[Connection]:
        with self._translate_errors(), LEDGER_SECONDS.labels(operation).time():
            async with self._database.connection() as connection:
                yield connection
        self._last_contact = self._clock()

    @asynccontextmanager
    async def _transaction(self, operation: str) -> AsyncIterator[Connection]:
        with self._translate_errors(), LEDGER_SECONDS.labels(operation).time():
            async with self._database.transaction() as connection:
                yield connection
        self._last_contact = self._clock()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except LedgerError:
            raise
        except DatabaseUnavailableError as error:
            raise LedgerUnavailableError(f"the ledger is unavailable: {error}") from error
        except StorageError as error:
            if isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError):
                raise LedgerError(
                    f"the role of the connection to {self._database} may not do this ({error.__cause__}); use the role"
                    " of the operator, such as assay_admin: --database-url URL, or the variable ASSAY_DATABASE_URL"
                ) from error
            raise LedgerError(f"the ledger cannot be used: {error}") from error
        except (OverflowError, UnicodeError) as error:
            # A value that the database cannot store makes the page fail; it is not truncated.
            raise LedgerError(f"the ledger in {self._database} cannot be used: {error}") from error


async def _merge(known: ProjectHistory, changes: HistoryChanges) -> tuple[ProjectHistory, NewFacts]:
    """Return a history with changes, and the rows to write; work in a thread if there are many facts.

    Raises:
        UnicodeError: a text is invalid.
    """

    def merge() -> tuple[ProjectHistory, NewFacts]:
        recorded = merge_changes(known, changes)
        return recorded, select_new_facts(changes, known, recorded)

    is_large = count_facts(known) + len(changes.files) + len(changes.signers) >= OFFLOAD_MIN_FACTS
    return await asyncio.to_thread(merge) if is_large else merge()
