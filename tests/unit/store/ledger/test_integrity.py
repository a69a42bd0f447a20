"""Digests of rows: a changed byte of the ledger is an error at the start and never another fact."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from assay.errors import LedgerError
from assay.ports import ForgottenKind, HistoryChanges, ProjectHistory
from assay.store.ledger.integrity import SEALED_COLUMNS
from assay.store.ledger.ledger import SqliteLedger
from tests.contract.ledger_contract import EVERYTHING, FILENAMES_OF, NOON, PROJECT, digest, forget, learn, seen
from tests.world.proxy.ledgers import LedgerFactory, make_older

SAID = "facts about sampleproject on the index pypi \\(table {}\\) do not match their digests; restore the file"
OTHER = canonicalize_name("other")
FLIPPED_BYTES = 1_200
"""Number of bytes of a ledger that a test changes, one at a time."""


async def fill(ledger: SqliteLedger) -> dict[str, ProjectHistory]:
    """Record facts of every kind about two projects, and return their histories."""
    await learn(ledger, "pypi", PROJECT, EVERYTHING)
    await forget(ledger, ForgottenKind.DIGEST, "a")
    await learn(ledger, "pypi", PROJECT, HistoryChanges(files={"a": seen("good")}))
    await learn(ledger, "pypi", OTHER, EVERYTHING)
    return {name: await ledger.get_history("pypi", canonicalize_name(name)) for name in (PROJECT, OTHER)}


CHANGED = {
    "projects": "serial = serial + 1",
    "files": "sha256 = X'" + digest("x") + "'",
    "established": "subject = 'repository-id:2'",
    "publishers": "logged = logged - 1",
    "evidence": "document = '" + digest("x") + "'",
    "forgotten": "at = at + 1",
}


@pytest.mark.parametrize("table", SEALED_COLUMNS)
async def test_a_changed_row_is_an_error_at_the_start_that_names_the_project(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path, table: str
) -> None:
    before = await fill(ledger)
    await ledger.close()
    key = "id" if table == "projects" else "project"
    for change in ("digest = NULL", CHANGED[table]):
        with closing(sqlite3.connect(ledger_path)) as connection:
            kept = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - constant
            connection.execute(f"UPDATE {table} SET {change} WHERE {key} = 1")  # noqa: S608 - constants
            connection.commit()
        with pytest.raises(LedgerError, match=SAID.format(table)):
            await make_ledger(fresh=False)
        with closing(sqlite3.connect(ledger_path)) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constant
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(kept[0]))})", kept)  # noqa: S608 - constant
            connection.commit()
    again = await make_ledger(fresh=False)
    for name, history in before.items():
        assert (await again.get_history("pypi", canonicalize_name(name))).has_same_facts(history)


async def test_that_a_statement_is_announced_is_no_damage(make_ledger: LedgerFactory, ledger: SqliteLedger) -> None:
    await learn(ledger, "pypi", PROJECT, EVERYTHING)
    await ledger.mark_announced(await forget(ledger, ForgottenKind.SERIAL))
    await ledger.close()
    assert (await (await make_ledger(fresh=False)).poll_forgotten()).unannounced == ()


async def test_every_change_of_the_ledger_leaves_right_digests(
    make_ledger: LedgerFactory, ledger: SqliteLedger
) -> None:
    changes = [
        EVERYTHING,
        HistoryChanges(serial=3, serial_url="https://b.example/", replaces_serial=True),
        HistoryChanges(rollback_since=NOON),
        HistoryChanges(corrected_times={"a": NOON, "b": NOON}),
        HistoryChanges(evidence={digest("a"): "9" * 64}),
        HistoryChanges(files={"b\ud800\n\x00.whl": seen("c")}),
    ]
    for page in changes:
        await learn(ledger, "pypi", PROJECT, page)
        await (await make_ledger(fresh=False)).close()
    for what in ForgottenKind:
        if what is not ForgottenKind.DIGEST:
            await forget(ledger, what, *FILENAMES_OF.get(what, ()))
            await (await make_ledger(fresh=False)).close()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_an_earlier_ledger_gets_digests_when_it_is_migrated(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path, version: int
) -> None:
    await learn(ledger, "pypi", PROJECT, EVERYTHING)
    await ledger.close()
    make_older(ledger_path, version)
    await (await make_ledger(fresh=False)).close()
    with closing(sqlite3.connect(ledger_path)) as connection:
        connection.execute("UPDATE evidence SET document = '' WHERE project = 1")
        connection.commit()
    with pytest.raises(LedgerError, match=SAID.format("evidence")):
        await make_ledger(fresh=False)


async def test_many_damaged_projects_are_named_in_part(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    for number in range(9):
        await learn(ledger, "pypi", canonicalize_name(f"p{number}"), HistoryChanges(serial=number))
    await ledger.close()
    with closing(sqlite3.connect(ledger_path)) as connection:
        connection.execute("UPDATE projects SET serial = 77")
        connection.commit()
    with pytest.raises(LedgerError, match="about p0 on the index pypi, p1 on the index pypi, p2 on the index pypi and"):
        await make_ledger(fresh=False)


async def test_no_changed_byte_of_the_file_changes_a_fact(
    make_ledger: LedgerFactory, ledger: SqliteLedger, ledger_path: Path
) -> None:
    before = await fill(ledger)
    await ledger.close()
    whole = await asyncio.to_thread(ledger_path.read_bytes)
    used = [place for place, byte in enumerate(whole) if byte]
    chosen = random.Random(7)
    refused = 0
    for place in chosen.sample(used, min(len(used), FLIPPED_BYTES)):
        changed = bytearray(whole)
        changed[place] ^= 1 << chosen.randrange(8)
        await asyncio.to_thread(_write_alone, ledger_path, bytes(changed))
        opened = SqliteLedger(ledger_path, may_create=False)
        try:
            await opened.open()
            found = {name: await opened.get_history("pypi", canonicalize_name(name)) for name in before}
            assert all(found[name].has_same_facts(before[name]) for name in before), place
        except LedgerError:
            refused += 1
        finally:
            await opened.close()
    assert refused > len(used) // 20, "most of the bytes are facts"
    await asyncio.to_thread(_write_alone, ledger_path, whole)
    again = await make_ledger(fresh=False)
    assert (await again.get_history("pypi", PROJECT)).has_same_facts(before[PROJECT])


def _write_alone(path: Path, content: bytes) -> None:
    for each in path.parent.glob(f"{path.name}-*"):
        each.unlink()
    path.write_bytes(content)


async def test_a_hundred_thousand_rows_are_checked_in_well_under_a_second(
    make_ledger: LedgerFactory, ledger: SqliteLedger
) -> None:
    for number in range(50):
        files = {f"p{number}-1.{each}-py3-none-any.whl": seen(f"{number} {each}") for each in range(1_000)}
        changes = HistoryChanges(serial=1, files=files, evidence={one.sha256: "d" * 64 for one in files.values()})
        await learn(ledger, "pypi", canonicalize_name(f"p{number}"), changes)
    await ledger.close()
    began = time.process_time()
    await make_ledger(fresh=False)
    assert time.process_time() - began < 1.0
