"""Choice of the rows to write: none that is there already, and files with the times that count."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from assay.ports import HistoryChanges, ProjectHistory
from assay.store.ledger.new_facts import NewFacts, select_new_facts
from assay.store.ledger.rows import merge_changes, to_microseconds
from tests.contract.ledger_contract import EVERYTHING, NOON, digest, seen, signer


def select(changes: HistoryChanges, known: ProjectHistory) -> NewFacts:
    return select_new_facts(changes, known, merge_changes(known, changes))


def test_what_is_known_is_not_written_again() -> None:
    known = merge_changes(ProjectHistory(), EVERYTHING)
    assert select(EVERYTHING, ProjectHistory()).count == 7
    assert select(EVERYTHING, known).count == 0
    more = HistoryChanges(signers=(signer("a"), signer("c")), evidence={digest("a"): "3", digest("b"): "2" * 64})
    facts = select(more, known)
    assert [row[0] for row in facts.signers] == [b"c"]
    assert facts.evidence == [(bytes.fromhex(digest("a")), "3", 0)]


def test_a_time_is_corrected_in_the_row_of_a_new_file_and_apart_for_a_known_one() -> None:
    earlier = NOON - timedelta(days=1)
    known = merge_changes(
        ProjectHistory(), HistoryChanges(files={"a": seen("a"), "b": replace(seen("b"), corrected=True)})
    )
    times = dict.fromkeys(("a", "b", "c", "absent"), earlier)
    facts = select(HistoryChanges(files={"c": seen("c")}, corrected_times=times), known)
    assert facts.corrected_times == [(b"a", to_microseconds(earlier))]
    assert facts.files == [(b"c", 0, bytes.fromhex(digest("c")), to_microseconds(earlier), False, True)]
