"""Snapshot of the ledger and the records of a storage directory that a proxy may be using.

Some commands judge like the proxy, but must not change anything. They use a snapshot. The ledger is always copied,
because the commands would judge wrongly without history. Records only save requests and verifications, so a large or
unreadable database of records is not copied.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from assay import telemetry
from assay.errors import LedgerError

MAX_COPIED_RECORDS_BYTES: Final = 512 * 2**20
"""Maximum size in bytes of a record database that is copied. Copying this size takes one or two seconds."""


def copy_ledger(source: Path, target: Path) -> bool:
    """Copy the ledger of the storage directory `source` to `target`; return whether the ledger exists.

    Raises:
        LedgerError: the ledger exists but cannot be read.
    """
    ledger = source / "ledger" / "ledger.db"
    try:
        if not ledger.exists():
            return False
        (target / "ledger").mkdir(mode=0o700, parents=True)
        with (
            closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target / "ledger" / "ledger.db")) as new,
        ):
            old.backup(new)
        shutil.copy(source / "format", target / "format")
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"the ledger {ledger} cannot be copied: {error}") from error
    return True


def copy_records(source: Path, target: Path) -> bool:
    """Copy the records of the storage directory `source` to `target`; return whether they were copied.

    They are not copied if the database is missing, too large or unreadable.
    """
    records, copy = source / "records" / "cache.db", target / "records" / "cache.db"
    try:
        if not records.exists() or records.stat().st_size > MAX_COPIED_RECORDS_BYTES:
            return False
        copy.parent.mkdir(mode=0o700, parents=True)
        with (
            closing(sqlite3.connect(f"{records.absolute().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(copy)) as new,
        ):
            old.backup(new)
    except (OSError, sqlite3.Error) as error:
        telemetry.warning("records-copy-failed", directory=source, error=str(error))
        shutil.rmtree(copy.parent, ignore_errors=True)
        return False
    return True
