"""Ledger of a dry run: it shows the facts of a ledger with changes of its run, and writes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from assay.errors import LedgerError
from assay.ports import ForgottenKind, HistoryChanges, ProjectHistory
from assay.store.ledger.ledger import SqliteLedger
from assay.store.shared.ledger_copy import LedgerCopy

FOO, BAR = canonicalize_name("foo"), canonicalize_name("bar")
NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    opened = SqliteLedger(tmp_path / "ledger.db", may_create=True)
    await opened.open()
    await opened.record("test", FOO, HistoryChanges(serial=1), known=ProjectHistory())
    yield opened
    await opened.close()


async def test_it_shows_changes_of_the_run_and_the_ledger_stays(ledger: SqliteLedger) -> None:
    copy = LedgerCopy(ledger)
    known = await copy.get_history("test", FOO)
    assert known.serial == 1
    recorded = await copy.record("test", FOO, HistoryChanges(serial=2), known=known)
    assert recorded is not None
    assert (recorded.serial, (await copy.get_history("test", FOO)).serial) == (2, 2)
    assert await copy.record("test", FOO, HistoryChanges(serial=3), known=known) is None, "known is outdated"
    assert await copy.record("test", BAR, HistoryChanges(serial=5), known=ProjectHistory()) is not None
    assert (await ledger.get_history("test", FOO)).serial == 1
    assert await ledger.list_projects() == await copy.list_projects() == [("test", FOO)]
    assert [line async for line in copy.export()] == [line async for line in ledger.export()]


async def test_it_refuses_statements_and_imports_and_has_no_news(ledger: SqliteLedger) -> None:
    copy = LedgerCopy(ledger)
    with pytest.raises(LedgerError, match="states nothing"):
        await copy.forget("test", FOO, ForgottenKind.SERIAL, at=NOW, reason="x")
    with pytest.raises(LedgerError, match="adds nothing"):
        await copy.import_(["{}"])
    news = await copy.poll_forgotten()
    assert (news.projects, news.unannounced) == ((), ())
    await copy.mark_announced(())
    assert (await ledger.get_history("test", FOO)).serial == 1
