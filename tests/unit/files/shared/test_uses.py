"""Uses of objects are recorded once a day, and one replica removes what is not used."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from assay.errors import StorageError
from assay.files.shared.uses import ObjectUsesRecorder
from assay.ports import RecordUsage
from tests.unit.files.shared.replicas import MemoryObjects, ReplicaFlights, SharedLocks
from tests.unit.files.sources import DIGEST

TODAY = date(2026, 11, 30)


class MemoryRecords:
    """Records of all replicas in memory (`assay.ports.RecordStore`)."""

    is_shared = True

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.has_changed = asyncio.Event()

    async def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return {key: self.values[key] for key in keys if key in self.values}

    async def put(self, key: str, value: bytes) -> None:
        self.values[key] = value
        self.has_changed.set()

    async def put_many(self, items: Mapping[str, bytes]) -> None:
        self.values |= items

    async def put_soon(self, items: Mapping[str, bytes]) -> None:
        self.values |= items

    async def delete(self, key: str) -> None:
        self.values.pop(key, None)

    async def stats(self) -> RecordUsage:
        return RecordUsage(count=len(self.values), size=0, limit=0)

    async def verify(self, progress: object = None) -> int:  # noqa: ARG002 - as the protocol names it
        return 0


class Replicas:
    """Recorders of several replicas before the same objects, records and flights."""

    def __init__(self) -> None:
        self.objects, self.records, self.locks = MemoryObjects(), MemoryRecords(), SharedLocks()

    def add(self, number: int = 1) -> ObjectUsesRecorder:
        return ObjectUsesRecorder(
            self.objects,
            records=self.records,
            flights=ReplicaFlights(self.locks, f"10.0.0.{number}:8081"),
            clock=lambda: datetime.combine(TODAY, datetime.min.time(), UTC),
            interval_seconds=0.01,
        )


async def test_a_file_is_recorded_once_a_day() -> None:
    replicas = Replicas()
    recorder = replicas.add()
    for day in (TODAY, TODAY, TODAY + timedelta(days=1)):
        for _ in range(3):
            recorder.note(DIGEST)
        await recorder.record(day)
    recorder.note(DIGEST)
    await recorder.record(TODAY + timedelta(days=1))
    assert replicas.objects.uses == [(TODAY, DIGEST), (TODAY + timedelta(days=1), DIGEST)]


async def test_uses_that_could_not_be_recorded_are_recorded_later() -> None:
    replicas = Replicas()
    recorder = replicas.add()
    recorder.note(DIGEST)
    replicas.objects.is_away = True
    with pytest.raises(StorageError):
        await recorder.record(TODAY)
    replicas.objects.is_away = False
    await recorder.record(TODAY)
    assert replicas.objects.uses == [(TODAY, DIGEST)]


async def test_one_replica_sweeps_once_a_day() -> None:
    replicas = Replicas()
    recorders = [replicas.add(number) for number in range(3)]
    for day in (TODAY, TODAY, TODAY + timedelta(days=1)):
        await asyncio.gather(*(recorder.sweep(day) for recorder in recorders))
    assert replicas.objects.sweeps == [TODAY, TODAY + timedelta(days=1)]


async def test_a_sweep_that_failed_is_repeated() -> None:
    replicas = Replicas()
    recorder = replicas.add()
    replicas.objects.is_away = True
    with pytest.raises(StorageError):
        await recorder.sweep(TODAY)
    replicas.objects.is_away = False
    await recorder.sweep(TODAY)
    await recorder.sweep(TODAY)
    assert replicas.objects.sweeps == [TODAY, TODAY]


async def test_both_run_in_the_background() -> None:
    replicas = Replicas()
    recorder = replicas.add()
    recorder.note(DIGEST)
    recorder.start()
    await asyncio.wait_for(replicas.records.has_changed.wait(), 30)
    await recorder.close()
    assert replicas.objects.uses == [(TODAY, DIGEST)]
    assert replicas.objects.sweeps == [TODAY]
