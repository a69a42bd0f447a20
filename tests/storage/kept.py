"""The storage directory that is kept beside this module, to be copied and used: `README.md` in it says what it is."""

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
"""What the clock said."""
SOON: Final = WRITTEN + timedelta(seconds=30)
"""When nothing in it has grown old."""
TUF: Final = "https://tuf.example"
RENEWED: Final = "sigstore"
"""The trust root that was renewed."""


def told() -> dict[str, Any]:
    """``answers``, by question; ``asked``, what that cost of requests to the index; ``sigstore``, its version."""
    content: dict[str, Any] = json.loads((KEPT / "answers.json").read_bytes())
    return content


def copied(to: Path) -> Path:
    """The directory as an owner has it: for him alone."""
    shutil.copytree(KEPT, to, symlinks=True)
    for path in (to, *to.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    return to


async def exported(storage: Path) -> str:
    """The ledger of a storage directory as text."""
    ledger = await open_ledger(StorageSettings(directory=storage))
    try:
        return "".join([f"{line}\n" async for line in ledger.export()])
    finally:
        await ledger.close()
