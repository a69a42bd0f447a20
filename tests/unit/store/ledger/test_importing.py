"""Rules of an import: statements applied to a history in memory have the effect that they have in a database."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from assay.ports import ForgottenKind, HistoryChanges, ProjectHistory
from assay.store.ledger.forgetting import make_rows
from assay.store.ledger.importing import forget_facts, make_changes, plan_import
from assay.store.ledger.ledger import SqliteLedger
from assay.store.ledger.rows import merge_changes
from tests.contract.ledger_contract import (
    DIGEST_LAST,
    EVERYTHING,
    FILENAMES_OF,
    NOON,
    PROJECT,
    REPLACEMENT,
    learn,
    seen,
)


async def test_statements_have_the_same_effect_in_memory_and_in_a_database(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db", may_create=True)
    await ledger.open()
    history = await learn(ledger, "pypi", PROJECT, EVERYTHING)
    for number, what in enumerate(DIGEST_LAST, start=1):
        at, filenames = NOON + timedelta(days=number), FILENAMES_OF.get(what, ())
        rows = make_rows(history, what=what, filenames=filenames, at=at, reason="a test")
        await ledger.forget("pypi", PROJECT, what, filenames=filenames, at=at, reason="a test")
        history = forget_facts(history, rows)
        assert history.has_same_facts(await ledger.get_history("pypi", PROJECT)), what
    await ledger.close()


def test_without_statements_a_history_is_the_same_object() -> None:
    history = merge_changes(ProjectHistory(), EVERYTHING)
    assert forget_facts(history, ()) is history
    assert make_changes(history) == HistoryChanges(
        **{name: getattr(history, name) for name in ("serial", "serial_url", "files", "signers", "publishers")},
        evidence=history.evidence,
    )


def test_a_plain_import_counts_conflicts_and_a_replacing_one_makes_statements() -> None:
    known = merge_changes(ProjectHistory(), EVERYTHING)
    other = HistoryChanges(files={"a": seen("other"), "c": seen("c")})
    plain = plan_import(known, other, None)
    assert (plain.conflicts, plain.replaced, plain.forgotten) == (1, 0, ())
    assert plain.recorded.files == {**known.files, "c": seen("c")}
    replacing = plan_import(known, other, REPLACEMENT)
    assert (replacing.conflicts, replacing.replaced) == (0, len(replacing.forgotten))
    assert {row.what for row in replacing.forgotten} >= {ForgottenKind.DIGEST, ForgottenKind.PUBLISHERS}
    assert replacing.recorded.files["a"] == seen("other")
    assert replacing.recorded.publishers == ()


@pytest.mark.parametrize("what", ForgottenKind)
def test_an_import_with_a_statement_applies_it_to_known_facts(what: ForgottenKind) -> None:
    known = merge_changes(ProjectHistory(), EVERYTHING)
    rows = make_rows(known, what=what, filenames=FILENAMES_OF.get(what, ()), at=NOON, reason="a test")
    plan = plan_import(known, HistoryChanges(forgotten=rows), None)
    assert plan.forgotten == rows
    assert plan.recorded.has_same_facts(forget_facts(known, rows))
    assert plan_import(plan.recorded, HistoryChanges(forgotten=rows), None).forgotten == ()
