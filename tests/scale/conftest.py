"""Fixtures of the tests with several replicas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scale.engines import SharedEngines
from tests.scale.load_balancer import HAS_NGINX, MISSING_NGINX
from tests.world.engines.object_storage import S3Server
from tests.world.engines.postgresql import HAS_POSTGRESQL, MISSING_POSTGRESQL, PostgresServer


@pytest.fixture(autouse=True)
def nginx() -> None:
    """The load balancer of all these tests; without it, they are skipped."""
    if not HAS_NGINX:
        pytest.skip(MISSING_NGINX)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    if not HAS_POSTGRESQL:
        pytest.skip(MISSING_POSTGRESQL)
    with PostgresServer(durable=True) as server:
        yield server


@pytest.fixture
def shared(postgres: PostgresServer, s3: S3Server, tmp_path: Path) -> SharedEngines:
    """Shared storage with an empty database and no object."""
    return SharedEngines.create(postgres, s3, tmp_path)
