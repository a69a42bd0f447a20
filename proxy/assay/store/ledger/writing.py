"""Writer of facts and of statements that facts no longer count. The caller opens the transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from assay.ports import ForgottenFact, HistoryChanges, ProjectHistory, ProjectKey
from assay.store.ledger.integrity import make_insert, make_sealing
from assay.store.ledger.new_facts import NewFacts, select_new_facts
from assay.store.ledger.rows import encode_forgotten


def write_changes(
    database: sqlite3.Connection,
    project: ProjectKey,
    changes: HistoryChanges,
    known: ProjectHistory,
    recorded: ProjectHistory,
) -> None:
    """Write new facts about a project.

    Args:
        database: the database, in a transaction.
        project: name of the index, and the project.
        changes: the facts. Those that `known` has already are left out.
        known: the history before.
        recorded: the history after.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    facts = select_new_facts(changes, known, recorded)
    key = _write_serial(database, project, facts)
    database.executemany(make_insert("files"), ((key, *row) for row in facts.files))
    _write_corrected_times(database, key, facts)
    database.executemany(make_insert("established", "ON CONFLICT DO NOTHING"), ((key, *row) for row in facts.signers))
    database.executemany(make_insert("publishers", "ON CONFLICT DO NOTHING"), ((key, *row) for row in facts.publishers))
    database.executemany(
        make_insert(
            "evidence",
            "ON CONFLICT DO UPDATE SET document = excluded.document, version = excluded.version,"
            " digest = excluded.digest",
        ),
        ((key, *row) for row in facts.evidence),
    )


def write_forgotten(database: sqlite3.Connection, project: ProjectKey, rows: Sequence[ForgottenFact]) -> None:
    """Write statements that facts no longer count.

    Args:
        database: the database, in a transaction.
        project: name of the index, and the project.
        rows: statements with versions after those of the project.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    if not rows:
        return
    find = 'SELECT id FROM projects WHERE "index" = ? AND project = ?'
    found = database.execute(find, project).fetchone()
    if found is None:
        empty = ProjectHistory()
        found = (_write_serial(database, project, select_new_facts(HistoryChanges(), empty, empty)),)
    (key,) = found
    database.executemany(make_insert("forgotten"), ((key, *encode_forgotten(row)) for row in rows))


def _write_serial(database: sqlite3.Connection, project: ProjectKey, facts: NewFacts) -> int:
    """Write the row of a project and return its key."""
    (key,) = database.execute(
        'INSERT INTO projects ("index", project, serial, serial_url, rollback_since, serial_version)'
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET serial = excluded.serial, serial_url = excluded.serial_url,"
        " rollback_since = excluded.rollback_since, serial_version = excluded.serial_version RETURNING id",
        (*project, *facts.serial, facts.version),
    ).fetchone()
    database.execute(f"{make_sealing('projects')} WHERE id = ?", (key,))
    return int(key)


def _write_corrected_times(database: sqlite3.Connection, key: int, facts: NewFacts) -> None:
    rows = [{"project": key, "filename": filename, "time": time} for filename, time in facts.corrected_times]
    last = (
        "project = :project AND filename = :filename"
        " AND version = (SELECT max(version) FROM files WHERE project = :project AND filename = :filename)"
    )
    database.executemany(f"UPDATE files SET first_seen = :time, corrected = 1 WHERE {last}", rows)  # noqa: S608 - constants
    database.executemany(f"{make_sealing('files')} WHERE {last}", rows)
