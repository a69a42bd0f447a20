"""A copy of a storage directory's ledger in another directory, while its owner may be running.

For commands that judge as the proxy would and must change nothing. Takes the ledger alone: all else can be got again.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from proxy.errors import LedgerError


def copy_ledger(source: Path, target: Path) -> bool:
    """Copy the ledger of `source`, if there is one, so that `Store.open` finds it in `target`; whether there was.

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
