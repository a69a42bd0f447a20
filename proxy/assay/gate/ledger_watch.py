"""Watcher of the ledger, which makes a running proxy ignore facts that ``assay ledger forget`` declares wrong.

The command writes to the ledger from another process. The watcher asks the ledger once a second. For each project of
which facts no longer count, it publishes a notice, and the gates judge the page again. It also logs each statement and
adds it to the audit trail. Statements made while no proxy ran are logged and audited at the next start, unless the
command has done so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from assay import telemetry
from assay.caching.background import BackgroundTasks
from assay.errors import AssayError
from assay.ports import ForgottenNote, Ledger, Notice, Storage
from assay.telemetry.audit_trail import AuditTrail

POLL_INTERVAL_SECONDS = 1.0


@asynccontextmanager
async def watch_ledger(
    storage: Storage, trail: AuditTrail | None, *, poll_interval_seconds: float = POLL_INTERVAL_SECONDS
) -> AsyncIterator[None]:
    """Watch the ledger until the context ends.

    Args:
        storage: has the ledger and the channel of notices.
        trail: the audit trail; None: no audit trail is configured.
        poll_interval_seconds: time between two polls, in seconds.
    """
    async with BackgroundTasks() as tasks:
        tasks.spawn(_watch(storage, trail, poll_interval_seconds), name="ledger watch")
        yield


async def _watch(storage: Storage, trail: AuditTrail | None, poll_interval_seconds: float) -> None:
    is_failing = False
    while True:
        try:
            await check_ledger(storage, trail)
            is_failing = False
        except AssayError as error:
            if not is_failing:
                telemetry.warning("ledger-watch-failed", error=str(error))
            is_failing = True
        await asyncio.sleep(poll_interval_seconds)


async def check_ledger(storage: Storage, trail: AuditTrail | None) -> None:
    """Poll the ledger once: publish notices, and announce statements that facts no longer count.

    Raises:
        StorageError: the ledger or the audit trail cannot be used. The next call tries again.
    """
    news = await storage.ledger.poll_forgotten()
    for index, project in news.projects:
        storage.notices.publish(Notice(index=index, project=project))
    if news.unannounced:
        await announce_forgotten(storage.ledger, news.unannounced, trail)


async def announce_forgotten(ledger: Ledger, notes: Sequence[ForgottenNote], trail: AuditTrail | None) -> None:
    """Log statements that facts no longer count, and add them to the audit trail.

    Raises:
        StorageError: the audit trail or the ledger cannot be written.
    """
    for note in notes:
        fields = _describe(note)
        if trail is not None:
            await trail.record({"event": "forgot", **fields})
        await ledger.mark_announced((note,))
        telemetry.warning("facts-forgotten", **fields)


def _describe(note: ForgottenNote) -> dict[str, Any]:
    fact = note.fact
    optional = {"filename": fact.filename, "sha256": fact.sha256}
    return {
        "index": note.index,
        "project": note.project,
        "what": fact.what.value,
        **{name: value for name, value in optional.items() if value is not None},
        "found": fact.found,
        "version": fact.version,
        "at": fact.at.isoformat(),
        "reason": fact.reason,
    }
