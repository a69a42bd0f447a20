"""Rules by which an import adds facts and statements to a project's history, for any engine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from assay.ports import ForgottenFact, ForgottenFacts, HistoryChanges, ProjectHistory, Replacement
from assay.store.ledger.forgetting import (
    Forgetting,
    drop_replaced_files,
    make_replacing_rows,
    select_new_rows,
    select_other_rows,
)
from assay.store.ledger.rows import merge_changes


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImport:
    """Writes of an import for one project."""

    forgotten: tuple[ForgottenFact, ...]
    """Statements to write before the facts."""
    known: ProjectHistory
    """History after the statements. Files whose first sight is replaced are not in it, so that they are written."""
    changes: HistoryChanges
    """Facts to write."""
    recorded: ProjectHistory
    """History after the facts."""
    conflicts: int
    """Number of files of which the ledger keeps another digest."""
    replaced: int
    """Number of statements of the replacement."""


def plan_import(known: ProjectHistory, changes: HistoryChanges, replacement: Replacement | None) -> PlannedImport:
    """Return the writes of an import for one project.

    Args:
        known: the history before.
        changes: facts and statements of the import.
        replacement: time and reason of a replacing import; None to keep existing facts.
    """
    other = select_other_rows(known, changes.forgotten)
    rows = select_new_rows(known, changes.forgotten)
    known = forget_facts(known, rows)
    replacing: tuple[ForgottenFact, ...] = ()
    if replacement is None:
        changes = replace(Forgetting(other).filter_changes(changes), replaces_serial=False)
    else:
        replacing = make_replacing_rows(known, changes, replacement)
        known = drop_replaced_files(forget_facts(known, replacing), replacing)
    both = known.files.keys() & changes.files.keys()
    return PlannedImport(
        forgotten=(*rows, *replacing),
        known=known,
        changes=changes,
        recorded=merge_changes(known, changes),
        conflicts=sum(known.files[each].sha256 != changes.files[each].sha256 for each in both),
        replaced=len(replacing),
    )


def forget_facts(history: ProjectHistory, rows: Sequence[ForgottenFact]) -> ProjectHistory:
    """Return a history after statements that facts no longer count, which are later than all its facts."""
    if not rows:
        return history
    counted = Forgetting(rows).filter_changes(make_changes(history))
    return replace(
        history,
        serial=counted.serial,
        serial_url=counted.serial_url,
        rollback_since=counted.rollback_since,
        files=MappingProxyType(dict(counted.files)),
        signers=counted.signers,
        publishers=counted.publishers,
        evidence=MappingProxyType(dict(counted.evidence)),
        known=True,
        forgotten=ForgottenFacts((*history.forgotten.rows, *rows)),
    )


def make_changes(history: ProjectHistory) -> HistoryChanges:
    """Return all facts of a history as changes, without its statements."""
    return HistoryChanges(
        serial=history.serial,
        serial_url=history.serial_url,
        rollback_since=history.rollback_since,
        files=history.files,
        signers=history.signers,
        publishers=history.publishers,
        evidence=history.evidence,
    )
