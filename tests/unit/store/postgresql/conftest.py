"""Connections to a database with Assay's tables, for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from assay.store.postgresql.database import Database, DatabaseSettings
from tests.world.engines.postgresql import PostgresServer


@pytest.fixture
async def database(server: PostgresServer, database_name: str) -> AsyncIterator[Database]:
    """The connections of the service."""
    settings = DatabaseSettings(url=server.get_url(database_name, user="assay_app"), deadline_seconds=20)
    opened = Database(settings)
    await opened.open()
    yield opened
    await opened.close()
