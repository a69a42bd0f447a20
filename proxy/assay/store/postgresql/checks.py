"""Checks of the shared database before a replica uses it. Each failure is a sentence with its remedy."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from assay import telemetry
from assay.errors import ConfigurationError, StorageError
from assay.store.postgresql.database import Connection, Database, UrlParameterError
from assay.store.postgresql.schema import GRANTS, SCHEMA, SCHEMA_VERSION

MAX_CLOCK_SKEW: Final = timedelta(seconds=5)
_OLDEST_SERVER: Final = 13
"""Oldest major version of PostgreSQL that has all functions that the tables use."""
_WITH_COLUMNS: Final = re.compile(r"(\w+) \((.+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseReport:
    """Facts about a database that passed all checks."""

    deployment: str
    uuid: str
    reads: int
    """Lowest schema version of programs that may use the database."""
    writes: int
    """Highest schema version of programs that may use the database."""
    role: str
    warnings: tuple[str, ...]
    """Settings that are safe for tests only."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


async def check_database(
    database: Database,
    *,
    deployment: str | None,
    is_operator: bool = False,
    clock: Callable[[], datetime] = _utc_now,
) -> DatabaseReport:
    """Check that a replica may use the database, and log a warning for each setting that can lose facts.

    Args:
        database: the connections.
        deployment: expected name of the deployment; None to accept every name.
        is_operator: True to check the privileges of the operator's commands, and not those of the service.
        clock: returns the current time in UTC.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
        ConfigurationError: the database is of another deployment, has no schema of Assay or another version of it, has
            another time, does not keep what it has confirmed, or does not accept a parameter of the URL, or the role
            has too few privileges.
        StorageError: another error of the database.
    """
    try:
        async with database.connection() as connection:
            report = await _check(connection, database, deployment, is_operator=is_operator, clock=clock)
    except UrlParameterError as error:
        raise ConfigurationError(str(error)) from error
    except StorageError as error:
        if isinstance(error.__cause__, asyncpg.InvalidCatalogNameError):
            raise ConfigurationError(
                f"the database {database} does not exist; create it with CREATE DATABASE"
            ) from error
        raise
    for warning in report.warnings:
        telemetry.warning("database-unsafe", database=str(database), problem=warning)
    return report


async def _check(
    connection: Connection,
    database: Database,
    deployment: str | None,
    *,
    is_operator: bool,
    clock: Callable[[], datetime],
) -> DatabaseReport:
    await _check_server(connection, database)
    await _check_clock(connection, database, clock)
    await _check_schema(connection, database)
    await _check_grants(connection, database, is_operator=is_operator)
    row = await connection.fetchrow("SELECT deployment, uuid, reads, writes, current_user AS role FROM meta")
    if row is None:
        raise ConfigurationError(f"the table meta of the database {database} is empty; restore the database")
    _check_meta(database, deployment, row["deployment"], row["reads"], row["writes"])
    return DatabaseReport(
        deployment=row["deployment"],
        uuid=str(row["uuid"]),
        reads=row["reads"],
        writes=row["writes"],
        role=row["role"],
        warnings=tuple([each async for each in _find_warnings(connection)]),
    )


async def _check_server(connection: Connection, database: Database) -> None:
    major = int(await connection.fetchval("SHOW server_version_num")) // 10_000
    if major < _OLDEST_SERVER:
        raise ConfigurationError(
            f"the database {database} is PostgreSQL {major}; use version {_OLDEST_SERVER} or a later one"
        )
    if await connection.fetchval("SHOW synchronous_commit") == "off":
        raise ConfigurationError(
            f"the database {database} has synchronous_commit = off, so a crash loses facts that were confirmed; set it"
            " to on, or to remote_apply with a synchronous standby"
        )


async def _check_clock(connection: Connection, database: Database, clock: Callable[[], datetime]) -> None:
    before = clock()
    server: datetime = await connection.fetchval("SELECT clock_timestamp()")
    after = clock()
    skew = max(before - server, server - after)
    if skew >= MAX_CLOCK_SKEW:
        raise ConfigurationError(
            f"the clocks of this machine and of the database {database} differ by {skew.total_seconds():.0f} s; the"
            f" limit is {MAX_CLOCK_SKEW.total_seconds():.0f} s. Synchronise both, for example with NTP"
        )


async def _check_schema(connection: Connection, database: Database) -> None:
    may_use = await connection.fetchval(
        "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1", SCHEMA
    )
    if may_use is False:
        await _refuse_grant(connection, database, "USAGE", f"the schema {SCHEMA}")
    if may_use is None or await connection.fetchval("SELECT to_regclass('assay.meta') IS NULL"):
        raise ConfigurationError(f"the database {database} has no schema of Assay; run: assay database init")


def _check_meta(database: Database, deployment: str | None, found: str, reads: int, writes: int) -> None:
    if deployment is not None and found != deployment:
        raise ConfigurationError(
            f"the database {database} belongs to the deployment {found!r}, but storage.shared.deployment is"
            f" {deployment!r}; correct one of the two, or use another database"
        )
    if writes < SCHEMA_VERSION:
        raise ConfigurationError(
            f"the database {database} has schema version {writes}, but this Assay needs {SCHEMA_VERSION}; run: assay"
            " database upgrade"
        )
    if reads > SCHEMA_VERSION:
        raise ConfigurationError(
            f"the database {database} has schema version {writes}, which needs an Assay that knows at least version"
            f" {reads}; this one has {SCHEMA_VERSION}. Install the Assay that upgraded it"
        )


async def _check_grants(connection: Connection, database: Database, *, is_operator: bool) -> None:
    needed = list(_list_privileges(is_operator=is_operator))
    # A privilege on a missing table is null.
    missing = await connection.fetchrow(
        "SELECT n.name, n.privilege, n.col, to_regclass('assay.' || n.name) IS NULL AS is_absent"
        " FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS n (name, privilege, col, number)"
        " WHERE NOT coalesce(CASE WHEN n.col = ''"
        " THEN has_table_privilege(to_regclass('assay.' || n.name), n.privilege)"
        " ELSE has_column_privilege(to_regclass('assay.' || n.name), n.col, n.privilege) END, false)"
        " ORDER BY n.number LIMIT 1",
        *([list(column) for column in zip(*needed, strict=True)]),
    )
    if missing is None:
        return
    name, privilege, column, is_absent = missing
    if is_absent:
        raise ConfigurationError(f"the database {database} has no table {SCHEMA}.{name}; run: assay database upgrade")
    place = f"the column {column} of the table {SCHEMA}.{name}" if column else f"the table {SCHEMA}.{name}"
    await _refuse_grant(connection, database, privilege, place)


def _list_privileges(*, is_operator: bool) -> Iterator[tuple[str, str, str]]:
    """Yield table, privilege and column; an empty column stands for the whole table."""
    for grant in GRANTS:
        for privilege in grant.admin if is_operator else grant.app:
            if (found := _WITH_COLUMNS.fullmatch(privilege)) is None:
                yield grant.table, privilege, ""
            else:
                yield from ((grant.table, found[1], column) for column in found[2].split(", "))


async def _refuse_grant(connection: Connection, database: Database, privilege: str, place: str) -> None:
    role = await connection.fetchval("SELECT current_user")
    raise ConfigurationError(
        f"the role {role} has no privilege {privilege} on {place} in the database {database}; run assay database"
        " upgrade with this role as --app-role or --admin-role, or use the role that init has named"
    )


async def _find_warnings(connection: Connection) -> AsyncIterator[str]:
    if await connection.fetchval("SELECT has_table_privilege('assay.files', 'DELETE')"):
        yield (
            "the role may delete facts of the ledger, so a replica that is taken over could make the ledger forget; use"
            " the role that assay database init has named, such as assay_app"
        )
    if await connection.fetchval("SHOW fsync") == "off":
        yield "fsync = off: a crash of the server's machine damages the database"
    if await connection.fetchval("SHOW data_checksums") == "off":
        yield "data checksums are off, so the server does not notice bytes that the disk has changed; see pg_checksums"
