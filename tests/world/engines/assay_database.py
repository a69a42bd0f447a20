"""Databases with the tables of Assay, on a PostgreSQL server for tests."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import asyncpg

from assay.store.postgresql.schema import GRANTS, create_schema
from tests.world.engines.postgresql import PostgresServer

DEPLOYMENT = "acme-test"


_TEMPLATES: WeakKeyDictionary[PostgresServer, str] = WeakKeyDictionary()
"""Database of each server with the tables, which is copied for each test."""


async def create_assay_database(server: PostgresServer) -> str:
    """Create a database with the tables of Assay for `DEPLOYMENT`; return its name.

    The roles ``assay_app`` and ``assay_admin`` log in without a password: `PostgresServer.get_url` with ``user=``.
    """
    if server not in _TEMPLATES:
        name = server.create_database()
        connection = await asyncpg.connect(server.get_url(name))
        try:
            await create_schema(connection, deployment=DEPLOYMENT)
        finally:
            await connection.close()
        _TEMPLATES[server] = name
    return server.create_database(template=_TEMPLATES[server])


async def empty_assay_database(server: PostgresServer, name: str) -> None:
    """Remove all rows but that of the deployment, which is faster than a new database."""
    connection = await asyncpg.connect(server.get_url(name))
    try:
        tables = [f"assay.{grant.table}" for grant in GRANTS if grant.table != "meta"]
        await connection.execute(f"TRUNCATE {', '.join(tables)}")
        await connection.execute("UPDATE assay.meta SET restored = NULL")
    finally:
        await connection.close()
