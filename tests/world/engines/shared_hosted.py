"""Hosted files of several replicas over one database and one bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from assay.store.hosted.shared import ObjectBucket, SharedHosted, SharedHostedSettings
from assay.store.postgresql.database import Database, DatabaseSettings
from assay.store.postgresql.hosted import HostedTables


@asynccontextmanager
async def open_replica(
    url: str,
    bucket: ObjectBucket,
    directory: Path,
    *,
    index: str = "internal",
    other_indexes: tuple[str, ...] = (),
    deadline_seconds: float = 20,
    grace_seconds: float = 3600,
    read_only: bool = False,
    max_index_weight: int = 2**29,
    retry_seconds: float = 600,
    max_batch_bytes: int = 2**23,
) -> AsyncIterator[SharedHosted]:
    """Open the hosted files as one replica does, with its own connections and its own local directory."""
    database = Database(DatabaseSettings(url=url, deadline_seconds=deadline_seconds))
    await database.open()
    settings = SharedHostedSettings(
        incoming=directory / "uploads",
        indexes=(index, *other_indexes),
        grace_seconds=grace_seconds,
        max_index_weight=max_index_weight,
        retry_seconds=retry_seconds,
    )
    tables = HostedTables(database, max_batch_bytes=max_batch_bytes)
    hosted = await SharedHosted.open(tables, bucket, settings, read_only=read_only)
    try:
        yield hosted
    finally:
        await hosted.close()
        await database.close()
