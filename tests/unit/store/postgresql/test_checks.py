"""Checks at the start: each has its sentence, and passes where the problem is absent."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from assay.errors import ConfigurationError, DatabaseUnavailableError
from assay.store.postgresql.checks import check_database
from assay.store.postgresql.database import Database, DatabaseSettings
from assay.store.postgresql.schema import Migration, create_schema, upgrade_schema
from tests.world.engines.assay_database import DEPLOYMENT
from tests.world.engines.postgresql import PostgresServer
from tests.world.engines.processes import get_free_port

_Check = Callable[..., Awaitable[str]]


@pytest.fixture
def check(server: PostgresServer) -> _Check:
    async def run(name: str, *, user: str = "assay_app", **arguments: object) -> str:
        """Return the role of the report."""
        database = Database(DatabaseSettings(url=server.get_url(name, user=user), deadline_seconds=20))
        await database.open()
        try:
            named = {"deployment": DEPLOYMENT, **arguments}
            return (await check_database(database, **named)).role  # type: ignore[arg-type]  # of the tests
        finally:
            await database.close()

    return run


async def test_a_database_that_was_created_passes_for_both_roles(check: _Check, database_name: str) -> None:
    assert await check(database_name) == "assay_app"
    assert await check(database_name, user="assay_admin", is_operator=True) == "assay_admin"
    assert await check(database_name, deployment=None) == "assay_app"


async def test_a_database_of_another_deployment_is_refused(check: _Check, database_name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"belongs to the deployment 'acme-test', but storage\.shared\.deployment is 'other'"
    ):
        await check(database_name, deployment="other")


async def test_a_database_without_tables_is_refused_until_they_are_created(
    server: PostgresServer, check: _Check
) -> None:
    name = server.create_database()
    with pytest.raises(ConfigurationError, match="has no schema of Assay; run: assay database init"):
        await check(name)
    connection = await asyncpg.connect(server.get_url(name))
    await create_schema(connection, deployment=DEPLOYMENT)
    await connection.close()
    assert await check(name) == "assay_app"


async def test_a_database_that_does_not_exist_is_refused(check: _Check) -> None:
    with pytest.raises(ConfigurationError, match="does not exist; create it with CREATE DATABASE"):
        await check("nothing")


async def test_the_version_of_the_tables_must_fit(server: PostgresServer, check: _Check, database_name: str) -> None:
    server.sql("UPDATE assay.meta SET reads = 0, writes = 0", database=database_name)
    with pytest.raises(ConfigurationError, match="has schema version 0, but this Assay needs 1; run: assay database"):
        await check(database_name)
    server.sql("UPDATE assay.meta SET reads = 2, writes = 3", database=database_name)
    with pytest.raises(ConfigurationError, match="version 3, which needs an Assay that knows at least version 2; this"):
        await check(database_name)


async def test_a_replica_works_beside_one_of_the_next_version(
    server: PostgresServer, check: _Check, database_name: str
) -> None:
    connection = await asyncpg.connect(server.get_url(database_name))
    more = Migration(statements=("ALTER TABLE projects ADD COLUMN more text",), reads=1)
    await upgrade_schema(connection, migrations=(more,))
    assert await check(database_name) == "assay_app"
    last = Migration(statements=("ALTER TABLE projects DROP COLUMN more",), reads=2)
    await upgrade_schema(connection, migrations=(more, last))
    with pytest.raises(ConfigurationError, match="needs an Assay that knows at least version 2"):
        await check(database_name)
    await connection.close()


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("REVOKE USAGE ON SCHEMA assay FROM assay_app", "USAGE on the schema assay"),
        ("REVOKE INSERT ON assay.files FROM assay_app", r"INSERT on the table assay\.files"),
        (
            "REVOKE UPDATE (announced) ON assay.forgotten FROM assay_app",
            r"UPDATE on the column announced of the table assay\.forgotten",
        ),
        ("REVOKE ALL ON assay.meta FROM assay_app", r"SELECT on the table assay\.meta"),
        ("DROP TABLE assay.corrected_times", r"has no table assay\.corrected_times; run: assay database upgrade"),
    ],
)
async def test_a_missing_privilege_is_named(
    server: PostgresServer, check: _Check, database_name: str, statement: str, reason: str
) -> None:
    server.sql(statement, database=database_name)
    with pytest.raises(ConfigurationError, match=reason):
        await check(database_name)
    if statement.startswith("REVOKE"):
        connection = await asyncpg.connect(server.get_url(database_name))
        await upgrade_schema(connection)
        await connection.close()
        assert await check(database_name) == "assay_app"


@pytest.mark.parametrize("sign", [1, -1])
async def test_the_clocks_must_agree(check: _Check, database_name: str, sign: int) -> None:
    def clock(seconds: int) -> Callable[[], datetime]:
        return lambda: datetime.now(UTC) + sign * timedelta(seconds=seconds)

    with pytest.raises(ConfigurationError, match=r"differ by \d+ s; the limit is 5 s\. Synchronise both"):
        await check(database_name, clock=clock(120))
    assert await check(database_name, clock=clock(0)) == "assay_app"


async def test_a_server_that_confirms_before_it_has_written_is_refused(
    server: PostgresServer, check: _Check, database_name: str
) -> None:
    server.sql(f"ALTER DATABASE {database_name} SET synchronous_commit = off")
    with pytest.raises(ConfigurationError, match="synchronous_commit = off, so a crash loses facts"):
        await check(database_name)
    server.sql(f"ALTER DATABASE {database_name} SET synchronous_commit = remote_apply")
    assert await check(database_name) == "assay_app"


async def test_a_server_that_cannot_be_reached_is_unavailable() -> None:
    url = f"postgresql://assay_app@127.0.0.1:{get_free_port()}/assay"
    database = Database(DatabaseSettings(url=url))
    await database.open()
    with pytest.raises(DatabaseUnavailableError, match="is unavailable"):
        await check_database(database, deployment=DEPLOYMENT)
    await database.close()


async def test_a_role_that_may_delete_facts_is_a_warning(
    check: _Check, database_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="assay")
    await check(database_name)
    mine = "the role may delete facts"
    assert not [record for record in caplog.records if mine in str(record.__dict__)]
    await check(database_name, user="postgres")
    assert [record for record in caplog.records if mine in str(record.__dict__)]
