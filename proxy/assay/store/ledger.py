"""What must never be forgotten, in a SQLite database of its own: `assay.ports.Ledger`.

State, not cache: nothing is evicted, each page's changes are one transaction that is on disk (synchronous=FULL) before
`record` returns, and a database that is damaged, replaced or missing is an error and never begun anew by itself, since
an empty ledger would let every project establish its publishers again (docs/policy-semantics.md, "Ratchet").

One thread owns the database. The histories last loaded are kept in memory, bounded by their number of facts; writes go
through. Names that an index chose are stored as bytes: they may hold what is no UTF-8.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote

from assay.caching.lru import Lru
from assay.errors import LedgerError, StorageError
from assay.evidence import PublisherIdentity
from assay.ports import EstablishedIdentity, HistoryChanges, ImportResult, ProjectHistory, SeenFile
from assay.simple.model import NormalizedName
from assay.store import ledger_text
from assay.store.ledger_rows import (
    DigestCache,
    TimeCache,
    Transaction,
    decode_name,
    encode_established,
    encode_name,
    merge_changes,
    prepare_database,
    to_microseconds,
)
from assay.store.threads import ThreadPool

_MAX_CACHED_FACTS = 60_000
"""Facts kept in memory, some 18 MB; a project of 15,000 attested files has 45,000."""
_Result = TypeVar("_Result")


class SqliteLedger:
    """The ledger of one storage directory.

    Args:
        path: the database.
        may_create: the storage directory was never used before, so that there is nothing to be missed.
        read_only: another process may be writing it.
        max_cached_facts: facts kept in memory.
    """

    def __init__(
        self, path: Path, *, may_create: bool, read_only: bool = False, max_cached_facts: int = _MAX_CACHED_FACTS
    ) -> None:
        self._path = path
        self._fresh = may_create
        self._mode = "ro" if read_only else "rw"
        self._thread = ThreadPool("ledger", 1)
        self._database: sqlite3.Connection | None = None
        self._inode = 0
        self._cached_histories = Lru[tuple[str, str], ProjectHistory](max_weight=max_cached_facts, weigh=_count_facts)
        """Of the ledger's thread; the event loop only peeks."""

    async def open(self) -> None:
        """Open the database and check all of it; begin one where the storage directory is fresh.

        Raises:
            LedgerError: it is missing, damaged, of another version, or not ours.
        """
        await self._run(self._open)

    async def get_history(self, index: str, project: NormalizedName) -> ProjectHistory:
        """All that is known.

        Raises:
            LedgerError: it cannot be read.
        """
        kept = self._cached_histories.peek((index, project))
        return kept if kept is not None else await self._run(lambda: self._get_history(index, project))

    async def record(
        self, index: str, project: NormalizedName, changes: HistoryChanges, *, known: ProjectHistory
    ) -> ProjectHistory | None:
        """Add `changes`, durably, if the ledger still knows what `known` says; return what it knows now.

        A filename or establishment already there is kept; a serial only grows; evidence is replaced.

        Returns:
            None if another writer wrote since `known` was read: nothing was written.

        Raises:
            LedgerError: it cannot be written; nothing of `changes` is then in it.
        """
        return await self._run(lambda: self._record(index, project, changes, known))

    async def list_projects(self) -> list[tuple[str, NormalizedName]]:
        """Every project ever judged, with its index's name, in a stable order.

        Raises:
            LedgerError: it cannot be read.
        """
        return await self._run(self._list_projects)

    async def export(self) -> AsyncIterator[str]:
        """Everything as lines of text without their line ends, in a stable order (`ledger_text` has the form).

        Raises:
            LedgerError: it cannot be read.
        """
        yield ledger_text.HEADER_LINE
        for index, project in await self._run(self._list_projects):
            history = await self._run(partial(self._load_history, index, project))
            for line in ledger_text.encode_history(index, project, history):
                yield line

    async def import_(self, lines: Iterable[str]) -> ImportResult:
        """Add what `export` wrote; all of it or nothing. What is there already is kept, as `record` has it.

        Raises:
            LedgerError: a line is not of that form, or it cannot be written.
        """
        return await self._run(lambda: self._import(lines))

    async def close(self) -> None:
        """Close the database in its own thread, and end the thread. Idempotent."""
        with suppress(StorageError):
            await self._run(self._close)
        await self._thread.close()

    async def _run(self, action: Callable[[], _Result]) -> _Result:
        return await self._thread.run(self._translate_errors, action)

    def _translate_errors(self, action: Callable[[], _Result]) -> _Result:
        try:
            return action()
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
            # Text and numbers that SQLite does not take are refused with the page, not cut to fit.
            raise LedgerError(f"the ledger {self._path} cannot be used: {error}") from error

    def _open(self) -> None:
        if not self._fresh and (not self._path.exists() or not self._path.stat().st_size):
            raise LedgerError(
                f"the ledger {self._path} is missing or empty although this storage directory has been in use; restore"
                " it, or remove the whole storage directory to begin without any history"
            )
        if self._fresh:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        self._inode = self._path.stat().st_ino
        place = f"file:{quote(str(self._path.absolute()))}?mode={self._mode}"
        database = sqlite3.connect(place, uri=True, timeout=5, isolation_level=None)
        try:
            prepare_database(database, self._path, may_create=self._fresh)
        except BaseException:
            database.close()
            raise
        self._database = database

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
        history = self._cached_histories.get((index, project))
        if history is None:
            history = self._load_history(index, project)
            self._cached_histories.put((index, project), history)
        return history

    def _load_history(self, index: str, project: NormalizedName) -> ProjectHistory:
        found = self._db.execute(
            'SELECT id, serial FROM projects WHERE "index" = ? AND project = ?', (index, project)
        ).fetchone()
        if found is None:
            return ProjectHistory()
        key, serial = found
        times, digests = TimeCache(), DigestCache()
        return ProjectHistory(
            serial=serial,
            files=MappingProxyType(self._load_files(key, times, digests)),
            established=self._load_established(key, times, digests),
            evidence=MappingProxyType(
                {
                    digests[stored]: document
                    for stored, document in self._db.execute(
                        "SELECT sha256, document FROM evidence WHERE project = ? ORDER BY sha256", (key,)
                    )
                }
            ),
            known=True,
        )

    def _load_files(self, key: int, times: TimeCache, digests: DigestCache) -> dict[str, SeenFile]:
        rows = self._db.execute(
            "SELECT filename, sha256, first_seen, late FROM files WHERE project = ? ORDER BY filename", (key,)
        )
        return {
            decode_name(filename): SeenFile(sha256=digests[stored], first_seen=times[seen], late=bool(late))
            for filename, stored, seen, late in rows
        }

    def _load_established(self, key: int, times: TimeCache, digests: DigestCache) -> tuple[EstablishedIdentity, ...]:
        identities = dict[tuple[str, str, str], PublisherIdentity]()
        found = []
        for root, issuer, subject, filename, stored, logged in self._db.execute(
            "SELECT trust_root, issuer, subject, filename, sha256, logged FROM established WHERE project = ?"
            " ORDER BY filename, sha256, trust_root, issuer, subject",
            (key,),
        ):
            identity = identities.get((root, issuer, subject))
            if identity is None:
                identity = PublisherIdentity(trust_root=root, issuer=issuer, subject=subject)
                identities[root, issuer, subject] = identity
            found.append(
                EstablishedIdentity(
                    identity=identity, filename=decode_name(filename), sha256=digests[stored], logged=times[logged]
                )
            )
        return tuple(found)

    def _record(
        self, index: str, project: NormalizedName, changes: HistoryChanges, known: ProjectHistory
    ) -> ProjectHistory | None:
        # SQLite would go on writing to a file that has no name any more, and all of it would be forgotten at its end.
        if self._path.stat().st_ino != self._inode:
            raise LedgerError(f"the ledger {self._path} was replaced while it was in use")
        with Transaction(self._db):
            current = self._get_history(index, project)
            if not current.has_same_facts(known):
                return None
            if current.known and not changes:
                return current
            self._write(index, project, changes)
        recorded = merge_changes(current, changes)
        self._cached_histories.put((index, project), recorded)
        return recorded

    def _write(self, index: str, project: NormalizedName, changes: HistoryChanges) -> None:
        (key,) = self._db.execute(
            'INSERT INTO projects ("index", project, serial) VALUES (?, ?, ?) ON CONFLICT DO UPDATE'
            " SET serial = max(coalesce(serial, excluded.serial), coalesce(excluded.serial, serial)) RETURNING id",
            (index, project, changes.serial),
        ).fetchone()
        self._db.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                (key, encode_name(filename), bytes.fromhex(seen.sha256), to_microseconds(seen.first_seen), seen.late)
                for filename, seen in changes.files.items()
            ),
        )
        self._db.executemany(
            "INSERT INTO established VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            ((key, *encode_established(one)) for one in changes.established),
        )
        self._db.executemany(
            "INSERT INTO evidence VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET document = excluded.document",
            ((key, bytes.fromhex(sha256), document) for sha256, document in changes.evidence.items()),
        )

    def _import(self, lines: Iterable[str]) -> ImportResult:
        count = conflicts = 0
        self._cached_histories.clear()
        with Transaction(self._db):
            for index, project, changes in ledger_text.read_changes(lines):
                known = self._load_history(index, project)
                both = known.files.keys() & changes.files.keys()
                conflicts += sum(known.files[each].sha256 != changes.files[each].sha256 for each in both)
                self._write(index, project, changes)
                count += 1
        return ImportResult(projects=count, conflicts=conflicts)


def _count_facts(history: ProjectHistory) -> int:
    return 1 + len(history.files) + len(history.established) + len(history.evidence)
