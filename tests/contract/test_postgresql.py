"""The shared engine, PostgreSQL, keeps the contracts of what it implements."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from assay.ports import Ledger
from assay.store.postgresql.database import Database, DatabaseSettings
from assay.store.postgresql.ledger import PostgresLedger
from tests.contract.ledger_contract import LedgerContract
from tests.world.engines.assay_database import empty_assay_database
from tests.world.engines.postgresql import PostgresServer


@pytest.fixture
async def database(server: PostgresServer, database_name: str) -> AsyncIterator[Database]:
    """The connections of the operator's role, which may state that facts no longer count."""
    await empty_assay_database(server, database_name)
    opened = Database(DatabaseSettings(url=server.get_url(database_name, user="assay_admin"), deadline_seconds=20))
    await opened.open()
    yield opened
    await opened.close()


class TestLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, database: Database) -> Ledger:
        return PostgresLedger(database)
