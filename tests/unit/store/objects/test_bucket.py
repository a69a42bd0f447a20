"""The bucket: its probe, its deadlines, and a service that hangs, dies or ignores conditions."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tracemalloc
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError

from assay.errors import (
    ConfigurationError,
    InvalidResponseError,
    StorageError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from assay.simple.model import Sha256
from assay.store.objects.breaker import BREAK_SECONDS
from assay.store.objects.bucket import Bucket
from assay.store.objects.settings import ObjectStorageSettings
from tests.contract.objects_contract import digest, write
from tests.unit.store.objects.conftest import FakeClock, locate
from tests.world.engines.object_storage import ConditionBlindServer, S3Server


async def test_the_probe_of_a_directory_succeeds_and_leaves_nothing(directory_bucket: Bucket) -> None:
    await directory_bucket.probe()
    assert directory_bucket.has_conditions
    assert [entry async for entry in directory_bucket.list("probe")] == []


async def test_the_probe_of_seaweedfs_succeeds(s3_bucket: Bucket) -> None:
    await s3_bucket.probe()
    assert s3_bucket.has_conditions
    assert [entry async for entry in s3_bucket.list("probe")] == []


async def test_the_probe_finds_a_service_that_ignores_conditions(condition_blind: ConditionBlindServer) -> None:
    bucket = Bucket(locate(condition_blind))
    await bucket.probe()
    assert not bucket.has_conditions


async def test_the_probe_finds_a_service_that_has_no_conditions(
    directory_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put_async

    async def put_as_swift_does(*arguments: Any, mode: Any, **options: Any) -> object:
        if mode == "create":
            raise GenericError("501 Not Implemented")
        return await put(*arguments, mode=mode, **options)

    monkeypatch.setattr("assay.store.objects.bucket.obstore.put_async", put_as_swift_does)
    await directory_bucket.probe()
    assert not directory_bucket.has_conditions
    assert [entry async for entry in directory_bucket.list("probe")] == []


async def test_wrong_credentials_are_an_error_of_the_configuration(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ConfigurationError, match="refuses access"):
        await Bucket(locate(s3)).probe()


async def test_a_missing_bucket_is_an_error_of_the_configuration(condition_blind: ConditionBlindServer) -> None:
    settings = ObjectStorageSettings(url="s3://missing", deployment="test", endpoint=condition_blind.endpoint)
    with pytest.raises(ConfigurationError, match="does not exist"):
        await Bucket(settings).probe()


async def test_a_missing_directory_is_an_error_of_the_configuration_and_is_not_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file/x", "missing"):
        with pytest.raises(ConfigurationError, match="objects: "):
            Bucket(ObjectStorageSettings(url=f"file://{tmp_path}/{name}", deployment="test"))
    assert not (tmp_path / "missing").exists()


async def test_an_absent_service_is_an_error_of_the_storage() -> None:
    settings = ObjectStorageSettings(url="s3://bucket", deployment="test", endpoint="http://127.0.0.1:1")
    with pytest.raises(StorageError, match="not usable"):
        await Bucket(settings).probe()


async def test_the_probe_does_not_wait_for_a_service_that_never_answers() -> None:
    never = asyncio.Event()

    async def stay_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    silent = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    settings = ObjectStorageSettings(url="s3://bucket", deployment="test", endpoint=endpoint)
    bucket = Bucket(settings, probe_seconds=0.1)
    with pytest.raises(StorageError, match="no answer in time"):
        await bucket.probe()
    assert not bucket.is_available
    silent.close()
    never.set()
    await silent.wait_closed()
    await bucket.close()


async def test_a_small_object_is_created_once_and_overwritten_on_request(directory_bucket: Bucket) -> None:
    assert await directory_bucket.put("a/b", b"1", is_new=True)
    assert not await directory_bucket.put("a/b", b"2", is_new=True)
    assert await directory_bucket.read("a/b", 1) == b"1"
    assert await directory_bucket.put("a/b", b"22")
    assert await directory_bucket.read("a/b", 2) == b"22"
    with pytest.raises(InvalidResponseError):
        await directory_bucket.read("a/b", 1)
    assert await directory_bucket.read("a/c", 1) is None


async def test_a_paused_service_costs_one_deadline_and_is_asked_again_later(s3: S3Server, clock: FakeClock) -> None:
    bucket = Bucket(locate(s3, first_byte_seconds=0.3), clock)
    patient = Bucket(locate(s3))
    await patient.put("a", b"1")  # the server has begun to work
    assert await bucket.find_size("a") is None
    s3.process.pause()
    try:
        with pytest.raises(UpstreamTimeoutError):
            async with bucket.open("a"):
                pass
        assert not bucket.is_available
        for call in (bucket.find_size("a"), bucket.read("a", 1)):
            with pytest.raises(UpstreamUnavailableError, match="does not answer"):
                await call
        for write_call in (bucket.put("a", b"1"), bucket.remove("a")):
            with pytest.raises(StorageError):
                await write_call
    finally:
        s3.process.resume()
    assert await patient.find_size("a") == 1  # it answers again
    clock.now += BREAK_SECONDS
    assert await bucket.read("a", 1) is None
    assert bucket.is_available


async def test_a_missing_object_does_not_open_the_breaker(s3_bucket: Bucket) -> None:
    assert await s3_bucket.find_size("nothing") is None
    assert s3_bucket.is_available


async def test_a_large_object_is_streamed_with_little_memory(directory_bucket: Bucket, tmp_path: Path) -> None:
    path, size, hashed = tmp_path / "large", 100 * 2**20, hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(100):
            piece = os.urandom(2**20)
            hashed.update(piece)
            file.write(piece)
    sha256 = Sha256(hashed.hexdigest())
    tracemalloc.start()
    try:
        await directory_bucket.put_file("large", path.open("rb", buffering=0), sha256)
        read = hashlib.sha256()
        async with directory_bucket.open("large") as body:
            assert body.length == size
            async for chunk in body.chunks:
                read.update(chunk)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()
    assert read.hexdigest() == sha256


@pytest.mark.parametrize("size", [100, 30_000_000])
async def test_closing_stops_uploads_and_leaves_no_object(s3: S3Server, tmp_path: Path, size: int) -> None:
    settings = locate(s3)
    bucket, content = Bucket(settings), os.urandom(size)
    readers = [await asyncio.to_thread(write, tmp_path, content) for _ in range(2)]
    upload = asyncio.create_task(bucket.put_file("a", readers[0], digest(content)))
    await asyncio.sleep(0)
    await bucket.close()
    with pytest.raises(StorageError, match="closing"):
        await upload
    with pytest.raises(StorageError, match="closing"):
        await bucket.put_file("a", readers[1], digest(content))
    assert all(reader.closed for reader in readers)
    assert await Bucket(settings).find_size("a") is None


async def test_a_service_that_dies_during_an_upload_is_an_error(tmp_path: Path) -> None:
    settings = ObjectStorageSettings(url="s3://bucket", deployment="test", endpoint="http://127.0.0.1:1")
    reader = await asyncio.to_thread(write, tmp_path, b"abc")
    with pytest.raises(StorageError):
        await Bucket(settings).put_file("a", reader, digest(b"abc"))
    assert reader.closed
