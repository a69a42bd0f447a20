"""Connections to the database: deadlines, kinds of errors, and recovery."""

from __future__ import annotations

import asyncio
import ssl

import asyncpg
import pytest

from assay.errors import DatabaseUnavailableError, StorageError
from assay.store.postgresql.database import Database, DatabaseSettings, UrlParameterError, _find_remedy
from tests.world.engines.postgresql import PostgresServer
from tests.world.engines.processes import get_free_port


async def test_a_transaction_is_committed_or_has_no_effect(database: Database) -> None:
    insert = "INSERT INTO projects (idx, project, version) VALUES ('pypi', $1, 1)"
    async with database.transaction() as connection:
        await connection.execute(insert, "kept")

    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute(insert, "dropped")
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await fail()
    async with database.connection() as connection:
        assert [row[0] for row in await connection.fetch("SELECT project FROM projects")] == ["kept"]
        assert await connection.fetchval("SHOW application_name") == "assay"


async def test_an_error_of_a_statement_is_no_outage(database: Database) -> None:
    with pytest.raises(StorageError, match="cannot be used") as refused:
        async with database.connection() as connection:
            await connection.execute("SELECT * FROM nothing")
    assert not isinstance(refused.value, DatabaseUnavailableError)
    assert database.is_available
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_direct_connection_has_the_name_of_its_purpose(database: Database) -> None:
    connection = await database.connect_directly("flights")
    assert await connection.fetchval("SHOW application_name") == "assay flights"
    await connection.close()


async def test_a_killed_server_is_unavailable_and_later_available_again(
    server: PostgresServer, database: Database
) -> None:
    changes: list[bool] = []
    database.subscribe(changes.append)
    async with database.connection() as connection:
        await connection.fetchval("SELECT 1")
    server.kill()
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError, match="is unavailable") as refused:
            async with database.connection() as connection:
                await connection.fetchval("SELECT 1")
        assert "assay_app" not in str(refused.value)
    with pytest.raises(DatabaseUnavailableError):
        await database.connect_directly("flights")
    assert not database.is_available
    server.start()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    assert database.is_available
    assert changes == [False, True]


@pytest.mark.parametrize("has_connection", [True, False])
async def test_a_server_that_does_not_answer_is_unavailable_within_the_deadline(
    server: PostgresServer, database_name: str, has_connection: bool
) -> None:
    database = Database(DatabaseSettings(url=server.get_url(database_name, user="assay_app"), deadline_seconds=1))
    await database.open()
    if has_connection:
        async with database.connection() as connection:
            await connection.fetchval("SELECT 1")
    server.process.pause()
    try:
        with pytest.raises(DatabaseUnavailableError, match="did not answer in time"):
            async with database.connection() as connection:
                await connection.fetchval("SELECT 1")
    finally:
        server.process.resume()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()
    with pytest.raises(DatabaseUnavailableError, match="are closed"):
        async with database.connection():
            pass


async def fail_to_connect(url: str) -> str:
    """Return the message of the error of a connection that must fail."""
    database = Database(DatabaseSettings(url=url, deadline_seconds=20))
    await database.open()
    with pytest.raises(DatabaseUnavailableError) as caught:
        async with database.connection():
            pass
    await database.close()
    return str(caught.value)


async def test_a_refused_role_is_told_what_to_check_and_an_unreachable_server_is_not(
    server: PostgresServer, database_name: str
) -> None:
    closed = f"postgresql://assay_app@127.0.0.1:{get_free_port()}/{database_name}"
    for url, is_refused in ((server.get_url(database_name, user="no_such_role"), True), (closed, False)):
        assert ("check the role in the URL and its password (password-file" in await fail_to_connect(url)) == is_refused


async def test_a_parameter_that_the_server_does_not_accept_is_named_and_an_accepted_one_works(
    server: PostgresServer, database_name: str
) -> None:
    for parameter, message in (
        ("no_such_parameter=1", 'unrecognized configuration parameter "no_such_parameter"'),
        ("fsync=off", 'parameter "fsync" cannot be changed now'),
        ("work_mem=much", "invalid value for parameter"),
        ("work_mem=8MB", None),
    ):
        database = Database(DatabaseSettings(url=f"{server.get_url(database_name)}?{parameter}", deadline_seconds=20))
        await database.open()
        if message is None:
            async with database.connection() as connection:
                assert await connection.fetchval("SHOW work_mem") == "8MB"
        else:
            with pytest.raises(UrlParameterError, match=f"{message}.*correct the parameter or remove it"):
                async with database.connection():
                    pass
        await database.close()


async def test_a_server_without_tls_is_told_from_one_that_cannot_be_reached(
    server: PostgresServer, database_name: str
) -> None:
    required = f"{server.get_url(database_name)}?sslmode=require"
    closed = f"postgresql://assay_app@127.0.0.1:{get_free_port()}/{database_name}?sslmode=require"
    for url, has_no_tls in ((required, True), (closed, False)):
        assert ("the server offers no TLS: set ssl = on" in await fail_to_connect(url)) == has_no_tls


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (asyncpg.InvalidPasswordError("password authentication failed"), "its password (password-file, or PGPASSWORD"),
        (
            asyncpg.InvalidAuthorizationSpecificationError('no pg_hba.conf entry for host "10.0.0.1", no encryption'),
            "add sslmode=verify-full to the URL",
        ),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "sslrootcert=FILE"),
        (ConnectionRefusedError(111, "Connect call failed"), None),
        (ssl.SSLError(1, "another error"), None),
    ],
)
def test_an_error_of_a_setting_has_its_remedy_and_one_of_the_server_has_none(
    error: Exception, words: str | None
) -> None:
    remedy = _find_remedy(error)
    assert remedy is None if words is None else words in (remedy or "")


async def test_the_password_is_asked_for_each_connection(server: PostgresServer, database_name: str) -> None:
    passwords = iter(["first", None])
    asked: list[str | None] = []

    def read() -> str | None:
        asked.append(next(passwords))
        return asked[-1]

    database = Database(DatabaseSettings(url=server.get_url(database_name), password=read, deadline_seconds=20))
    await database.open()
    for name in ("a", "b"):
        await (await database.connect_directly(name)).close()
    assert asked == ["first", None]
    await database.close()


async def test_while_a_server_does_not_answer_one_caller_waits_and_the_others_fail_at_once(
    server: PostgresServer, database_name: str
) -> None:
    database = Database(DatabaseSettings(url=server.get_url(database_name, user="assay_app"), deadline_seconds=3))
    await database.open()

    async def ask() -> object:
        async with database.connection() as connection:
            return await connection.fetchval("SELECT 1")

    server.process.pause()
    try:
        with pytest.raises(DatabaseUnavailableError, match="did not answer in time"):
            await ask()
        probe = asyncio.create_task(ask())
        await asyncio.sleep(0)
        others = await asyncio.gather(*(ask() for _ in range(20)), return_exceptions=True)
        assert not probe.done()
        assert {str(each).rpartition(": ")[2] for each in others} == {"it does not answer"}
    finally:
        server.process.resume()
    assert await probe == 1
    assert await asyncio.gather(*(ask() for _ in range(20))) == [1] * 20
    await database.close()


async def test_a_statement_that_waits_for_a_lock_is_ended_and_is_no_outage(
    server: PostgresServer, database_name: str, database: Database
) -> None:
    patient = database
    hasty = Database(DatabaseSettings(url=server.get_url(database_name, user="assay_app"), deadline_seconds=1))
    await hasty.open()

    async def lock(connections: Database) -> None:
        async with connections.connection() as connection:
            await connection.execute("UPDATE projects SET version = version + 1")

    async with patient.transaction() as connection:
        await connection.execute("INSERT INTO projects (idx, project, version) VALUES ('pypi', 'a', 1)")
    async with patient.transaction() as connection:
        await connection.execute("UPDATE projects SET version = version + 1")
        with pytest.raises(DatabaseUnavailableError, match="has not done the work in time"):
            await lock(hasty)
        assert hasty.is_available
    await lock(hasty)
    await hasty.close()
