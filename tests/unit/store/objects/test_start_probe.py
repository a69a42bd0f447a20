"""Probe at the start: an object storage that was away is probed when it answers again."""

from __future__ import annotations

import asyncio

import pytest

from assay.errors import ConfigurationError
from assay.store.objects.bucket import Bucket
from assay.store.objects.settings import ObjectStorageSettings
from assay.store.objects.start_probe import StartProbe
from tests.unit.store.objects.conftest import FakeClock, locate
from tests.world.engines.object_storage import S3Server
from tests.world.proxy.told import Told

HANG_SECONDS = 30


async def test_a_storage_that_answers_is_probed_once(directory_bucket: Bucket) -> None:
    later = Told("objects-checked")
    probe = StartProbe(directory_bucket, pause_seconds=0)
    await probe.open()
    assert probe.is_done
    assert directory_bucket.has_conditions
    await asyncio.sleep(0.05)
    await probe.close()
    assert later.events == []


async def test_a_storage_that_was_away_is_probed_when_it_answers_again(s3: S3Server, clock: FakeClock) -> None:
    failed, later = Told("objects-not-checked"), Told("objects-checked")
    patient = Bucket(locate(s3))
    await patient.put("a", b"1")  # the server has begun to work
    bucket = Bucket(locate(s3, first_byte_seconds=1), clock, probe_seconds=0.3)
    probe = StartProbe(bucket, pause_seconds=0.05)
    s3.process.pause()
    try:
        await probe.open()
        await failed.wait()
        clock.now += 11
        await asyncio.sleep(0.5)
        assert not probe.is_done
        assert not bucket.has_conditions
    finally:
        s3.process.resume()
    async with asyncio.timeout(HANG_SECONDS):
        while not probe.is_done:
            clock.now += 11
            await asyncio.sleep(0.05)
    assert bucket.has_conditions
    assert bucket.is_available
    await probe.close()
    assert len(failed.events) == 1
    assert later.events == [{"has_conditions": True}]
    await bucket.close()
    await patient.close()


async def test_a_storage_that_refuses_access_fails_the_start(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    probe = StartProbe(Bucket(locate(s3)))
    with pytest.raises(ConfigurationError, match="refuses access"):
        await probe.open()
    assert not probe.is_done


async def test_a_probe_that_is_closed_tries_no_more() -> None:
    settings = ObjectStorageSettings(url="s3://bucket", deployment="test", endpoint="http://127.0.0.1:1")
    bucket = Bucket(settings)
    probe = StartProbe(bucket, pause_seconds=0)
    await probe.open()
    await probe.close()
    await probe.close()
    assert not probe.is_done
    await bucket.close()
