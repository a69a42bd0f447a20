"""A copy of a storage directory's ledger and records in another directory, while its owner may be running.

For commands that judge as the proxy would and must change nothing. The ledger must come along, or they would judge
without history; records only spare requests and verifications, so that large or unreadable ones are left behind.
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
"""Bytes. Copying takes a second or two; more would not be worth the requests that it spares."""


def copy_ledger(source: Path, target: Path) -> bool:
    """Copy the ledger of `source`, if there is one, so that a store finds it in `target`; whether there was.

    Raises:
        LedgerError: it is there and cannot be read.
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
    """Copy the records of `source`, if there are some and not too many, for a store in `target`; whether so."""
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
        telemetry.warning("records-not-copied", directory=source, error=str(error))
        shutil.rmtree(copy.parent, ignore_errors=True)
        return False
    return True
