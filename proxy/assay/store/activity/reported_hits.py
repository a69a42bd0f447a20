"""Record of the advisory hits that were reported, in the database of activity."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from assay.caching.lru import Lru
from assay.ports import AdvisoryHit
from assay.store.activity.database import ActivityDatabase

MAX_HITS: Final = 100_000
"""Maximum number of hits that are kept. The oldest ones are removed first."""


class ReportedHitRecord:
    """Reported hits in the database of activity (`assay.ports.ReportedHits`).

    Args:
        database: the database. Its owner closes it.
        max_hits: maximum number of hits that are kept.
    """

    def __init__(self, database: ActivityDatabase, max_hits: int = MAX_HITS) -> None:
        self._database = database
        self._max_hits = max_hits
        self._known = Lru[AdvisoryHit, bool](max_items=max_hits)

    async def select_new(self, hits: Sequence[AdvisoryHit]) -> list[AdvisoryHit]:
        """Return the hits that are not in the record, in their order."""
        unknown = [hit for hit in hits if hit not in self._known]
        return await self._database.run(partial(_select_new, hits=unknown), unknown)

    async def add(self, hits: Collection[AdvisoryHit]) -> None:
        """Add hits to the record."""
        for hit in hits:
            self._known.put(hit, True)  # noqa: FBT003 - a cached value, not a flag
        await self._database.run(partial(_add, hits=tuple(hits), max_hits=self._max_hits), None)


def _select_new(database: sqlite3.Connection, *, hits: Sequence[AdvisoryHit]) -> list[AdvisoryHit]:
    query = "SELECT 1 FROM reported_hits WHERE advisory = ? AND project = ?"
    return [hit for hit in hits if database.execute(query, hit).fetchone() is None]


def _add(database: sqlite3.Connection, *, hits: Sequence[AdvisoryHit], max_hits: int) -> None:
    database.executemany("INSERT OR IGNORE INTO reported_hits (advisory, project) VALUES (?, ?)", hits)
    database.execute("DELETE FROM reported_hits WHERE id <= (SELECT max(id) FROM reported_hits) - ?", (max_hits,))
