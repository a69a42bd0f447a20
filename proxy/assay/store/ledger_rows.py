"""The ledger's tables, and the values of its rows: times as microseconds, digests and foreign names as bytes."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from assay.errors import LedgerError
from assay.evidence import PublisherIdentity
from assay.ports import EstablishedIdentity, HistoryChanges, ProjectHistory
from assay.simple.model import Sha256

_APPLICATION_ID = 0x41535359
"""``ASSY``, SQLite's application_id: this database is ours."""
_SCHEMA_VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DIGEST_BYTES = 32
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",  # in WAL mode anything less may lose the last transactions with the power
    "foreign_keys = ON",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "mmap_size = 0",
    f"journal_size_limit = {16 * 2**20}",
)
# Names that an index chose are bytes: they may hold NUL and lone surrogates.
_TABLES = (
    """CREATE TABLE projects (
        id INTEGER PRIMARY KEY, "index" TEXT NOT NULL, project TEXT NOT NULL, serial INTEGER,
        UNIQUE ("index", project)
    )""",
    """CREATE TABLE files (
        project INTEGER NOT NULL REFERENCES projects, filename BLOB NOT NULL, sha256 BLOB NOT NULL,
        first_seen INTEGER NOT NULL, late INTEGER NOT NULL,
        PRIMARY KEY (project, filename)
    ) WITHOUT ROWID""",
    """CREATE TABLE established (
        project INTEGER NOT NULL REFERENCES projects, filename BLOB NOT NULL, sha256 BLOB NOT NULL,
        trust_root TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, logged INTEGER NOT NULL,
        PRIMARY KEY (project, filename, sha256, trust_root, issuer, subject)
    ) WITHOUT ROWID""",
    """CREATE TABLE evidence (
        project INTEGER NOT NULL REFERENCES projects, sha256 BLOB NOT NULL, document TEXT NOT NULL,
        PRIMARY KEY (project, sha256)
    ) WITHOUT ROWID""",
)


class Transaction:
    """All of it or nothing; the lock on the database is taken at the beginning."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        """Begin."""
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Commit, or take everything back."""
        if kind is None:
            try:
                self._database.execute("COMMIT")
            except sqlite3.Error:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        # A full disk may have rolled back already; the first error is the one to be told.
        with suppress(sqlite3.Error):
            self._database.execute("ROLLBACK")


def prepare_database(database: sqlite3.Connection, path: Path, *, may_create: bool) -> None:
    """Set it up, check all of it, and make the tables where nothing was there before.

    Raises:
        LedgerError: it is empty although it should not be, damaged, of another version, or not ours.
        sqlite3.Error: it is no database.
    """
    for pragma in _PRAGMAS:
        database.execute(f"PRAGMA {pragma}").fetchall()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and may_create:
        with Transaction(database):
            for table in _TABLES:
                database.execute(table)
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        raise LedgerError(f"{path} is not a ledger of Assay; restore it, or import an export into a new directory")
    if version != _SCHEMA_VERSION:
        raise LedgerError(f"the ledger {path} has version {version}; this Assay reads version {_SCHEMA_VERSION}")
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise LedgerError(f"the ledger {path} is damaged ({found}); restore it, or import an export")


class TimeCache(dict[int, datetime]):
    """Microseconds since 1970 as times; the files of one page share most of theirs."""

    def __missing__(self, number: int) -> datetime:
        """The time, made once."""
        self[number] = made = _EPOCH + timedelta(microseconds=number)
        return made


def to_microseconds(time: datetime) -> int:
    """Microseconds since 1970; exact."""
    return (time - _EPOCH) // _MICROSECOND


class DigestCache(dict[object, Sha256]):
    """Stored digests as text; one file's stands in several tables."""

    def __missing__(self, stored: object) -> Sha256:
        """The digest, made once.

        Raises:
            LedgerError: it is none.
        """
        if type(stored) is not bytes or len(stored) != _DIGEST_BYTES:
            raise LedgerError("the ledger is damaged: a digest in it is not one")
        self[stored] = made = Sha256(stored.hex())
        return made


def encode_name(name: str) -> bytes:
    """A name as an index chose it, whatever is in it."""
    return name.encode("utf-8", "surrogatepass")


def decode_name(stored: bytes) -> str:
    """The inverse of `encode_name`."""
    return stored.decode("utf-8", "surrogatepass")


def encode_established(established: EstablishedIdentity) -> tuple[bytes, bytes, str, str, str, int]:
    """The columns of `established` after the project's."""
    who = established.identity
    return (
        encode_name(established.filename),
        bytes.fromhex(established.sha256),
        who.trust_root,
        who.issuer,
        who.subject,
        to_microseconds(established.logged),
    )


def merge_changes(history: ProjectHistory, changes: HistoryChanges) -> ProjectHistory:
    """What is known after `changes` have been recorded, by the ledger's rules: first facts stay, serials grow."""
    established = {_get_established_key(one): one for one in reversed((*history.established, *changes.established))}
    serials = [serial for serial in (history.serial, changes.serial) if serial is not None]
    return replace(
        history,
        serial=max(serials, default=None),
        files=MappingProxyType({**changes.files, **history.files}),
        established=tuple(reversed(established.values())),
        evidence=MappingProxyType({**history.evidence, **changes.evidence}),
        known=True,
    )


def _get_established_key(established: EstablishedIdentity) -> tuple[str, str, PublisherIdentity]:
    return established.filename, established.sha256, established.identity
