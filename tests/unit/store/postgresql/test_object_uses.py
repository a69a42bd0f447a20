"""The last uses of objects in PostgreSQL."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import date, timedelta

from assay.simple.model import Sha256
from assay.store.postgresql.database import Database
from assay.store.postgresql.object_uses import PostgresObjectUses

DAY = date(2026, 11, 30)


def make_digests(count: int) -> list[Sha256]:
    return [Sha256(hashlib.sha256(str(number).encode()).hexdigest()) for number in range(count)]


async def test_the_last_day_of_use_counts(database: Database) -> None:
    uses, (first, second, never) = PostgresObjectUses(database), make_digests(3)
    assert await uses.get_begin() is None
    await uses.record([first, second], DAY)
    await uses.record([first], DAY + timedelta(days=5))
    await uses.record([first], DAY + timedelta(days=3))
    everything = [first, second, never]
    assert await uses.find_used(everything, DAY) == {first, second}
    assert await uses.find_used(everything, DAY + timedelta(days=5)) == {first}
    assert await uses.find_used(everything, DAY + timedelta(days=6)) == set()
    assert await uses.get_begin() == DAY


async def test_only_old_uses_are_forgotten(database: Database) -> None:
    uses, (old, new) = PostgresObjectUses(database), make_digests(2)
    await uses.record([old], DAY)
    await uses.record([new], DAY + timedelta(days=1))
    await uses.forget([old, new], DAY + timedelta(days=1))
    assert await uses.find_used([old, new], DAY) == {new}
    assert await uses.get_begin() == DAY


async def test_replicas_record_many_uses_at_the_same_time(database: Database) -> None:
    uses, digests = PostgresObjectUses(database), make_digests(1200)
    await asyncio.gather(
        *(uses.record(order, DAY) for order in (digests, digests[::-1], digests[600:] + digests[:600]))
    )
    assert await uses.find_used(digests, DAY) == set(digests)
