"""Ledger in PostgreSQL: several replicas, outages, and a database that has lost facts.

`tests/contract/ledger_contract.py` has what holds for every engine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from assay.errors import LedgerError, LedgerUnavailableError
from assay.ports import ForgottenKind, HistoryChanges, Notice, ProjectHistory, Replacement
from assay.store.ledger.history import build_history
from assay.store.ledger.rows import merge_changes
from assay.store.postgresql import ledger_statements
from assay.store.postgresql.database import Database, DatabaseSettings
from assay.store.postgresql.ledger import PostgresLedger
from assay.telemetry.metrics import LEDGER_CONFLICTS
from tests.contract.ledger_contract import NOON, PROJECT, digest, learn, publisher, seen, signer
from tests.world.engines.postgresql import PostgresServer

_LEARNT = HistoryChanges(serial=7, files={"a": seen("a")}, signers=(signer("a"),), publishers=(publisher(),))


@pytest.fixture
def ledger(database: Database) -> PostgresLedger:
    return PostgresLedger(database)


@pytest.fixture
async def impatient(server: PostgresServer, database_name: str) -> AsyncIterator[Database]:
    """Connections with a short deadline, for a server that does not answer."""
    settings = DatabaseSettings(url=server.get_url(database_name, user="assay_app"), deadline_seconds=2)
    opened = Database(settings)
    await opened.open()
    yield opened
    await opened.close()


@pytest.mark.parametrize("rounds", [100, pytest.param(1_000, marks=pytest.mark.long)])
async def test_of_six_replicas_that_race_one_writes_each_round_and_all_agree(
    server: PostgresServer, database_name: str, rounds: int
) -> None:
    settings = DatabaseSettings(
        url=server.get_url(database_name, user="assay_app"), deadline_seconds=60, max_connections=1
    )
    databases = [Database(settings) for _ in range(6)]
    for each in databases:
        await each.open()
    ledgers = [PostgresLedger(each) for each in databases]

    async def write(writer: int, number: int) -> bool:
        known = await ledgers[writer].get_history("pypi", PROJECT)
        assert f"{number}" not in known.files or known.files[f"{number}"].sha256 != digest(f"{number} by {writer}")
        changes = HistoryChanges(files={f"{number}": seen(f"{number} by {writer}")})
        if f"{number}" in known.files:
            return False
        return await ledgers[writer].record("pypi", PROJECT, changes, known=known) is not None

    for number in range(rounds):
        won = await asyncio.gather(*(write(writer, number) for writer in range(6)))
        assert sum(won) == 1, f"round {number}"
    histories = [await each.get_history("pypi", PROJECT) for each in ledgers]
    assert len(histories[0].files) == rounds
    assert all(each.has_same_facts(histories[0]) and each.version == histories[0].version for each in histories)
    for each in databases:
        await each.close()


async def test_the_loser_of_a_race_is_counted_and_can_write_after_a_new_look(
    ledger: PostgresLedger, database: Database
) -> None:
    other = PostgresLedger(database)
    known = await learn(ledger, "pypi", PROJECT, _LEARNT)
    assert await other.get_history("pypi", PROJECT) == known
    await learn(other, "pypi", PROJECT, HistoryChanges(files={"b": seen("theirs")}))
    before = LEDGER_CONFLICTS._value.get()
    ours = HistoryChanges(files={"b": seen("ours")})
    assert await ledger.record("pypi", PROJECT, ours, known=known) is None
    assert before + 1 == LEDGER_CONFLICTS._value.get()
    current = await ledger.get_history("pypi", PROJECT)
    assert current.files["b"] == seen("theirs")
    assert await ledger.record("pypi", PROJECT, HistoryChanges(files={"c": seen()}), known=current) is not None


async def test_what_is_known_already_changes_no_version(ledger: PostgresLedger) -> None:
    known = await learn(ledger, "pypi", PROJECT, _LEARNT)
    again = await ledger.record("pypi", PROJECT, _LEARNT, known=known)
    assert again is not None
    assert again.version == known.version
    more = await ledger.record("pypi", PROJECT, HistoryChanges(serial=8), known=again)
    assert more is not None
    assert more.version > known.version


async def test_more_facts_than_fit_one_statement_are_written_all_or_none(
    ledger: PostgresLedger, database: Database
) -> None:
    names = [f"f-{number}" for number in range(1_300)]
    changes = HistoryChanges(
        serial=1,
        files={name: seen(name) for name in names},
        signers=tuple(map(signer, names)),
        evidence={digest(name): name for name in names},
    )
    recorded = await learn(ledger, "pypi", PROJECT, changes)
    assert (await PostgresLedger(database).get_history("pypi", PROJECT)).has_same_facts(recorded)
    unusable = {name: seen(name) for name in [*(f"g-{number}" for number in range(600)), "x" * (2**20 + 1)]}
    with pytest.raises(LedgerError, match="the ledger cannot be used"):
        await ledger.record("pypi", PROJECT, HistoryChanges(files=unusable), known=recorded)
    assert (await PostgresLedger(database).get_history("pypi", PROJECT)).has_same_facts(recorded)


async def test_a_large_history_is_built_and_merged_in_a_thread_and_a_small_one_is_not(
    ledger: PostgresLedger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[threading.Thread]()

    def note_thread(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> object:
            threads.append(threading.current_thread())
            return work(*arguments, **options)

        return run

    monkeypatch.setattr(ledger_statements, "build_history", note_thread(build_history))
    monkeypatch.setattr("assay.store.postgresql.ledger.merge_changes", note_thread(merge_changes))
    for count in (10, 1000):
        files = {f"{number}": seen(f"{number}") for number in range(count)}
        threads.clear()
        await learn(ledger, f"{count}", PROJECT, HistoryChanges(files=files))
        assert len((await PostgresLedger(database).get_history(f"{count}", PROJECT)).files) == count
        assert [each is threading.main_thread() for each in threads] == [count == 10] * 2


async def test_names_are_bytes_of_any_length_and_a_text_that_cannot_be_stored_fails_its_page_only(
    ledger: PostgresLedger, database: Database
) -> None:
    names = ["\ud800\udfff", "a\x00b", "a", "a\x00", "é" * 9_000, "\\x41", "\n"]
    changes = HistoryChanges(
        files={name: seen(name.encode("utf-8", "replace").hex()) for name in names},
        signers=tuple(replace(signer("a"), filename=name) for name in names),
    )
    recorded = await learn(ledger, "pypi", PROJECT, changes)
    found = await PostgresLedger(database).get_history("pypi", PROJECT)
    assert found.has_same_facts(recorded)
    assert set(found.files) == set(names)
    for text in ("\ud800", "a\x00b"):
        with pytest.raises(LedgerError):
            await ledger.record("pypi", PROJECT, HistoryChanges(evidence={digest("a"): text}), known=found)
    assert await ledger.record("pypi", PROJECT, HistoryChanges(evidence={digest("a"): "1"}), known=found) is not None


async def test_an_import_names_the_project_whose_facts_cannot_be_stored_and_imports_nothing(
    ledger: PostgresLedger,
) -> None:
    lines = ['{"assay-ledger": 3}', '{"kind": "project", "index": "pypi", "project": "a", "serial": 7}']
    evidence = '{"kind": "evidence", "index": "pypi", "project": "b", "sha256": "%s", "document": "%s"}'
    with pytest.raises(LedgerError, match="the facts about b on the index 'pypi' cannot be stored"):
        await ledger.import_([*lines, evidence % (digest("b"), "a\\u0000b")])
    assert await ledger.list_projects() == []
    assert (await ledger.import_([*lines, evidence % (digest("b"), "ab")])).projects == 2


async def test_another_replica_is_notified_of_each_write(ledger: PostgresLedger, database: Database) -> None:
    listener = await database.connect_directly("notices")
    heard: asyncio.Queue[str] = asyncio.Queue()
    await listener.add_listener("assay", lambda _connection, _pid, _channel, text: heard.put_nowait(text))
    recorded = await learn(ledger, "pypi", PROJECT, _LEARNT)
    assert await asyncio.wait_for(heard.get(), 20) == f"ledger pypi sampleproject {recorded.version}"
    listener.terminate()


async def test_only_the_role_of_the_operator_may_forget(
    ledger: PostgresLedger, server: PostgresServer, database_name: str
) -> None:
    await learn(ledger, "pypi", PROJECT, _LEARNT)
    with pytest.raises(LedgerError, match=r"may not do this \(permission denied for table forgotten\).*assay_admin"):
        await ledger.forget("pypi", PROJECT, ForgottenKind.SERIAL, at=NOON, reason="a test")
    lines = [line async for line in ledger.export()]
    assert (await ledger.import_(lines)).projects == 1
    replacement = Replacement(at=NOON, reason="a test")
    changed = [line.replace('"serial": 7', '"serial": 6') for line in lines]
    with pytest.raises(LedgerError, match="may not do this"):
        await ledger.import_(changed, replacement=replacement)
    assert (await ledger.get_history("pypi", PROJECT)).serial == 7
    admin = Database(DatabaseSettings(url=server.get_url(database_name, user="assay_admin"), deadline_seconds=20))
    await admin.open()
    assert (await ledger.poll_forgotten()).projects == ()
    await PostgresLedger(admin).forget("pypi", PROJECT, ForgottenKind.SERIAL, at=NOON, reason="a test")
    await admin.close()
    assert (await ledger.get_history("pypi", PROJECT)).serial is None
    news = await ledger.poll_forgotten()
    assert news.projects == (("pypi", PROJECT),)
    assert [note.fact.what for note in news.unannounced] == [ForgottenKind.SERIAL]
    await ledger.mark_announced(news.unannounced)
    assert not (await ledger.poll_forgotten()).unannounced


@pytest.mark.parametrize("failure", ["killed", pytest.param("paused", marks=pytest.mark.long)])
async def test_while_the_database_is_away_a_history_in_memory_is_unconfirmed_for_the_grace(
    server: PostgresServer, impatient: Database, failure: str
) -> None:
    now = 0.0
    ledger = PostgresLedger(impatient, grace_seconds=60, clock=lambda: now)
    known = await learn(ledger, "pypi", PROJECT, _LEARNT)
    if failure == "killed":
        server.kill()
    else:
        server.process.pause()
    try:
        now = 60.0
        kept = await ledger.get_history("pypi", PROJECT)
        assert kept == known
        assert (kept.version, kept.is_confirmed) == (known.version, False)
        nothing = await ledger.record("pypi", PROJECT, HistoryChanges(), known=kept)
        assert nothing is not None
        assert not nothing.is_confirmed
        with pytest.raises(LedgerUnavailableError, match="the ledger is unavailable"):
            await ledger.record("pypi", PROJECT, HistoryChanges(files={"b": seen()}), known=kept)
        with pytest.raises(LedgerUnavailableError):
            await ledger.get_history("internal", PROJECT)
        now = 61.0
        with pytest.raises(LedgerUnavailableError):
            await ledger.get_history("pypi", PROJECT)
    finally:
        if failure == "killed":
            server.start()
        else:
            server.process.resume()
    again = await ledger.get_history("pypi", PROJECT)
    assert again.is_confirmed
    assert await ledger.record("pypi", PROJECT, HistoryChanges(files={"b": seen()}), known=again) is not None


@pytest.mark.parametrize(("later", "is_usable"), [(0, True), (-1, True), (1, False)])
async def test_a_history_that_another_replica_has_changed_since_is_not_used_while_the_database_is_away(
    server: PostgresServer, impatient: Database, later: int, *, is_usable: bool
) -> None:
    ledger = PostgresLedger(impatient)
    known = await learn(ledger, "pypi", PROJECT, _LEARNT)
    ledger.handle_notice(Notice(index="pypi", project=PROJECT, version=known.version + later, is_remote=True))
    ledger.handle_notice(Notice(index="pypi", project=PROJECT))
    server.kill()
    try:
        if is_usable:
            assert (await ledger.get_history("pypi", PROJECT)).version == known.version
        else:
            with pytest.raises(LedgerUnavailableError):
                await ledger.get_history("pypi", PROJECT)
    finally:
        server.start()
    assert (await ledger.get_history("pypi", PROJECT)).is_confirmed


class _Backup:
    """Rows of the ledger at one time, which can be restored."""

    TABLES = ("projects", "files", "corrected_times", "established", "publishers", "evidence", "forgotten")

    def __init__(self, server: PostgresServer, name: str) -> None:
        self._server, self._name = server, name
        copies = [f"CREATE TABLE backup.{table} AS TABLE assay.{table}" for table in self.TABLES]
        self._sql("DROP SCHEMA IF EXISTS backup CASCADE", "CREATE SCHEMA backup", *copies)

    def restore(self) -> None:
        names = "project, filename, version, sha256, first_seen, late, corrected"  # all but a generated column
        inserts = [
            f"INSERT INTO assay.files ({names}) SELECT {names} FROM backup.files"  # noqa: S608 - constants
            if table == "files"
            else f"INSERT INTO assay.{table} OVERRIDING SYSTEM VALUE TABLE backup.{table}"
            for table in self.TABLES
        ]
        self._sql(f"TRUNCATE {', '.join(f'assay.{table}' for table in self.TABLES)}", *inserts)

    def confirm(self) -> None:
        self._sql("UPDATE assay.meta SET restored = clock_timestamp()")

    def _sql(self, *statements: str) -> None:
        self._server.sql("; ".join(statements), database=self._name)


@pytest.fixture
def backup(server: PostgresServer, database_name: str) -> _Backup:
    """Backup of an empty ledger."""
    return _Backup(server, database_name)


async def test_a_project_that_the_database_has_forgotten_is_refused_until_a_restore_is_confirmed(
    server: PostgresServer,
    database_name: str,
    ledger: PostgresLedger,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("a")}))
    backup = _Backup(server, database_name)
    known = await learn(ledger, "pypi", PROJECT, replace(_LEARNT, files={"b": seen("b")}))
    await learn(ledger, "internal", PROJECT, _LEARNT)
    backup.restore()
    ignorant = PostgresLedger(database)
    for index in ("pypi", "internal"):
        for _ in range(2):
            with pytest.raises(LedgerError, match=f"lost facts about sampleproject on the index {index}.*restored"):
                await ledger.get_history(index, PROJECT)
    assert [record.message for record in caplog.records].count("ledger-went-back") == 2
    assert await ledger.record("pypi", PROJECT, HistoryChanges(files={"c": seen()}), known=known) is None
    assert not (await ignorant.get_history("internal", PROJECT)).known
    assert (await ignorant.get_history("pypi", PROJECT)).files == {"a": seen("a")}
    # A replica that remembers nothing judges the file anew, and what it has written first counts.
    await learn(ignorant, "internal", PROJECT, HistoryChanges(files={"a": seen("other")}))
    with pytest.raises(LedgerError, match="lost facts"):
        await ledger.get_history("internal", PROJECT)
    backup.confirm()
    again = await ledger.get_history("pypi", PROJECT)
    assert again.has_same_facts(known)
    assert (await ignorant.get_history("pypi", PROJECT)).has_same_facts(known)
    written = [record for record in caplog.records if record.message == "ledger-facts-written-again"]
    assert len(written) == 1
    internal = await ledger.get_history("internal", PROJECT)
    assert internal.files == {"a": seen("other")}
    assert internal.signers == _LEARNT.signers
    assert (await ledger.get_history("pypi", PROJECT)).has_same_facts(known)
    assert await ledger.record("pypi", PROJECT, HistoryChanges(files={"c": seen()}), known=again) is not None


async def test_a_new_project_that_the_database_has_forgotten_is_not_recorded_again_as_new(
    ledger: PostgresLedger, backup: _Backup
) -> None:
    await learn(ledger, "pypi", PROJECT, _LEARNT)
    backup.restore()
    with pytest.raises(LedgerError, match="lost facts"):
        await ledger.record("pypi", PROJECT, HistoryChanges(files={"a": seen("other")}), known=ProjectHistory())
    backup.confirm()
    assert (await ledger.get_history("pypi", PROJECT)).files == {"a": seen("a")}


async def test_a_database_that_went_back_and_then_on_is_noticed_by_its_facts(
    server: PostgresServer, database_name: str, ledger: PostgresLedger, database: Database
) -> None:
    await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("a")}))
    backup = _Backup(server, database_name)
    await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"b": seen("b")}))
    backup.restore()
    later = await learn(PostgresLedger(database), "pypi", PROJECT, HistoryChanges(files={"c": seen("c")}))
    assert later.version > 0
    with pytest.raises(LedgerError, match="lost facts"):
        await ledger.get_history("pypi", PROJECT)
    backup.confirm()
    expected = {name: seen(name) for name in ("a", "b", "c")}
    assert (await ledger.get_history("pypi", PROJECT)).files == expected


async def test_a_confirmation_from_before_the_loss_does_not_count(ledger: PostgresLedger, backup: _Backup) -> None:
    backup.confirm()
    await learn(ledger, "pypi", PROJECT, _LEARNT)
    backup.restore()
    with pytest.raises(LedgerError, match="lost facts"):
        await ledger.get_history("pypi", PROJECT)
    backup.confirm()
    assert (await ledger.get_history("pypi", PROJECT)).serial == 7


async def test_facts_that_were_forgotten_after_a_restore_are_not_written_again(
    server: PostgresServer, database_name: str, ledger: PostgresLedger
) -> None:
    await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("a")}, publishers=(publisher(),)))
    backup = _Backup(server, database_name)
    await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"b": seen("b")}))
    backup.restore()
    admin = Database(DatabaseSettings(url=server.get_url(database_name, user="assay_admin"), deadline_seconds=20))
    await admin.open()
    operator = PostgresLedger(admin)
    later = NOON + timedelta(days=1)
    await operator.forget("pypi", PROJECT, ForgottenKind.DIGEST, filenames=["a"], at=later, reason="a test")
    await operator.forget("pypi", PROJECT, ForgottenKind.PUBLISHERS, at=later, reason="a test")
    await admin.close()
    backup.confirm()
    history = await ledger.get_history("pypi", PROJECT)
    assert history.files == {"b": seen("b")}
    assert history.publishers == ()


async def test_a_forgotten_fact_is_no_loss(server: PostgresServer, database_name: str, ledger: PostgresLedger) -> None:
    await learn(ledger, "pypi", PROJECT, _LEARNT)
    admin = Database(DatabaseSettings(url=server.get_url(database_name, user="assay_admin"), deadline_seconds=20))
    await admin.open()
    operator = PostgresLedger(admin)
    for what, filenames in (
        (ForgottenKind.SIGNERS, ["a"]),
        (ForgottenKind.PUBLISHERS, []),
        (ForgottenKind.FIRST_SEEN, []),
        (ForgottenKind.DIGEST, ["a"]),
    ):
        later = NOON + timedelta(days=1)
        await operator.forget("pypi", PROJECT, what, filenames=filenames, at=later, reason="a test")
        assert (await ledger.get_history("pypi", PROJECT)).forgotten.rows[-1].what is what
    await admin.close()
    assert (await ledger.get_history("pypi", PROJECT)).files == {}


async def test_rows_that_no_ledger_has_written_are_refused(
    server: PostgresServer, database_name: str, ledger: PostgresLedger
) -> None:
    other = "other"
    await learn(ledger, "pypi", PROJECT, _LEARNT)
    forged = "SELECT id, 'x', 0, 'short', 0, false, false FROM assay.projects"
    server.sql(
        f"INSERT INTO assay.files (project, filename, version, sha256, first_seen, late, corrected) {forged}",
        database=database_name,
    )
    server.sql("UPDATE assay.projects SET version = version + 1", database=database_name)
    with pytest.raises(LedgerError, match="invalid digest"):
        await ledger.get_history("pypi", PROJECT)
    assert not (await ledger.get_history(other, PROJECT)).known
