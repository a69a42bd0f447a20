"""Hosted files in PostgreSQL and object storage keep the contract of hosted files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay.ports import HostedStorage
from tests.contract.hosted_contract import HostedContract
from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.memory_bucket import MemoryBucket
from tests.world.engines.postgresql import HAS_POSTGRESQL, MISSING_POSTGRESQL, PostgresServer
from tests.world.engines.shared_hosted import open_replica

pytestmark = pytest.mark.skipif(not HAS_POSTGRESQL, reason=MISSING_POSTGRESQL)


class TestSharedHosted(HostedContract):
    @pytest.fixture
    async def hosted(self, server: PostgresServer, tmp_path: Path) -> AsyncIterator[HostedStorage]:
        url = server.get_url(await create_assay_database(server), user="assay_app")
        async with open_replica(url, MemoryBucket(), tmp_path) as opened:
            yield opened
