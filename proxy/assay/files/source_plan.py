"""Plan of one download: the sources that it asks, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from assay.ports import ExpectedFile, Source
from assay.telemetry.metrics import SOURCES

_FROM_INDEX = SOURCES.labels("index")


class SourcePlan(Protocol):
    """Order of the sources of one download. Only this download uses it."""

    async def get_next(self) -> Source | None:
        """Return the next source. It is asked for the bytes that are missing. None: no source is left."""

    def report_wrong_bytes(self, suppliers: Sequence[Source]) -> None:
        """Learn that the bytes of these sources, together, are not those of the file."""

    def finish(self, *, is_stored: bool) -> None:
        """Learn that no further source is needed, and if the file is in storage. Only the first call has an effect."""


MakePlan: TypeAlias = Callable[[ExpectedFile], SourcePlan]
"""Function that returns the plan of a new download."""


class ListedSources:
    """Plan that asks given sources in order (`SourcePlan`). In the proxy, the index is the only one."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._remaining = iter(sources)

    async def get_next(self) -> Source | None:
        """Return the next source; None if none is left."""
        return next(self._remaining, None)

    def report_wrong_bytes(self, suppliers: Sequence[Source]) -> None:
        """Do nothing: each source is asked once in any case."""

    def finish(self, *, is_stored: bool) -> None:
        """Count a stored file. The listed source is the index."""
        if is_stored:
            _FROM_INDEX.inc()


def plan_in_order(*sources: Source) -> MakePlan:
    """Return a function whose plans ask `sources` in order."""
    return lambda _file: ListedSources(sources)
