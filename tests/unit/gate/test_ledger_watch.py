"""Watcher of the ledger while the ledger or the audit trail fails."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from assay.errors import LedgerError, StorageError
from assay.gate.ledger_watch import check_ledger, watch_ledger
from assay.ports import ForgottenFact, ForgottenKind, ForgottenNews, ForgottenNote, Notice, Storage
from assay.telemetry.audit_trail import AuditTrail
from tests.contract.ledger_contract import NOON, PROJECT
from tests.world.proxy.told import Told

NOTE = ForgottenNote(
    index="pypi",
    project=PROJECT,
    fact=ForgottenFact(what=ForgottenKind.SERIAL, version=1, at=NOON, reason="a test", found="7"),
)


@dataclass
class ScriptedStorage:
    """Ledger and notices in one; `answers` are the results of polls, the last one repeatedly."""

    answers: list[ForgottenNews | LedgerError]
    polls: int = 0
    announced: list[ForgottenNote] = field(default_factory=list)
    notices_published: list[Notice] = field(default_factory=list)
    has_published: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ledger(self) -> ScriptedStorage:
        return self

    @property
    def notices(self) -> ScriptedStorage:
        return self

    async def poll_forgotten(self) -> ForgottenNews:
        self.polls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, LedgerError):
            raise answer
        return answer

    async def mark_announced(self, notes: tuple[ForgottenNote, ...]) -> None:
        self.announced += notes

    def publish(self, notice: Notice) -> None:
        self.notices_published.append(notice)
        self.has_published.set()


class FullTrail:
    """Audit trail that takes entries once `is_full` is False."""

    def __init__(self) -> None:
        self.is_full = True
        self.entries: list[Any] = []

    async def record(self, fields: Any) -> None:
        if self.is_full:
            raise StorageError("the disk is full")
        self.entries.append(fields)


async def test_a_ledger_that_fails_is_a_warning_once_and_is_asked_again() -> None:
    failing, told = LedgerError("the disk failed"), Told("ledger-watch-failed")
    news = ForgottenNews(projects=(("pypi", PROJECT),))
    storage = ScriptedStorage([failing, failing, ForgottenNews(), failing, news, ForgottenNews()])
    async with watch_ledger(cast("Storage", storage), None, poll_interval_seconds=0), asyncio.timeout(20):
        await storage.has_published.wait()
    told.unsubscribe()
    assert [each["error"] for each in told.events] == ["the disk failed"] * 2
    assert storage.notices_published == [Notice(index="pypi", project=PROJECT)]


async def test_a_statement_that_the_audit_trail_does_not_take_stays_unannounced() -> None:
    storage, trail, told = ScriptedStorage([ForgottenNews(unannounced=(NOTE,))]), FullTrail(), Told("facts-forgotten")
    with pytest.raises(StorageError, match="the disk is full"):
        await check_ledger(cast("Storage", storage), cast("AuditTrail", trail))
    assert (storage.announced, told.events) == ([], [])
    trail.is_full = False
    await check_ledger(cast("Storage", storage), cast("AuditTrail", trail))
    told.unsubscribe()
    assert storage.announced == [NOTE]
    assert len(told.events) == 1
    assert trail.entries == [
        {
            "event": "forgot",
            "index": "pypi",
            "project": PROJECT,
            "what": "serial",
            "found": "7",
            "version": 1,
            "at": NOON.isoformat(),
            "reason": "a test",
        }
    ]
