"""Rotation of the key of running replicas: new seals use the new key, and values of the old one stay readable."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.ports import Storage
from assay.store.factory import open_storage
from assay.store.settings import StorageSettings
from tests.world.engines.assay_database import create_assay_database
from tests.world.engines.postgresql import PostgresServer
from tests.world.engines.shared_storage import make_replica_settings
from tests.world.proxy.told import Told

HANG_SECONDS = 60


@pytest.fixture
async def settings(server: PostgresServer, tmp_path: Path) -> StorageSettings:
    return make_replica_settings(server, await create_assay_database(server), tmp_path)


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - the watcher of the file reports no event to the test
            await asyncio.sleep(0.05)


async def write_and_read(store: Storage, key: str) -> bytes | None:
    await store.records.put(key, b"value")
    return await store.records.get(key)


async def test_a_key_is_rotated_without_a_restart(settings: StorageSettings, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    old, new = bytes.fromhex(key_file.read_text()), secrets.token_bytes(32)
    store = await open_storage(settings)
    try:
        assert await write_and_read(store, "before") == b"value"
        key_file.write_text(f"{new.hex()}\n{old.hex()}\n")
        await wait_until(lambda: tuple(store.get_keys()) == (new, old))
        assert await store.records.get("before") == b"value"
        assert await write_and_read(store, "after") == b"value"
        key_file.write_text(new.hex())
        await wait_until(lambda: tuple(store.get_keys()) == (new,))
        assert await store.records.get("before") is None, "sealed by a key that is no longer known"
        assert await store.records.get("after") == b"value"
    finally:
        await store.close()


async def test_an_invalid_key_file_keeps_the_keys(
    settings: StorageSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_storage(settings)
    try:
        before = tuple(store.get_keys())
        (tmp_path / "key").write_text("too short\n")
        await wait_until(lambda: any(record.getMessage().startswith("file-invalid") for record in caplog.records))
        assert tuple(store.get_keys()) == before
        assert await write_and_read(store, "key") == b"value"
    finally:
        await store.close()


async def test_a_key_file_that_others_may_read_is_told_at_the_start_and_a_private_one_is_not(
    settings: StorageSettings, tmp_path: Path
) -> None:
    told = Told("key-file-exposed")
    for mode in (0o600, 0o644):
        (tmp_path / "key").chmod(mode)
        store = await open_storage(settings)
        await store.close()
    await told.wait()
    assert told.events == [{"path": tmp_path / "key", "mode": "0644"}]
