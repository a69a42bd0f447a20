"""Fixtures of object storages: a directory, SeaweedFS and rclone. A server serves all tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from assay.store.objects.bucket import Bucket
from assay.store.objects.settings import ObjectStorageSettings
from tests.world.engines.object_storage import (
    HAS_OBJECT_STORAGE,
    MISSING_OBJECT_STORAGE,
    S3_ENVIRONMENT,
    ConditionBlindServer,
    S3Server,
)


def locate(server: S3Server | ConditionBlindServer, first_byte_seconds: float = 10) -> ObjectStorageSettings:
    """Return the settings of a separate deployment on a server."""
    return ObjectStorageSettings(
        url=f"s3://{server.bucket}/some/prefix",
        deployment=f"test-{token_hex(4)}",
        endpoint=server.endpoint,
        first_byte_seconds=first_byte_seconds,
    )


@pytest.fixture(scope="module")
def condition_blind() -> Iterator[ConditionBlindServer]:
    if not HAS_OBJECT_STORAGE:
        pytest.skip(MISSING_OBJECT_STORAGE)
    with ConditionBlindServer() as server:
        yield server


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def directory_bucket(tmp_path: Path) -> AsyncIterator[Bucket]:
    (tmp_path / "objects").mkdir()
    bucket = Bucket(ObjectStorageSettings(url=f"file://{tmp_path}/objects", deployment="test"))
    yield bucket
    await bucket.close()


@pytest.fixture
async def s3_bucket(s3: S3Server) -> AsyncIterator[Bucket]:
    bucket = Bucket(locate(s3))
    yield bucket
    await bucket.close()


class FakeClock:
    """Monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
