"""The ledger in SQLite: never begun anew by itself, whole transactions, its text form."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from assay.errors import LedgerError
from assay.evidence import PublisherIdentity
from assay.ports import EstablishedIdentity, HistoryChanges, ProjectHistory
from assay.store.ledger import SqliteLedger, _count_facts
from tests.contract.ledger_contract import NOON, PROJECT, digest, established, learn, seen
from tests.world.proxy.ledgers import (
    FULL_CHANGES,
    LedgerFactory,
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
    assert set(after.established) == set(before.established)


async def test_a_history_cannot_be_changed_by_who_asked_for_it(ledger: SqliteLedger) -> None:
    await learn(ledger, "pypi", PROJECT, FULL_CHANGES)
    found = await ledger.get_history("pypi", PROJECT)
    with pytest.raises(TypeError):
        found.files["x"] = seen()  # type: ignore[index]  # that it is refused is the point
    with pytest.raises(TypeError):
        found.evidence[digest("x")] = ""  # type: ignore[index]  # likewise


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
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(LedgerError, match="has version 2; this Assay reads version 1"):
        await make_ledger()


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
    again = await make_ledger(fresh=False)
    with pytest.raises(LedgerError, match="a digest in it is not one"):
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
    wrong = EstablishedIdentity(
        identity=PublisherIdentity(trust_root="r", issuer="\ud800", subject="s"),
        filename="a",
        sha256=digest("a"),
        logged=NOON,
    )
    with pytest.raises(LedgerError):
        await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=9, files={"b": seen("b")}, established=(wrong,)))
    found = await ledger.get_history("pypi", PROJECT)
    assert (found.serial, dict(found.files), found.established) == (None, {"a": seen("a")}, ())
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
    assert cached.total_weight == sum(map(_count_facts, cached.snapshot().values())) <= 200


async def test_the_database_and_the_memory_agree_on_what_is_known(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    # The law that `merge_changes` promises, against the database's own idea of it.
    pages = [
        HistoryChanges(
            serial=(7 * number) % 5,
            files={f"f{number % 4}": seen(str(number), at=NOON + timedelta(hours=number))},
            established=(established(f"f{number % 3}", logged=NOON + timedelta(hours=number)),) * 2,
            evidence={digest(str(number % 2)): str(number)},
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
