"""Settings of a storage that replicas share, over a PostgreSQL server and a directory as object storage."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from assay.store.settings import StorageSettings
from tests.world.engines.assay_database import DEPLOYMENT
from tests.world.engines.postgresql import PostgresServer


def make_shared_table(server: PostgresServer, database: str, directory: Path, **keys: Any) -> dict[str, Any]:
    """Return the table ``[storage.shared]``; `directory` gets the key file and the objects, for all replicas."""
    key_file, objects = directory / "key", directory / "objects"
    if not key_file.exists():
        key_file.touch(mode=0o600)
        key_file.write_text(secrets.token_hex(32))
        objects.mkdir()
    return {
        "deployment": DEPLOYMENT,
        "database": server.get_url(database, user="assay_app"),
        "key-file": str(key_file),
        "objects": objects.as_uri(),
        "deadlines": {"ledger": "20 seconds", "objects": "20 seconds"},  # the machine may be busy
        **keys,
    }


def make_replica_settings(
    server: PostgresServer, database: str, directory: Path, *, name: str = "replica", **keys: Any
) -> StorageSettings:
    """Return the settings of one replica, whose local tier is ``directory / name``."""
    shared = make_shared_table(server, database, directory, **keys)
    return StorageSettings.model_validate({"directory": str(directory / name), "shared": shared})
