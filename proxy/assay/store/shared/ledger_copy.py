"""Ledger of a dry run: facts of a shared ledger, with changes that are kept in memory only (`assay.ports.Ledger`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import NoReturn

from assay.errors import LedgerError
from assay.ports import (
    ForgottenKind,
    ForgottenNews,
    ForgottenNote,
    HistoryChanges,
    ImportResult,
    Ledger,
    ProjectHistory,
    Replacement,
)
from assay.simple.model import NormalizedName
from assay.store.ledger.rows import merge_changes


class LedgerCopy:
    """Ledger that writes nothing.

    Args:
        ledger: the shared ledger, which is only read.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._changed: dict[tuple[str, NormalizedName], ProjectHistory] = {}

    async def get_history(self, index: str, project: NormalizedName) -> ProjectHistory:
        """Return the facts about a project with the changes of this run.

        Raises:
            LedgerError: the shared ledger cannot be read.
        """
        changed = self._changed.get((index, project))
        return await self._ledger.get_history(index, project) if changed is None else changed

    async def record(
        self, index: str, project: NormalizedName, changes: HistoryChanges, *, known: ProjectHistory
    ) -> ProjectHistory | None:
        """Keep `changes` in memory if the facts about the project still equal `known`.

        Raises:
            LedgerError: the shared ledger cannot be read.
        """
        current = await self.get_history(index, project)
        if not current.has_same_facts(known):
            return None
        recorded = merge_changes(current, changes)
        self._changed[index, project] = recorded
        return recorded

    async def forget(
        self,
        index: str,
        project: NormalizedName,
        what: ForgottenKind,
        *,
        filenames: Sequence[str] = (),
        at: datetime,
        reason: str,
    ) -> NoReturn:
        """Refuse the call.

        Raises:
            LedgerError: always.
        """
        del index, project, what, filenames, at, reason
        raise LedgerError("a dry run states nothing in the ledger")

    async def poll_forgotten(self) -> ForgottenNews:
        """Return no news: a dry run is too short to follow other processes."""
        return ForgottenNews()

    async def mark_announced(self, notes: Sequence[ForgottenNote]) -> None:
        """Do nothing: a replica announces the statements."""

    async def list_projects(self) -> list[tuple[str, NormalizedName]]:
        """Return the projects of the shared ledger.

        Raises:
            LedgerError: the shared ledger cannot be read.
        """
        return await self._ledger.list_projects()

    def export(self) -> AsyncIterator[str]:
        """Yield the facts of the shared ledger as text.

        Raises:
            LedgerError: the shared ledger cannot be read.
        """
        return self._ledger.export()

    async def import_(self, lines: Iterable[str], *, replacement: Replacement | None = None) -> ImportResult:
        """Refuse the call.

        Raises:
            LedgerError: always.
        """
        del lines, replacement
        raise LedgerError("a dry run adds nothing to the ledger")
