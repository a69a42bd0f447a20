"""Protocol of the record of advisory hits that were reported. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, TypeAlias

from assay.simple.model import NormalizedName

AdvisoryHit: TypeAlias = tuple[str, NormalizedName]
"""Pair of the id of an advisory, and a project of which clients got a version that the advisory covers."""


class ReportedHits(Protocol):
    """Record of the advisory hits that were reported, so that each is reported once, also across a restart."""

    async def select_new(self, hits: Sequence[AdvisoryHit]) -> list[AdvisoryHit]:
        """Return the hits that are not in the record, in their order. If the storage fails, use only memory."""

    async def add(self, hits: Collection[AdvisoryHit]) -> None:
        """Add hits to the record. If the storage fails, they are kept in memory."""
