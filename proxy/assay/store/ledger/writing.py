"""Writer of facts and of statements that facts no longer count. The caller opens the transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from assay.ports import ForgottenFact, HistoryChanges, ProjectHistory, ProjectKey
from assay.store.ledger.integrity import make_insert, make_sealing
from assay.store.ledger.reading import load_history
from assay.store.ledger.rows import (
    encode_file,
    encode_forgotten,
    encode_name,
    encode_publisher,
    encode_serial,
    encode_signer,
    get_signer_key,
    to_microseconds,
)
from assay.store.ledger.tables import SCHEMA_VERSION


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
    version = recorded.forgotten.version
    key = _write_serial(database, project, recorded)
    database.executemany(
        make_insert("files"),
        (
            (key, *encode_file(filename, seen, version))
            for filename, seen in changes.files.items()
            if filename not in known.files
        ),
    )
    _write_corrected_times(database, key, changes, known)
    signers = {get_signer_key(one) for one in known.signers} if changes.signers else set()
    database.executemany(
        make_insert("established", "ON CONFLICT DO NOTHING"),
        ((key, *encode_signer(one, version)) for one in changes.signers if get_signer_key(one) not in signers),
    )
    publishers = {one.identity for one in known.publishers}
    database.executemany(
        make_insert("publishers", "ON CONFLICT DO NOTHING"),
        ((key, *encode_publisher(one, version)) for one in changes.publishers if one.identity not in publishers),
    )
    database.executemany(
        make_insert(
            "evidence",
            "ON CONFLICT DO UPDATE SET document = excluded.document, version = excluded.version,"
            " digest = excluded.digest",
        ),
        ((key, bytes.fromhex(sha256), document, version) for sha256, document in changes.evidence.items()),
    )


def write_forgotten(
    database: sqlite3.Connection,
    project: ProjectKey,
    known: ProjectHistory,
    rows: Sequence[ForgottenFact],
) -> ProjectHistory:
    """Write statements that facts no longer count; return the history after them.

    Args:
        database: the database, in a transaction.
        project: name of the index, and the project.
        known: the history before.
        rows: statements with versions after those of `known`.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    if not rows:
        return known
    if not known.known:
        _write_serial(database, project, known)
    (key,) = database.execute('SELECT id FROM projects WHERE "index" = ? AND project = ?', project).fetchone()
    database.executemany(make_insert("forgotten"), ((key, *encode_forgotten(row)) for row in rows))
    return load_history(database, SCHEMA_VERSION, *project)


def _write_serial(database: sqlite3.Connection, project: ProjectKey, recorded: ProjectHistory) -> int:
    """Write the row of a project and return its key."""
    (key,) = database.execute(
        'INSERT INTO projects ("index", project, serial, serial_url, rollback_since, serial_version)'
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET serial = excluded.serial, serial_url = excluded.serial_url,"
        " rollback_since = excluded.rollback_since, serial_version = excluded.serial_version RETURNING id",
        (*project, *encode_serial(recorded), recorded.forgotten.version),
    ).fetchone()
    database.execute(f"{make_sealing('projects')} WHERE id = ?", (key,))
    return int(key)


def _write_corrected_times(
    database: sqlite3.Connection, key: int, changes: HistoryChanges, known: ProjectHistory
) -> None:
    files = {**changes.files, **known.files} if changes.corrected_times else {}
    rows = [
        {"project": key, "filename": encode_name(filename), "time": to_microseconds(time)}
        for filename, time in changes.corrected_times.items()
        if filename in files and not files[filename].corrected
    ]
    last = (
        "project = :project AND filename = :filename"
        " AND version = (SELECT max(version) FROM files WHERE project = :project AND filename = :filename)"
    )
    database.executemany(f"UPDATE files SET first_seen = :time, corrected = 1 WHERE {last}", rows)  # noqa: S608 - constants
    database.executemany(f"{make_sealing('files')} WHERE {last}", rows)
