"""Statements that facts no longer count: no row is deleted, and another process may make them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from assay.errors import LedgerError
from assay.ports import EstablishedPublisher, ForgottenFact, ForgottenKind, ForgottenNews, HistoryChanges
from assay.store.ledger.forgetting import Forgetting, describe_publishers
from assay.store.ledger.ledger import SqliteLedger
from tests.contract.ledger_contract import (
    DIGEST_LAST,
    EVERYTHING,
    FILENAMES_OF,
    NOON,
    PROJECT,
    digest,
    forget,
    learn,
    publisher,
    seen,
)
from tests.world.proxy.ledgers import LedgerFactory, make_older

TABLES = ("projects", "files", "established", "publishers", "evidence")
DAY = timedelta(days=1)


def read_rows(path: Path, table: str) -> set[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608 - constant


async def test_forgetting_deletes_and_changes_no_row(ledger: SqliteLedger, ledger_path: Path) -> None:
    await learn(ledger, "pypi", PROJECT, EVERYTHING)
    before = {table: read_rows(ledger_path, table) for table in TABLES}
    for what in DIGEST_LAST:
        await forget(ledger, what, *FILENAMES_OF.get(what, ()))
    assert {table: read_rows(ledger_path, table) for table in TABLES} == before
    assert len(read_rows(ledger_path, "forgotten")) == len(ForgottenKind)


async def test_the_first_digest_stays_in_its_table_beside_the_later_one(
    ledger: SqliteLedger, ledger_path: Path
) -> None:
    await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("wrong")}))
    await forget(ledger, ForgottenKind.DIGEST, "a")
    await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("good")}))
    with closing(sqlite3.connect(ledger_path)) as connection:
        rows = connection.execute("SELECT version, sha256 FROM files ORDER BY version").fetchall()
    assert rows == [(0, bytes.fromhex(digest("wrong"))), (1, bytes.fromhex(digest("good")))]


async def test_what_another_process_forgets_is_read_at_the_next_question_and_told_at_the_next_poll(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    known = await learn(ledger, "pypi", PROJECT, EVERYTHING)
    assert await ledger.poll_forgotten() == ForgottenNews()
    beside = await make_ledger(ledger_path, fresh=False)
    notes = await forget(beside, ForgottenKind.SERIAL)
    # A write must not use the cached facts, even before the next poll.
    assert await ledger.record("pypi", PROJECT, HistoryChanges(serial=8), known=known) is None
    assert await ledger.poll_forgotten() == ForgottenNews(projects=(("pypi", PROJECT),), unannounced=notes)
    assert (await ledger.get_history("pypi", PROJECT)).serial is None
    assert await ledger.poll_forgotten() == ForgottenNews(unannounced=notes)
    await beside.mark_announced(notes)
    assert await ledger.poll_forgotten() == ForgottenNews()


async def test_a_poll_without_news_reads_only_the_number_of_the_last_change(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    await learn(ledger, "pypi", PROJECT, EVERYTHING)
    await ledger.poll_forgotten()
    statements: list[str] = []
    await ledger._run(lambda: ledger._db.set_trace_callback(statements.append))
    assert await ledger.poll_forgotten() == ForgottenNews()
    assert statements == ["PRAGMA data_version"]
    notes = await forget(await make_ledger(ledger_path, fresh=False), ForgottenKind.SERIAL)
    for _ in range(2):
        assert (await ledger.poll_forgotten()).unannounced == notes


async def test_other_changes_by_another_process_are_no_news(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    await learn(ledger, "pypi", PROJECT, EVERYTHING)
    await ledger.poll_forgotten()
    beside = await make_ledger(ledger_path, fresh=False)
    await learn(beside, "pypi", PROJECT, HistoryChanges(serial=8))
    assert await ledger.poll_forgotten() == ForgottenNews()
    assert (await ledger.get_history("pypi", PROJECT)).serial == 8


async def test_a_command_beside_a_proxy_migrates_nothing(ledger: SqliteLedger, ledger_path: Path) -> None:
    await learn(ledger, "pypi", PROJECT, EVERYTHING)
    await ledger.close()
    current = SqliteLedger(ledger_path, may_create=False, may_migrate=False)
    await current.open()
    await current.close()
    make_older(ledger_path, 3)
    beside = SqliteLedger(ledger_path, may_create=False, may_migrate=False)
    with pytest.raises(LedgerError, match="has the earlier schema version 3; start the new proxy once"):
        await beside.open()
    await beside.close()


def state(what: ForgottenKind, version: int = 1, **fields: object) -> ForgottenFact:
    return replace(ForgottenFact(what=what, version=version, at=NOON, reason="a test"), **fields)  # type: ignore[arg-type]  # names of fields


def test_a_publisher_counts_if_it_was_logged_or_written_after_the_last_statement() -> None:
    rules = Forgetting([state(ForgottenKind.PUBLISHERS), state(ForgottenKind.PUBLISHERS, 2, at=NOON - DAY)])
    for logged, version, counts in ((NOON, 1, True), (NOON - DAY, 1, False), (NOON - DAY, 2, True)):
        assert rules.counts_publisher(publisher(logged=logged), version) is counts


def test_a_time_counts_if_it_was_written_after_the_last_statement_about_the_file() -> None:
    rules = Forgetting(
        [state(ForgottenKind.FIRST_SEEN), state(ForgottenKind.FIRST_SEEN, 2, filename="a", at=NOON + DAY)]
    )
    entry = seen(at=NOON + 9 * DAY, late=True)
    for filename, version, time in (
        ("a", 1, NOON + DAY),
        ("a", 2, NOON + 9 * DAY),
        ("b", 0, NOON),
        ("b", 1, NOON + 9 * DAY),
    ):
        found = rules.adjust_time(filename, entry, version)
        assert (found.first_seen, found.late) == (time, time == NOON + 9 * DAY)


def test_only_the_value_that_a_statement_names_no_longer_counts() -> None:
    rules = Forgetting(
        [
            state(ForgottenKind.SERIAL, found="7"),
            state(ForgottenKind.DIGEST, filename="a", sha256=digest("a")),
            state(ForgottenKind.EVIDENCE, filename="a", sha256=digest("a"), found="1"),
        ]
    )
    assert [rules.counts_serial(each) for each in (7, 8, None)] == [False, True, True]
    assert [rules.counts_digest("a", digest(each)) for each in "ab"] == [False, True]
    assert [rules.counts_digest("b", digest("a")), rules.counts_digest("a", digest("a"), 1)] == [True, True]
    assert [rules.counts_evidence(digest("a"), each) for each in "12"] == [False, True]


def test_a_summary_of_publishers_is_short_however_many_there_are() -> None:
    assert describe_publishers([]) == "publishers that were not established yet"
    many: list[EstablishedPublisher] = [publisher(f"repository-id:{number}{'x' * 500}") for number in range(1000)]
    assert describe_publishers(many).endswith("; and 990 more")
    assert len(describe_publishers(many)) < 3000
