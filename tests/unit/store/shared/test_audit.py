"""Archive of audit trails: parts are never replaced, and an object storage that would replace them is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import cast

import pytest

from assay.errors import ConfigurationError, StorageError
from assay.store.objects.bucket import Bucket
from assay.store.objects.settings import ObjectStorageSettings
from assay.store.postgresql.audit_heads import AuditHeads
from assay.store.postgresql.database import Database
from assay.store.shared.audit import SharedAuditArchive, make_audit_archive
from tests.world.engines.object_storage import (
    HAS_OBJECT_STORAGE,
    MISSING_OBJECT_STORAGE,
    S3_ENVIRONMENT,
    ConditionBlindServer,
)
from tests.world.engines.processes import get_free_port

NO_DATABASE = cast("Database", None)
NO_HEADS = cast("AuditHeads", None)


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


def make_bucket(url: str, endpoint: str | None = None) -> Bucket:
    return Bucket(
        ObjectStorageSettings(url=url, deployment=f"test-{token_hex(4)}", endpoint=endpoint, first_byte_seconds=10)
    )


def list_names(objects: Path, replica: str) -> list[str]:
    return [each.name for each in objects.glob(f"test-*/audit/{replica}/*")]


async def test_a_part_is_created_once_and_read_again(tmp_path: Path) -> None:
    bucket = make_bucket(tmp_path.as_uri())
    await bucket.probe()
    archive = make_audit_archive(bucket, NO_DATABASE, is_checked=True)
    assert await archive.read("pod-1", 7, 100) is None
    assert await archive.store("pod-1", 7, b"first")
    assert not await archive.store("pod-1", 7, b"second")
    assert await archive.store("pod-2", 7, b"second")
    assert await archive.read("pod-1", 7, 100) == b"first"
    with pytest.raises(StorageError, match="more than 4 bytes"):
        await archive.read("pod-1", 7, 4)
    await bucket.close()
    assert list_names(tmp_path, "pod-1") == ["000000000007.jsonl.gz"]


async def test_a_storage_that_ignores_conditions_is_refused(condition_blind: ConditionBlindServer) -> None:
    bucket = make_bucket(f"s3://{condition_blind.bucket}/", condition_blind.endpoint)
    await bucket.probe()
    with pytest.raises(ConfigurationError, match="overwrites an object that exists"):
        make_audit_archive(bucket, NO_DATABASE, is_checked=True)
    late = make_audit_archive(bucket, NO_DATABASE, is_checked=False)
    with pytest.raises(StorageError, match="overwrites an object that exists"):
        await late.store("pod-1", 7, b"first")
    assert await late.read("pod-1", 7, 100) is None
    await bucket.close()


async def test_a_storage_that_was_away_at_the_start_is_checked_before_the_first_part(tmp_path: Path) -> None:
    bucket = make_bucket(tmp_path.as_uri())
    archive = make_audit_archive(bucket, NO_DATABASE, is_checked=False)
    assert await archive.store("pod-1", 7, b"first")
    assert bucket.has_conditions
    await bucket.close()


async def test_a_storage_that_is_away_is_an_error() -> None:
    bucket = make_bucket("s3://assay/", f"http://127.0.0.1:{get_free_port()}")
    archive = SharedAuditArchive(bucket, NO_HEADS)
    with pytest.raises(StorageError, match="not usable"):
        await archive.store("pod-1", 7, b"first")
    with pytest.raises(StorageError, match="cannot be read"):
        await archive.read("pod-1", 7, 100)
    await bucket.close()


def test_without_an_object_storage_there_is_no_archive() -> None:
    with pytest.raises(ConfigurationError, match="expected an object storage"):
        make_audit_archive(None, NO_DATABASE, is_checked=False)
