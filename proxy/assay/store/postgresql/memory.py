"""Memory of one replica about the shared ledger: cached histories, and the versions that it has seen.

A shared database may be restored from an older backup, or an asynchronous standby may take its place. It has then lost
facts, and without them a file with another digest would count as first seen. This memory notices it: the version of a
project is lower than before, or facts that the project had are missing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import LedgerError
from assay.ports import HistoryChanges, ProjectHistory, ProjectKey
from assay.store.ledger.forgetting import Forgetting, select_other_rows
from assay.store.ledger.importing import make_changes
from assay.store.ledger.rows import count_facts, get_signer_key
from assay.store.postgresql.ledger_statements import OFFLOAD_MIN_FACTS

_MAX_CACHED_FACTS: Final = 60_000
"""Limit on the facts cached in memory (about 18 MB)."""
_MAX_VERSIONS: Final = 100_000
"""Maximum number of projects whose versions are remembered, about 20 MB."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """Version of a project when it was last read, and the last time of a confirmed restore at that moment."""

    version: int
    restored: datetime | None


@dataclass(frozen=True, slots=True)
class Remembered:
    """Memory about one project at one moment."""

    seen: _Seen | None
    history: ProjectHistory | None


class LedgerMemory:
    """Histories and versions that this process has seen.

    Args:
        max_cached_facts: limit on the facts cached in memory.
    """

    def __init__(self, *, max_cached_facts: int = _MAX_CACHED_FACTS) -> None:
        self._histories = Lru[ProjectKey, ProjectHistory](max_weight=max_cached_facts, weigh=count_facts)
        self._seen = Lru[ProjectKey, _Seen](max_items=_MAX_VERSIONS)
        self._refused = Lru[ProjectKey, int](max_items=_MAX_VERSIONS)
        """Projects of which the database has lost facts, with the version that the database had."""

    def get_history(self, key: ProjectKey) -> ProjectHistory | None:
        """Return the cached history of a project; None if it is not cached."""
        return self._histories.get(key)

    def is_refused(self, key: ProjectKey) -> bool:
        """Return whether the database had lost facts about the project when it was last read."""
        return key in self._refused

    def has_seen(self, key: ProjectKey) -> bool:
        """Return whether the database had facts about the project when this process last read them."""
        return key in self._seen

    def remember(self, key: ProjectKey) -> Remembered:
        """Return what this process knows about a project now, for `compare` after a query that starts now.

        A query that started earlier may return an older version, because this process has written since.
        """
        return Remembered(self._seen.get(key), self._histories.peek(key))

    def confirm(self, key: ProjectKey, version: int, restored: datetime | None) -> None:
        """Remember that the database still has the version of the cached history."""
        self._refused.pop(key)
        seen = self._seen.get(key)
        if seen is None or seen.version <= version:
            self._seen.put(key, _Seen(version, restored))

    def put(
        self, key: ProjectKey, history: ProjectHistory, restored: datetime | None, *, is_restored: bool = False
    ) -> None:
        """Remember a history as the database has it.

        Args:
            key: name of the index, and the project.
            history: the history. One that is older than the remembered one is ignored.
            restored: the last time of a confirmed restore.
            is_restored: True for a history after a confirmed restore, which may have a lower version.
        """
        self._refused.pop(key)
        seen = self._seen.get(key)
        if seen is not None and history.version < seen.version and not is_restored:
            return
        self._seen.pop(key)
        self._histories.pop(key)
        if history.version:
            self._histories.put(key, history)
            self._seen.put(key, _Seen(history.version, restored))

    def forget(self, key: ProjectKey) -> None:
        """Discard the cached history of a project, but not the version that was seen."""
        self._histories.pop(key)

    async def compare(
        self, key: ProjectKey, remembered: Remembered, history: ProjectHistory, restored: datetime | None
    ) -> HistoryChanges | None:
        """Compare the history in the database with what this process remembered before it read the history.

        The comparison of many facts is done in a thread.

        Args:
            key: name of the index, and the project.
            remembered: the memory before the query.
            history: the history in the database.
            restored: the last time of a confirmed restore.

        Returns:
            None: the database has lost nothing. Otherwise an operator has confirmed a restore: the facts to write
            again, without those that no longer count by a statement that the database has.

        Raises:
            LedgerError: the database has lost facts, and no operator has confirmed a restore since.
        """
        seen, before = remembered.seen, remembered.history
        if seen is None:
            return None
        counted, has_lost = (None, False) if before is None else await _find_lost(before, history)
        if history.version >= seen.version and not has_lost:
            return None
        if restored is None or (seen.restored is not None and restored <= seen.restored):
            self._refuse(key, seen.version, history.version)
        return HistoryChanges() if counted is None else counted

    def _refuse(self, key: ProjectKey, remembered: int, found: int) -> None:
        index, project = key
        if self._refused.get(key) != found + 1:  # not for each request
            self._refused.put(key, found + 1)
            telemetry.security("ledger-went-back", index=index, project=project, remembered=remembered, found=found)
        raise LedgerError(
            f"the database has lost facts about {project} on the index {index}: this replica has seen version"
            f" {remembered}, and the database has version {found}. If it was restored from a backup, run: assay"
            " database restored"
        )


async def _find_lost(before: ProjectHistory, now: ProjectHistory) -> tuple[HistoryChanges, bool]:
    """Return the facts of an earlier history that still count, and whether the later history has lost one of them."""

    def find() -> tuple[HistoryChanges, bool]:
        counted = _select_counted(before, now)
        return counted, _has_lost_facts(before, counted, now)

    is_large = count_facts(before) + count_facts(now) >= OFFLOAD_MIN_FACTS
    return await asyncio.to_thread(find) if is_large else find()


def _select_counted(before: ProjectHistory, now: ProjectHistory) -> HistoryChanges:
    """Return the facts of an earlier history to which no statement of the later history applies."""
    return Forgetting(select_other_rows(now, before.forgotten.rows)).filter_changes(make_changes(before))


def _has_lost_facts(before: ProjectHistory, counted: HistoryChanges, now: ProjectHistory) -> bool:
    """Return whether a statement, file, signer or publisher is missing, or a file has another digest."""
    statements = {(row.version, row.what) for row in now.forgotten.rows}
    signers = {get_signer_key(one) for one in now.signers}
    publishers = {one.identity for one in now.publishers}
    return (
        any((row.version, row.what) not in statements for row in before.forgotten.rows)
        or any(name not in now.files or now.files[name].sha256 != seen.sha256 for name, seen in counted.files.items())
        or any(get_signer_key(one) not in signers for one in counted.signers)
        or any(one.identity not in publishers for one in counted.publishers)
    )
