"""Text form of the ledger: people can read an export, and an import accepts only unchanged exports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from assay.errors import LedgerError
from assay.ports import HistoryChanges, ProjectHistory
from assay.store.ledger import text as ledger_text
from assay.store.ledger.ledger import SqliteLedger
from tests.contract.ledger_contract import PROJECT, digest, learn, seen, signer
from tests.world.proxy.ledgers import (
    FULL_CHANGES,
    LedgerFactory,
    export_lines,
)


async def test_the_text_is_the_same_whatever_the_order_of_recording(
    make_ledger: LedgerFactory, ledger: SqliteLedger, tmp_path: Path
) -> None:
    other = await make_ledger(tmp_path / "other.db")
    pages = [
        (
            "pypi",
            PROJECT,
            HistoryChanges(serial=2, files={"b": seen("b"), "a": seen("a")}, signers=(signer("b"),)),
        ),
        (
            "pypi",
            PROJECT,
            HistoryChanges(signers=(signer("a"),), evidence={digest("b"): "1", digest("a"): "2"}),
        ),
        ("internal", canonicalize_name("z"), HistoryChanges()),
        ("internal", canonicalize_name("y"), HistoryChanges(files={"c": seen("c", late=True)})),
    ]
    for page in pages:
        await learn(ledger, *page)
    for page in reversed(pages):
        await learn(other, *page)
    assert await export_lines(ledger) == await export_lines(other)


async def test_the_text_can_be_read_by_people(ledger: SqliteLedger) -> None:
    await learn(ledger, "pypi", PROJECT, FULL_CHANGES)
    header, *lines = await export_lines(ledger)
    assert header == '{"assay-ledger": 3}'
    assert all(line.isascii() and line.isprintable() for line in lines)
    project, *rest = map(json.loads, lines)
    assert project == {"kind": "project", "index": "pypi", "project": "sampleproject", "serial": 7}
    assert rest[0] == {
        "kind": "file",
        "index": "pypi",
        "project": "sampleproject",
        "filename": "a-1.tar.gz",
        "sha256": digest("a"),
        "first-seen": "2026-11-21T12:00:00.123456+00:00",
        "late": False,
    }
    assert [line["kind"] for line in rest] == ["file"] * 2 + ["signer"] * 2 + ["publisher", "evidence", "evidence"]


async def test_what_was_exported_can_be_imported_elsewhere(
    make_ledger: LedgerFactory, ledger: SqliteLedger, tmp_path: Path
) -> None:
    await learn(ledger, "pypi", PROJECT, FULL_CHANGES)
    await learn(ledger, "internal", canonicalize_name("z"), HistoryChanges())
    lines = await export_lines(ledger)
    other = await make_ledger(tmp_path / "other.db")
    imported = await other.import_(f"{line}\n" for line in lines)
    assert (imported.projects, imported.conflicts) == (2, 0)
    assert await export_lines(other) == lines
    assert (await other.get_history("internal", canonicalize_name("z"))).known


async def test_an_import_never_replaces_what_was_seen_first_and_counts_what_disagrees(ledger: SqliteLedger) -> None:
    await learn(ledger, "pypi", PROJECT, HistoryChanges(serial=9, files={"a": seen("ours"), "b": seen("b")}))
    await ledger.get_history("pypi", PROJECT)
    theirs = ProjectHistory(serial=5, files={"a": seen("theirs"), "b": seen("b"), "c": seen("c")})
    lines = [ledger_text.HEADER_LINE, *ledger_text.encode_history("pypi", PROJECT, theirs)]
    imported = await ledger.import_(lines)
    assert (imported.projects, imported.conflicts) == (1, 1)
    found = await ledger.get_history("pypi", PROJECT)
    assert found.files == {"a": seen("ours"), "b": seen("b"), "c": seen("c")}
    assert found.serial == 9


LINE = {
    "kind": "file",
    "index": "pypi",
    "project": "a",
    "filename": "a-1.tar.gz",
    "sha256": "0" * 64,
    "first-seen": "2026-11-21T12:00:00+00:00",
    "late": False,
}


def test_the_line_that_is_damaged_below_is_good_as_it_is() -> None:
    ((index, project, changes),) = ledger_text.read_changes([ledger_text.HEADER_LINE, json.dumps(LINE)])
    assert (index, project, list(changes.files)) == ("pypi", "a", ["a-1.tar.gz"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "fiel"}, "'kind': expected one of"),
        ({"project": "A_b"}, "'project': expected a normalised project name"),
        ({"index": ""}, "'index': expected a string"),
        ({"filename": 7}, "'filename': expected a string"),
        ({"sha256": "0" * 63}, "'sha256': expected 64 lower-case"),
        ({"sha256": "A" * 64}, "'sha256': expected 64 lower-case"),
        ({"first-seen": "2026-11-21T12:00:00"}, "'first-seen': expected a time with its offset"),
        ({"first-seen": "yesterday"}, "'first-seen': expected a time with its offset"),
        ({"late": 1}, "'late': expected true or false"),
        ({"more": 1}, "unknown keys 'more'"),
        ({"kind": "project", "serial": -1}, "'serial': expected a whole number"),
        ({"kind": "project", "serial": True}, "'serial': expected a whole number"),
        ({"kind": "project", "serial": 2**63}, "'serial': expected a whole number"),
        ({"kind": "signer"}, "'trust-root' is missing"),
        ({"kind": "publisher"}, "'trust-root' is missing"),
        ({"kind": "established"}, "'kind': expected one of project, file, signer, publisher, evidence, forgotten"),
        ({"kind": "evidence"}, "'document' is missing"),
        ({"filename": "x" * 20_000}, "longer than"),
    ],
)
async def test_a_line_of_another_form_is_refused_by_its_number_and_nothing_is_imported(
    ledger: SqliteLedger, change: dict[str, object], said: str
) -> None:
    lines = [ledger_text.HEADER_LINE, json.dumps(LINE), json.dumps(LINE | change)]
    with pytest.raises(LedgerError, match="line 3: ") as refusal:
        await ledger.import_(lines)
    assert said in str(refusal.value)
    assert await export_lines(ledger) == [ledger_text.HEADER_LINE]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ['{"assay-ledger": 4}'],
        [json.dumps(LINE)],
        [ledger_text.HEADER_LINE, "[1]"],
        [ledger_text.HEADER_LINE, "["],
    ],
)
async def test_a_text_of_another_format_is_refused(ledger: SqliteLedger, lines: list[str]) -> None:
    with pytest.raises(LedgerError, match=r"line [12]: "):
        await ledger.import_(lines)
    assert await export_lines(ledger) == [ledger_text.HEADER_LINE]


async def test_a_text_of_format_1_is_imported(ledger: SqliteLedger) -> None:
    history = ProjectHistory(serial=5, files={"a": seen("a")}, signers=(signer("a"),))
    lines = [line.replace('"signer"', '"established"') for line in ledger_text.encode_history("pypi", PROJECT, history)]
    await ledger.import_(['{"assay-ledger": 1}', *lines])
    assert (await ledger.get_history("pypi", PROJECT)).signers == (signer("a"),)
    with pytest.raises(LedgerError, match="expected one of project, file, established, evidence"):
        await ledger.import_(['{"assay-ledger": 1}', *ledger_text.encode_history("pypi", PROJECT, history)])
