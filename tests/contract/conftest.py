"""Database with Assay's tables for the tests of a module, which empty it."""

from __future__ import annotations

import asyncio

import pytest

from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.postgresql import PostgresServer


@pytest.fixture(scope="module")
def database_name(server: PostgresServer) -> str:
    return asyncio.run(create_assay_database(server))
