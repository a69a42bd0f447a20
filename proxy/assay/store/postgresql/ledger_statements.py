"""SQL statements of the ledger in PostgreSQL, with their parameters and rows.

Each history is read by one statement, so that all its facts are of one moment. The facts of a page are written by one
statement, which compares and sets the version of the project. More than `_MAX_FACTS_AT_ONCE` facts follow in more
statements of the same transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

from assay.errors import LedgerError
from assay.ports import ForgottenFact, ForgottenNote, ProjectHistory, ProjectKey
from assay.simple.model import NormalizedName
from assay.store.ledger.history import StoredFacts, build_history
from assay.store.ledger.new_facts import NewFacts
from assay.store.ledger.rows import DigestCache, TimeCache, decode_forgotten, encode_forgotten
from assay.store.postgresql.database import Connection
from assay.store.postgresql.schema import NOTICE_CHANNEL

_MAX_FACTS_AT_ONCE: Final = 500
_MAX_ROWS: Final = 250_000
"""Maximum number of rows of one kind that are read of a project. A project with 15,000 attested files has 15,000."""
OFFLOAD_MIN_FACTS: Final = 400
"""Number of facts from which a history is built or merged in a thread instead of the event loop."""
_MAX_NOTICE_BYTES: Final = 7_999
"""Limit of PostgreSQL on the text of a notification."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundVersion:
    """Version of a project's facts, and the last time at which an operator confirmed a restored database."""

    version: int
    """0 if the ledger has no facts about the project."""
    restored: datetime | None


_VERSION: Final = (
    "SELECT coalesce(p.version, 0), m.restored FROM meta m LEFT JOIN projects p ON p.idx = $1 AND p.project = $2"
)


def _name_rows(source: str) -> str:
    return f"{source.partition(' ')[0]}_rows"


def _select_arrays(columns: Sequence[str], source: str, order: str) -> str:
    """Return a lateral subquery with an array for each column, in the order of the rows."""
    names = [column.rpartition(" AS ")[2].rpartition(".")[2] for column in columns]
    arrays = ", ".join(f"array_agg({name}) AS {name}" for name in names)
    return (
        f" LEFT JOIN LATERAL (SELECT {arrays} FROM (SELECT {', '.join(columns)} FROM {source}"  # noqa: S608 - constants
        f" WHERE t.project = p.id ORDER BY {order} LIMIT {_MAX_ROWS + 1}) AS rows) AS {_name_rows(source)} ON true"
    )


_ARRAYS: Final[tuple[tuple[tuple[str, ...], str, str], ...]] = (
    (
        ("t.version", "t.what", "t.filename", "t.sha256", "t.found", "t.reason", "t.at"),
        "forgotten t",
        "t.version",
    ),
    (
        (
            "t.filename",
            "t.sha256",
            "coalesce(c.first_seen, t.first_seen) AS first_seen",
            "t.late",
            "(t.corrected OR c.first_seen IS NOT NULL) AS corrected",
            "t.version",
        ),
        "files t LEFT JOIN corrected_times c USING (project, filename_sha256, version)",
        "t.filename, t.version",
    ),
    (
        ("t.trust_root", "t.issuer", "t.subject", "t.filename", "t.sha256", "t.logged", "t.version"),
        "established t",
        't.filename, t.sha256, t.trust_root COLLATE "C", t.issuer COLLATE "C", t.subject COLLATE "C", t.version',
    ),
    (
        ("t.trust_root", "t.issuer", "t.subject", "t.logged", "t.existed", "t.version"),
        "publishers t",
        't.trust_root COLLATE "C", t.issuer COLLATE "C", t.subject COLLATE "C", t.version',
    ),
    (("t.sha256", "t.document", "t.version"), "evidence t", "t.sha256"),
)
"""Columns, source and order of each kind of fact, in the order of the fields of `StoredFacts`."""
_HISTORY: Final = (
    "SELECT m.restored, p.version, p.serial, p.serial_url, p.rollback_since, p.serial_version, "  # noqa: S608 - constants
    + ", ".join(
        f"{_name_rows(source)}.{column.rpartition(' AS ')[2].rpartition('.')[2]}"
        for columns, source, _ in _ARRAYS
        for column in columns
    )
    + " FROM meta m LEFT JOIN projects p ON p.idx = $1 AND p.project = $2"
    + "".join(_select_arrays(*each) for each in _ARRAYS)
)


async def fetch_version(connection: Connection, key: ProjectKey) -> FoundVersion:
    """Return the version of a project's facts.

    Raises:
        LedgerError: the database has no schema of Assay.
    """
    row = await connection.fetchrow(_VERSION, *key)
    if row is None:
        raise LedgerError("the table meta of the database is empty; restore the database")
    return FoundVersion(version=int(row[0]), restored=row[1])


async def fetch_history(connection: Connection, key: ProjectKey) -> tuple[ProjectHistory, datetime | None]:
    """Return all facts about a project that count, and the time of the last confirmed restore.

    Raises:
        LedgerError: a value is invalid, or the project has too many facts.
        OverflowError: a time is out of range.
        UnicodeError: a name is invalid.
    """
    row = await connection.fetchrow(_HISTORY, *key)
    if row is None:
        raise LedgerError("the table meta of the database is empty; restore the database")
    values = iter(tuple(row))
    restored, version, *serial = islice(values, 6)
    if version is None:
        return ProjectHistory(), restored
    kinds = [_read_arrays(values, len(columns), key) for columns, _, _ in _ARRAYS]

    def build() -> ProjectHistory:
        forgotten, files, signers, publishers, evidence = ([*zip(*arrays, strict=True)] for arrays in kinds)
        stored = StoredFacts(
            serial=(serial[0], serial[1], serial[2], serial[3]),
            forgotten=forgotten,
            files=files,
            signers=signers,
            publishers=publishers,
            evidence=evidence,
        )
        return build_history(stored, version=version)

    is_large = sum(len(arrays[0]) for arrays in kinds) >= OFFLOAD_MIN_FACTS
    return await asyncio.to_thread(build) if is_large else build(), restored


def _read_arrays(values: Iterable[Any], count: int, key: ProjectKey) -> list[list[Any]]:
    """Return the next arrays, which are null for no rows."""
    arrays = [array or [] for array in islice(values, count)]
    if len(arrays[0]) > _MAX_ROWS:
        raise LedgerError(f"the ledger has more than {_MAX_ROWS} facts of one kind about {key[1]} on {key[0]}")
    return arrays


_ROWS: Final = {
    "files": (
        "files (project, filename, version, sha256, first_seen, late, corrected)",
        ("bytea", "bigint", "bytea", "bigint", "boolean", "boolean"),
        "SELECT w.id, r.* FROM {written} w, {rows} AS r",
    ),
    "corrected_times": (
        "corrected_times (project, filename_sha256, version, first_seen)",
        ("bytea", "bigint"),
        (
            "SELECT w.id, sha256(r.filename), max(f.version), r.first_seen"
            " FROM {written} w, {rows} AS r (filename, first_seen)"
            " JOIN files f ON f.filename_sha256 = sha256(r.filename)"
            " WHERE f.project = w.id GROUP BY w.id, 2, r.first_seen"
        ),
    ),
    "signers": (
        "established (project, filename, sha256, trust_root, issuer, subject, version, logged)",
        ("bytea", "bytea", "text", "text", "text", "bigint", "bigint"),
        "SELECT w.id, r.* FROM {written} w, {rows} AS r",
    ),
    "publishers": (
        "publishers (project, trust_root, issuer, subject, version, logged, existed)",
        ("text", "text", "text", "bigint", "bigint", "bigint"),
        "SELECT w.id, r.* FROM {written} w, {rows} AS r",
    ),
    "evidence": (
        "evidence (project, sha256, document, version)",
        ("bytea", "text", "bigint"),
        "SELECT w.id, r.* FROM {written} w, {rows} AS r",
    ),
}
"""For each field of `NewFacts`: table with columns, types of the row's columns, and the query of what is inserted."""
_ON_CONFLICT: Final = {
    "corrected_times": " ON CONFLICT DO NOTHING",  # corrected only once
    "evidence": " ON CONFLICT (project, sha256) DO UPDATE SET document = excluded.document, version = excluded.version",
}


def _make_insert(name: str, written: str, first_parameter: int) -> str:
    """Return the statement that inserts rows from one array for each column.

    `written` is a source of rows with the column `id`, the key of the project.
    """
    table, types, query = _ROWS[name]
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, start=first_parameter))
    return f"INSERT INTO {table} {query.format(written=written, rows=f'unnest({arrays})')}{_ON_CONFLICT.get(name, '')}"


_NEW_VERSION: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""Version of new facts: the time in microseconds, or one more than the last version if that is higher. So no version is
used twice, also after an earlier state of the database was restored."""
_WRITTEN: Final = (
    "written AS ("  # noqa: S608 - constants
    "INSERT INTO projects AS p (idx, project, serial, serial_url, rollback_since, serial_version, version)"
    f" SELECT $1, $2, $3::bigint, $4, $5::bigint, $6::bigint, {_NEW_VERSION}"
    " WHERE $7::bigint = 0 OR EXISTS (SELECT FROM projects WHERE idx = $1 AND project = $2)"
    " ON CONFLICT (idx, project) DO UPDATE SET serial = excluded.serial, serial_url = excluded.serial_url,"
    " rollback_since = excluded.rollback_since, serial_version = excluded.serial_version,"
    " version = greatest(p.version + 1, excluded.version)"
    " WHERE p.version = $7::bigint RETURNING id, version)"
)


def _make_record_statement() -> str:
    parts, parameter = [_WRITTEN], 8
    for name, (_, types, _) in _ROWS.items():
        parts.append(f"new_{name} AS ({_make_insert(name, 'written', parameter)})")
        parameter += len(types)
    notice = "'ledger ' || $1::text || ' ' || $2::text || ' ' || version"
    return (
        f"WITH {', '.join(parts)}"  # noqa: S608 - constants
        f" SELECT id, version, (SELECT restored FROM meta), CASE WHEN octet_length({notice}) <= {_MAX_NOTICE_BYTES}"
        f" THEN pg_notify('{NOTICE_CHANNEL}', {notice}) END FROM written"
    )


_RECORD: Final = _make_record_statement()
_INSERTS: Final = {
    name: _make_insert(name, f"(SELECT ${len(types) + 1}::bigint AS id)", 1) for name, (_, types, _) in _ROWS.items()
}


def fits_one_statement(facts: NewFacts) -> bool:
    """Return whether `record_facts` writes the facts by one statement, so that it needs no transaction."""
    return facts.count <= _MAX_FACTS_AT_ONCE


async def record_facts(
    connection: Connection, key: ProjectKey, facts: NewFacts, *, expected: int
) -> FoundVersion | None:
    """Write facts if the project has the version `expected`; return the new version.

    Args:
        connection: the connection. It must be in a transaction unless `fits_one_statement`.
        key: name of the index, and the project.
        facts: the facts.
        expected: the version that the caller knows; 0: the ledger has no facts about the project.

    Returns:
        The new version; None if the project has another version. Nothing is written then.
    """
    rows = {name: getattr(facts, name) for name in _ROWS}
    at_once = rows if fits_one_statement(facts) else dict.fromkeys(_ROWS, ())
    arrays = [array for name, each in at_once.items() for array in _transpose(each, len(_ROWS[name][1]))]
    row = await connection.fetchrow(_RECORD, *key, *facts.serial, facts.version, expected, *arrays)
    if row is None:
        return None
    if at_once is not rows:
        for name, each in rows.items():
            await _insert_rows(connection, name, row[0], each)
    return FoundVersion(version=int(row[1]), restored=row[2])


async def _insert_rows(connection: Connection, name: str, project: int, rows: Sequence[Sequence[object]]) -> None:
    for start in range(0, len(rows), _MAX_FACTS_AT_ONCE):
        chunk = rows[start : start + _MAX_FACTS_AT_ONCE]
        await connection.execute(_INSERTS[name], *_transpose(chunk, len(_ROWS[name][1])), project)


def _transpose(rows: Sequence[Sequence[object]], count: int) -> list[list[object]]:
    """Return one list for each of the `count` columns."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(count)]


async def lock_project(connection: Connection, key: ProjectKey) -> None:
    """Lock a project until the transaction ends, if the ledger has facts about it."""
    await connection.fetchval("SELECT id FROM projects WHERE idx = $1 AND project = $2 FOR UPDATE", *key)


async def lock_or_create_project(connection: Connection, key: ProjectKey) -> bool:
    """Lock a project until the transaction ends. Create its row if the ledger has no facts about it.

    Returns:
        True if the row was created.
    """
    created = await connection.fetchval(
        f"INSERT INTO projects (idx, project, version) VALUES ($1, $2, {_NEW_VERSION})"  # noqa: S608 - a constant
        " ON CONFLICT DO NOTHING RETURNING id",
        *key,
    )
    if created is None:
        await lock_project(connection, key)
    return created is not None


async def write_forgotten(connection: Connection, key: ProjectKey, rows: Sequence[ForgottenFact]) -> None:
    """Write statements that facts no longer count, and renew the version of the project.

    The connection must be in a transaction in which the project is locked.
    """
    if not rows:
        return
    project, version = await connection.fetchrow(
        f"UPDATE projects SET version = greatest(version + 1, {_NEW_VERSION})"  # noqa: S608 - a constant
        " WHERE idx = $1 AND project = $2 RETURNING id, version",
        *key,
    )
    await connection.executemany(
        "INSERT INTO forgotten (project, version, what, filename, sha256, found, reason, at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        [(project, *encode_forgotten(row)) for row in rows],
    )
    await connection.fetchval(
        "SELECT CASE WHEN octet_length($2::text) <= $3::integer THEN pg_notify($1, $2::text) END",
        NOTICE_CHANNEL,
        f"ledger {key[0]} {key[1]} {version}",
        _MAX_NOTICE_BYTES,
    )


async def fetch_projects(connection: Connection) -> list[tuple[str, NormalizedName]]:
    """Return index and name of all projects with facts, in a stable order."""
    rows = await connection.fetch('SELECT idx, project FROM projects ORDER BY idx COLLATE "C", project COLLATE "C"')
    return [(index, NormalizedName(project)) for index, project in rows]


async def fetch_last_statements(connection: Connection) -> dict[tuple[str, NormalizedName], int]:
    """Return the version of the last statement about each project that has one."""
    rows = await connection.fetch(
        "SELECT p.idx, p.project, max(f.version) FROM forgotten f JOIN projects p ON p.id = f.project GROUP BY p.id"
    )
    return {(index, NormalizedName(project)): version for index, project, version in rows}


async def fetch_unannounced(connection: Connection) -> tuple[ForgottenNote, ...]:
    """Return the statements that are neither in a log nor in an audit trail, in a stable order.

    Raises:
        LedgerError: a value is invalid.
    """
    times, digests = TimeCache(), DigestCache()
    rows = await connection.fetch(
        "SELECT p.idx, p.project, f.version, f.what, f.filename, f.sha256, f.found, f.reason, f.at FROM forgotten f"
        " JOIN projects p ON p.id = f.project WHERE NOT f.announced"
        ' ORDER BY p.idx COLLATE "C", p.project COLLATE "C", f.version'
    )
    return tuple(
        ForgottenNote(
            index=index, project=NormalizedName(project), fact=decode_forgotten(tuple(columns), times, digests)
        )
        for index, project, *columns in rows
    )


async def mark_announced(connection: Connection, notes: Sequence[ForgottenNote]) -> None:
    """Record that statements are in a log and an audit trail."""
    await connection.executemany(
        "UPDATE forgotten SET announced = true WHERE version = $1"
        " AND project = (SELECT id FROM projects WHERE idx = $2 AND project = $3)",
        [(note.fact.version, note.index, note.project) for note in notes],
    )
