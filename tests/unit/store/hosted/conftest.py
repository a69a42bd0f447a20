"""URL of a database with Assay's tables, and an object storage in memory, for each test."""

from __future__ import annotations

import pytest

from tests.world.engines.memory_bucket import MemoryBucket
from tests.world.engines.postgresql import PostgresServer


@pytest.fixture
def url(server: PostgresServer, database_name: str) -> str:
    """URL of the database for the service."""
    return server.get_url(database_name, user="assay_app")


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()
