"""Stored storage directory of an earlier version, next to this module; its `README.md` describes it."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from assay.store.directory import open_ledger
from assay.store.settings import StorageSettings
from tests.paths import TESTS
from tests.storage.before import COMMIT

KEPT: Final = TESTS / "storage" / COMMIT
WRITTEN: Final = datetime(2026, 7, 1, 12, tzinfo=UTC)
"""Time of the clock when the directory was written."""
SOON: Final = WRITTEN + timedelta(seconds=30)
"""Time at which all pages in the directory are still fresh."""
TUF: Final = "https://tuf.example"
RENEWED: Final = "sigstore"
"""Name of the trust root that was renewed."""


def told() -> dict[str, Any]:
    """Return the contents of ``answers.json``.

    ``answers`` has the responses by request, ``asked`` the requests to the index, and ``sigstore`` its version.
    """
    content: dict[str, Any] = json.loads((KEPT / "answers.json").read_bytes())
    return content


def copied(to: Path) -> Path:
    """Copy the directory to `to`, readable by its owner only, and return `to`."""
    shutil.copytree(KEPT, to, symlinks=True)
    for path in (to, *to.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    return to


async def exported(storage: Path) -> str:
    """Return the exported text of the ledger in a storage directory."""
    ledger = await open_ledger(StorageSettings(directory=storage))
    try:
        return "".join([f"{line}\n" async for line in ledger.export()])
    finally:
        await ledger.close()
