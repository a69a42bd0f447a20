"""Ledger in SQLite: a missing database is never created again, changes are atomic, and its text form."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from assay.errors import LedgerError
from assay.evidence import PublisherIdentity
from assay.ports import FileSigner, HistoryChanges, ProjectHistory
from assay.store.ledger import tables as ledger_tables
from assay.store.ledger.integrity import make_sealing, register_digest
from assay.store.ledger.ledger import SqliteLedger
from assay.store.ledger.rows import count_facts
from assay.store.ledger.tables import SCHEMA_VERSION, get_copy_path
from tests.contract.ledger_contract import NOON, PROJECT, digest, learn, publisher, seen, signer
from tests.world.proxy.ledgers import (
    FULL_CHANGES,
    LedgerFactory,
    export_lines,
    make_older,
)


def write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def read(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def remove(file: Path) -> None:
    file.unlink()


async def test_everything_is_there_after_opening_it_again(make_ledger: LedgerFactory, ledger: SqliteLedger) -> None:
    await learn(ledger, "pypi", PROJECT, FULL_CHANGES)
    before = await ledger.get_history("pypi", PROJECT)
    await ledger.close()
    again = await make_ledger(fresh=False)
    after = await again.get_history("pypi", PROJECT)
    assert (after.serial, after.files, after.evidence) == (before.serial, before.files, before.evidence)
    assert set(after.signers) == set(before.signers)
    assert after.publishers == before.publishers == FULL_CHANGES.publishers


async def test_a_history_cannot_be_changed_by_who_asked_for_it(ledger: SqliteLedger) -> None:
    await learn(ledger, "pypi", PROJECT, FULL_CHANGES)
    found = await ledger.get_history("pypi", PROJECT)
    with pytest.raises(TypeError):
        found.files["x"] = seen()  # type: ignore[index]  # the test checks that it is refused
    with pytest.raises(TypeError):
        found.evidence[digest("x")] = ""  # type: ignore[index]  # the test checks that it is refused


@pytest.mark.parametrize("content", [None, b""])
async def test_a_ledger_missing_from_a_directory_in_use_is_not_begun_anew(
    make_ledger: LedgerFactory, ledger_path: Path, content: bytes | None
) -> None:
    if content is not None:
        write(ledger_path, content)
    with pytest.raises(LedgerError, match="missing or empty although this storage directory has been in use"):
        await make_ledger(fresh=False)
    assert read(ledger_path) in {None, b""}
    await make_ledger(fresh=True)


async def test_a_ledger_without_tables_in_a_directory_in_use_is_refused(
    make_ledger: LedgerFactory, ledger_path: Path
) -> None:
    with closing(sqlite3.connect(ledger_path)) as connection:
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(LedgerError, match="is not a ledger of Assay"):
        await make_ledger(fresh=False)


async def test_what_is_no_database_is_refused_and_left_as_it_is(make_ledger: LedgerFactory, ledger_path: Path) -> None:
    write(ledger_path, b"garbage" * 1000)
    with pytest.raises(LedgerError, match="file is not a database"):
        await make_ledger()
    assert read(ledger_path) == b"garbage" * 1000


async def test_a_database_of_somebody_else_is_refused(make_ledger: LedgerFactory, ledger_path: Path) -> None:
    with closing(sqlite3.connect(ledger_path)) as connection:
        connection.execute("CREATE TABLE files (a)")
    with pytest.raises(LedgerError, match="is not a ledger of Assay"):
        await make_ledger()


async def test_a_later_version_is_refused(make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path) -> None:
    await ledger.close()
    with closing(sqlite3.connect(ledger_path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(LedgerError, match=rf"has schema version {SCHEMA_VERSION + 1}, .* to {SCHEMA_VERSION} only"):
        await make_ledger()


async def test_an_earlier_version_is_migrated_and_a_copy_is_kept(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    await learn(ledger, "pypi", PROJECT, replace(FULL_CHANGES, publishers=()))
    before = await ledger.get_history("pypi", PROJECT)
    await ledger.close()
    make_older(ledger_path)
    migrated = await make_ledger(fresh=False)
    assert (await migrated.get_history("pypi", PROJECT)).has_same_facts(before)
    recorded = await learn(migrated, "pypi", PROJECT, HistoryChanges(publishers=(publisher(),)))
    assert recorded.publishers == (publisher(),)
    await migrated.close()
    copy = get_copy_path(ledger_path, 1)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not list(ledger_path.parent.glob("*.new"))
    # Going back: the copy replaces the ledger. It is one file, and opens as the ledger of schema version 1 that it was.
    with closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (2,)
    assert not copy.with_name(f"{copy.name}-wal").exists()
    copy.replace(ledger_path)
    assert (await (await make_ledger(fresh=False)).get_history("pypi", PROJECT)).has_same_facts(before)


async def test_a_migration_without_its_copy_changes_nothing(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    await learn(ledger, "pypi", PROJECT, replace(FULL_CHANGES, publishers=()))
    await ledger.close()
    make_older(ledger_path)
    blocking = get_copy_path(ledger_path, 1)
    blocking.mkdir()
    with pytest.raises(LedgerError, match=r"cannot be migrated, because its copy .* cannot be written"):
        await make_ledger(fresh=False)
    with closing(sqlite3.connect(ledger_path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    blocking.rmdir()
    assert (await (await make_ledger(fresh=False)).get_history("pypi", PROJECT)).known


async def test_a_migration_that_fails_midway_changes_nothing(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await learn(ledger, "pypi", PROJECT, replace(FULL_CHANGES, publishers=()))
    await ledger.close()
    make_older(ledger_path)
    with monkeypatch.context() as patched:
        patched.setattr(
            ledger_tables, "_MIGRATIONS", (("CREATE TABLE publishers (x)", "INVALID"), *[()] * (SCHEMA_VERSION - 2))
        )
        with pytest.raises(LedgerError, match="cannot be used"):
            await make_ledger(fresh=False)
    with closing(sqlite3.connect(ledger_path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'publishers'").fetchall() == []
    await make_ledger(fresh=False)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_a_migrated_ledger_has_the_tables_of_a_new_one(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path, tmp_path: Path, version: int
) -> None:
    await ledger.close()
    make_older(ledger_path, version)
    await (await make_ledger(fresh=False)).close()
    await (await make_ledger(tmp_path / "new.db")).close()
    tables = []
    for path in (ledger_path, tmp_path / "new.db"):
        with closing(sqlite3.connect(path)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master").fetchall()
            # Everything but the order of columns, in which a migration appends a new one.
            tables.append({(name, *sorted(row[1:] for row in _describe(connection, name))) for (name,) in names})
    assert tables[0] == tables[1]


def _describe(connection: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    """Return the columns of a table: number, name, type, whether they may be null, default and place in the key."""
    return connection.execute(f"PRAGMA table_info({table})").fetchall()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_an_export_reads_an_earlier_version_without_migrating_it(
    ledger: SqliteLedger, ledger_path: Path, version: int
) -> None:
    await learn(ledger, "pypi", PROJECT, replace(FULL_CHANGES, publishers=()))
    lines = await export_lines(ledger)
    await ledger.close()
    make_older(ledger_path, version)
    reader = SqliteLedger(ledger_path, may_create=False, read_only=True)
    await reader.open()
    assert await export_lines(reader) == lines
    await reader.close()
    assert not get_copy_path(ledger_path, 1).exists()


async def test_a_damaged_page_is_noticed_at_the_start(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    files = {f"file-{number}": seen(str(number)) for number in range(500)}
    await learn(ledger, "pypi", PROJECT, HistoryChanges(files=files))
    await ledger.close()
    kept = read(ledger_path) or b""
    middle = len(kept) // 2 // 4096 * 4096
    write(ledger_path, kept[:middle] + b"\xff" * 4096 + kept[middle + 4096 :])
    with pytest.raises(LedgerError, match=r"damaged|malformed"):
        await make_ledger(fresh=False)
    write(ledger_path, kept)
    assert (await (await make_ledger(fresh=False)).get_history("pypi", PROJECT)).files == files


async def test_a_row_that_makes_no_sense_is_an_error_and_not_a_gap(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    await learn(ledger, "pypi", PROJECT, FULL_CHANGES)
    await ledger.close()
    with closing(sqlite3.connect(ledger_path, isolation_level=None)) as connection:
        connection.execute("UPDATE files SET sha256 = X'00'")
        register_digest(connection)
        connection.execute(make_sealing("files"))
    again = await make_ledger(fresh=False)
    with pytest.raises(LedgerError, match="it contains an invalid digest"):
        await again.get_history("pypi", PROJECT)


async def test_a_ledger_replaced_while_it_is_used_takes_nothing_more(ledger: SqliteLedger, ledger_path: Path) -> None:
    await learn(ledger, "pypi", PROJECT, FULL_CHANGES)
    shutil.copy(ledger_path, ledger_path.with_suffix(".copy"))
    ledger_path.with_suffix(".copy").replace(ledger_path)
    with pytest.raises(LedgerError, match="was replaced while it was in use"):
        await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=8))
    remove(ledger_path)
    with pytest.raises(LedgerError, match="No such file"):
        await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=8))
    assert (await ledger.get_history("pypi", PROJECT)).serial == 7


async def test_a_serial_that_the_database_cannot_hold_is_refused_with_its_page(ledger: SqliteLedger) -> None:
    with pytest.raises(LedgerError, match="cannot be used"):
        await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=2**63, files={"a": seen()}))
    assert await ledger.get_history("pypi", PROJECT) == ProjectHistory()
    await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=2**63 - 1))
    assert (await ledger.get_history("pypi", PROJECT)).serial == 2**63 - 1


async def test_a_page_is_recorded_whole_or_not_at_all(ledger: SqliteLedger) -> None:
    await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("a")}))
    wrong = FileSigner(
        identity=PublisherIdentity(trust_root="r", issuer="\ud800", subject="s"),
        filename="a",
        sha256=digest("a"),
        logged=NOON,
    )
    with pytest.raises(LedgerError):
        await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=9, files={"b": seen("b")}, signers=(wrong,)))
    found = await ledger.get_history("pypi", PROJECT)
    assert (found.serial, dict(found.files), found.signers) == (None, {"a": seen("a")}, ())
    await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=9))
    assert (await ledger.get_history("pypi", PROJECT)).serial == 9


async def test_a_project_of_15000_files_is_one_transaction(make_ledger: LedgerFactory, ledger: SqliteLedger) -> None:
    files = {f"big-1.{number}-py3-none-any.whl": seen(str(number)) for number in range(15_000)}
    changes = HistoryChanges(serial=1, files=files, evidence={one.sha256: "d" for one in files.values()})
    statements: list[str] = []
    await ledger._run(lambda: ledger._db.set_trace_callback(statements.append))
    await learn(ledger, "pypi", PROJECT, changes)
    assert [text for text in statements if text in {"BEGIN IMMEDIATE", "COMMIT"}] == ["BEGIN IMMEDIATE", "COMMIT"]
    await ledger.close()
    found = await (await make_ledger(fresh=False)).get_history("pypi", PROJECT)
    assert found.files == files
    assert found.evidence == changes.evidence


async def test_histories_in_memory_are_bounded_and_right_all_the_same(make_ledger: LedgerFactory) -> None:
    ledger = await make_ledger(max_cached_facts=10)
    projects = [canonicalize_name(f"p{number}") for number in range(10)]
    for project in projects:
        await learn(ledger, "pypi", project, HistoryChanges(files={f"{project}-{n}": seen() for n in range(4)}))
        await ledger.get_history("pypi", project)
    assert list(ledger._cached_histories.snapshot()) == [("pypi", "p8"), ("pypi", "p9")]
    for project in projects:
        assert len((await ledger.get_history("pypi", project)).files) == 4


async def test_what_is_remembered_is_counted(make_ledger: LedgerFactory) -> None:
    ledger = await make_ledger(max_cached_facts=200)
    projects = [canonicalize_name(f"p{number}") for number in range(300)]
    for project in projects:
        await ledger.get_history("pypi", project)
        await learn(ledger, "pypi", project, HistoryChanges(files={f"{project}-{n}": seen() for n in range(3)}))
    cached = ledger._cached_histories
    assert cached.total_weight == sum(map(count_facts, cached.snapshot().values())) <= 200


async def test_the_database_and_the_memory_agree_on_what_is_known(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    # `merge_changes` must give the same result as the database.
    pages = [
        HistoryChanges(
            serial=(7 * number) % 5,
            files={f"f{number % 4}": seen(str(number), at=NOON + timedelta(hours=number))},
            signers=(signer(f"f{number % 3}", logged=NOON + timedelta(hours=number)),) * 2,
            evidence={digest(str(number % 2)): str(number)},
            corrected_times={f"f{number % 5}": NOON - timedelta(hours=number)} if number % 2 else {},
        )
        for number in range(12)
    ]
    for page in pages:
        remembered = await learn(ledger, "pypi", PROJECT, page)
        reader = await make_ledger(ledger_path, fresh=False)
        assert remembered.has_same_facts(await reader.get_history("pypi", PROJECT))
        assert remembered.has_same_facts(await ledger.get_history("pypi", PROJECT))


async def test_a_caller_that_is_gone_leaves_a_whole_record(ledger: SqliteLedger) -> None:
    recording = asyncio.create_task(ledger.record("pypi", PROJECT, FULL_CHANGES, known=ProjectHistory()))
    await asyncio.sleep(0)
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    found = await ledger.get_history("pypi", PROJECT)
    assert (found.serial, len(found.files), len(found.evidence)) in {(7, 2, 2), (None, 0, 0)}
