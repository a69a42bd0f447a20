"""Tables and roles: created once, upgraded, and with no more privileges than the ledger needs."""

from __future__ import annotations

import asyncpg
import pytest

from assay.errors import ConfigurationError, StorageError
from assay.store.postgresql.schema import GRANTS, Migration, create_schema, upgrade_schema
from tests.world.engines.assay_database import DEPLOYMENT
from tests.world.engines.postgresql import PostgresServer

NEXT = Migration(statements=("ALTER TABLE projects ADD COLUMN more text",), reads=1)


async def run(server: PostgresServer, name: str, statement: str, user: str) -> str:
    connection = await asyncpg.connect(server.get_url(name, user=user), server_settings={"search_path": "assay"})
    try:
        return str(await connection.execute(statement))
    finally:
        await connection.close()


async def test_what_exists_is_not_created_again(server: PostgresServer, database_name: str) -> None:
    connection = await asyncpg.connect(server.get_url(database_name))
    uuid = await connection.fetchval("SELECT uuid FROM assay.meta")
    (only,) = await create_schema(connection, deployment=DEPLOYMENT)
    assert only.startswith("granted")
    assert await connection.fetchval("SELECT uuid FROM assay.meta") == uuid
    with pytest.raises(ConfigurationError, match="belongs to the deployment 'acme-test', not 'other'"):
        await create_schema(connection, deployment="other")
    with pytest.raises(ConfigurationError, match="found 'Acme Prod'"):
        await create_schema(connection, deployment="Acme Prod")
    with pytest.raises(ConfigurationError, match="the name of a role"):
        await create_schema(connection, deployment=DEPLOYMENT, app_role="a; DROP TABLE projects")
    await connection.close()


async def test_every_table_has_its_privileges_named(server: PostgresServer, database_name: str) -> None:
    connection = await asyncpg.connect(server.get_url(database_name))
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'assay'")
    assert {row[0] for row in rows} == {grant.table for grant in GRANTS}
    await connection.close()


async def test_a_role_that_may_create_no_roles_needs_existing_ones(server: PostgresServer) -> None:
    name = server.create_database()
    server.sql(f"CREATE ROLE owner_{name} LOGIN; GRANT CREATE ON DATABASE {name} TO owner_{name}")
    connection = await asyncpg.connect(server.get_url(name, user=f"owner_{name}"))
    roles = {"app_role": f"app_{name}", "admin_role": f"admin_{name}"}
    with pytest.raises(ConfigurationError, match=f"the role app_{name} does not exist"):
        await create_schema(connection, deployment=DEPLOYMENT, **roles)
    server.sql(f"CREATE ROLE app_{name} LOGIN; CREATE ROLE admin_{name} LOGIN")
    assert len(await create_schema(connection, deployment=DEPLOYMENT, **roles)) == 2
    await connection.close()
    assert await run(server, name, "SELECT 1 FROM projects", f"app_{name}") == "SELECT 0"


_PROJECT = "INSERT INTO projects (idx, project, version) VALUES ('pypi', 'a', 1)"
_FILE = (
    "INSERT INTO files (project, filename, version, sha256, first_seen, late, corrected)"
    " SELECT id, 'a', 0, 'a', 0, false, false FROM projects"
)
_FORGET = "INSERT INTO forgotten SELECT id, 1, 'serial', NULL, NULL, '', '', 0 FROM projects"


@pytest.mark.parametrize(
    ("user", "refused", "accepted"),
    [
        ("assay_app", "DELETE FROM files", "SELECT 1 FROM files"),
        ("assay_app", "DELETE FROM projects", "UPDATE projects SET version = 2"),
        ("assay_app", "TRUNCATE files CASCADE", _FILE.replace("'a', 0", "'b', 0")),
        ("assay_app", "UPDATE files SET sha256 = 'b'", "UPDATE evidence SET document = 'b'"),
        ("assay_app", "UPDATE projects SET idx = 'b'", "UPDATE projects SET serial = 2"),
        ("assay_app", "DROP TABLE files", "DELETE FROM records"),
        ("assay_app", _FORGET, "UPDATE forgotten SET announced = true"),
        ("assay_app", "UPDATE forgotten SET version = 9", "SELECT 1 FROM forgotten"),
        ("assay_app", "UPDATE meta SET restored = now()", "SELECT restored FROM meta"),
        ("assay_app", "DELETE FROM hosted_files", "SELECT entry FROM hosted_files"),
        ("assay_app", "UPDATE hosted_files SET entry = ''", "UPDATE hosted_projects SET state = ''"),
        ("assay_app", "UPDATE hosted_uploads SET idx = ''", "UPDATE hosted_uploads SET outcome = 'removed'"),
        ("assay_admin", "DELETE FROM forgotten", _FORGET),
        ("assay_admin", "UPDATE meta SET deployment = 'b'", "UPDATE meta SET restored = now()"),
    ],
)
async def test_no_role_can_make_the_ledger_lose_a_fact(
    server: PostgresServer, database_name: str, user: str, refused: str, accepted: str
) -> None:
    for statement in (_PROJECT, _FILE):
        await run(server, database_name, statement, "assay_app")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(server, database_name, refused, user)
    await run(server, database_name, accepted, user)


_EVIDENCE = "INSERT INTO evidence SELECT id, 'a', repeat('x', 200), 0 FROM projects"


@pytest.mark.parametrize(
    "accepted",
    [_FILE.replace("'a', 0, false", "repeat('x', 200)::bytea, 0, false"), _EVIDENCE],
    ids=["file", "evidence"],
)
async def test_no_digest_can_make_a_history_too_large_to_read(
    server: PostgresServer, database_name: str, accepted: str
) -> None:
    await run(server, database_name, _PROJECT, "assay_app")
    with pytest.raises(asyncpg.CheckViolationError):
        await run(server, database_name, accepted.replace("200", "201"), "assay_app")
    await run(server, database_name, accepted, "assay_app")


async def test_an_upgrade_migrates_once_and_a_later_version_is_left_alone(
    server: PostgresServer, database_name: str
) -> None:
    connection = await asyncpg.connect(server.get_url(database_name))
    assert await upgrade_schema(connection) == ["the tables already have schema version 1"]
    assert await upgrade_schema(connection, migrations=(NEXT,)) == ["migrated the tables to schema version 2"]
    assert await upgrade_schema(connection, migrations=(NEXT,)) == ["the tables already have schema version 2"]
    row = await connection.fetchrow("SELECT reads, writes FROM assay.meta")
    assert tuple(row) == (1, 2)
    with pytest.raises(StorageError, match="schema version 2, but this Assay knows versions up to 1 only"):
        await upgrade_schema(connection)
    with pytest.raises(ConfigurationError, match="run: assay database upgrade"):
        await create_schema(connection, deployment=DEPLOYMENT)
    await connection.close()
    assert await run(server, database_name, "SELECT more FROM projects", "assay_app") == "SELECT 0"


async def test_a_database_without_tables_cannot_be_upgraded(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.get_url(server.create_database()))
    with pytest.raises(StorageError, match="assay database init"):
        await upgrade_schema(connection)
    await connection.close()
