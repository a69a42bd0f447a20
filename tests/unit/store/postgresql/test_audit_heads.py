"""Heads of audit trails in PostgreSQL: each part has one, which the service cannot change."""

from __future__ import annotations

import asyncpg
import pytest

from assay.errors import StorageError
from assay.ports import AuditHead
from assay.store.postgresql.audit_heads import AuditHeads
from assay.store.postgresql.database import Database


def make_head(part: int, digest: str = "a", replica: str = "pod-1") -> AuditHead:
    return AuditHead(replica=replica, part=part, sequence=part, hash=digest * 64)


async def test_a_head_is_recorded_once_and_another_one_of_its_part_is_refused(database: Database) -> None:
    heads = AuditHeads(database)
    for part in (7, 3):
        assert await heads.record(make_head(part))
    assert await heads.record(make_head(7)), "an upload may be repeated"
    assert not await heads.record(make_head(7, "b"))
    assert await heads.record(make_head(7, "b", "pod-2"))
    assert await heads.list("pod-1") == [make_head(3), make_head(7)]
    assert await heads.list("pod-3") == []


async def test_the_service_can_neither_change_nor_remove_a_head(database: Database) -> None:
    heads = AuditHeads(database)
    await heads.record(make_head(3))
    for statement in ("UPDATE audit_heads SET hash = 'x'", "DELETE FROM audit_heads"):
        with pytest.raises((StorageError, asyncpg.InsufficientPrivilegeError)):
            async with database.connection() as connection:
                await connection.execute(statement)
    assert await heads.list("pod-1") == [make_head(3)]
