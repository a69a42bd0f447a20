"""The engines start on loopback, and end."""

from __future__ import annotations

import asyncpg
import obstore
import pytest
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

from tests.world.engines.object_storage import (
    ACCESS_KEY,
    HAS_OBJECT_STORAGE,
    MISSING_OBJECT_STORAGE,
    SECRET_KEY,
    ConditionBlindServer,
    S3Server,
)
from tests.world.engines.postgresql import HAS_POSTGRESQL, MISSING_POSTGRESQL, PostgresServer


def connect(server: S3Server | ConditionBlindServer) -> S3Store:
    return S3Store(
        server.bucket,
        endpoint=server.endpoint,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


@pytest.mark.skipif(not HAS_POSTGRESQL, reason=MISSING_POSTGRESQL)
async def test_a_database_survives_a_kill_of_its_server() -> None:
    with PostgresServer() as server:
        url = server.get_url(server.create_database())
        for _ in range(2):
            connection = await asyncpg.connect(url)
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()
            server.kill()
            server.start()


@pytest.mark.skipif(not HAS_POSTGRESQL, reason=MISSING_POSTGRESQL)
async def test_a_paused_database_does_not_answer_until_it_is_resumed() -> None:
    with PostgresServer() as server:
        connection = await asyncpg.connect(server.get_url(server.create_database()))
        server.process.pause()
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT 1", timeout=0.3)
        server.process.resume()
        await connection.close(timeout=10)


@pytest.mark.skipif(not HAS_OBJECT_STORAGE, reason=MISSING_OBJECT_STORAGE)
async def test_seaweedfs_refuses_to_create_an_object_twice_and_rclone_does_not() -> None:
    with S3Server() as server:
        store = connect(server)
        await obstore.put_async(store, "a", b"1", mode="create")
        with pytest.raises(AlreadyExistsError):
            await obstore.put_async(store, "a", b"2", mode="create")
    with ConditionBlindServer() as blind:
        store = connect(blind)
        await obstore.put_async(store, "a", b"1", mode="create")
        await obstore.put_async(store, "a", b"2", mode="create")
