"""Check of the connections to a shared storage: `assay check --connect`.

The database is only read. In the object storage, one object is written, read and removed, as a replica does at its
start, because only a write shows what the service permits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from assay.errors import AssayError
from assay.store.objects.bucket import Bucket
from assay.store.postgresql.checks import check_database
from assay.store.postgresql.database import Database
from assay.store.shared.engines import make_engines
from assay.store.shared.settings import SharedSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCheck:
    """Result for the database or the object storage.

    Attributes:
        text: what was found; None after an error.
        warnings: settings that are safe for tests only.
        error: `ConfigurationError` if a replica would not start; another error if the engine does not answer now.
    """

    text: str | None = None
    warnings: tuple[str, ...] = ()
    error: AssayError | None = None


async def check_engines(settings: SharedSettings) -> list[EngineCheck]:
    """Connect to the database and to the object storage, if one is set, and return what was found.

    Raises:
        ConfigurationError: the key file or another file or location is not usable.
    """
    engines = await asyncio.to_thread(make_engines, settings)
    found = [await _catch_error(_check_database(engines.database, settings.deployment))]
    if engines.bucket is not None:
        found.append(await _catch_error(_check_objects(engines.bucket)))
    return found


async def _catch_error(check: Awaitable[EngineCheck]) -> EngineCheck:
    try:
        return await check
    except AssayError as error:
        return EngineCheck(error=error)


async def _check_database(database: Database, deployment: str) -> EngineCheck:
    await database.open()
    try:
        report = await check_database(database, deployment=deployment)
    finally:
        await database.close()
    return EngineCheck(
        text=f"database: {database}, deployment {report.deployment}, role {report.role}, schema versions"
        f" {report.reads} to {report.writes}",
        warnings=tuple(f"the database {database}: {each}" for each in report.warnings),
    )


async def _check_objects(bucket: Bucket) -> EngineCheck:
    try:
        await bucket.probe()
    finally:
        await bucket.close()
    conditions = (
        "refuses to create an object twice"
        if bucket.has_conditions
        else 'lets an object be created twice, so audit.sink = "objects" is not possible'
    )
    return EngineCheck(text=f"object storage: it can be written and read, and {conditions}")
