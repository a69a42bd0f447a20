"""Protocol of the record of refused requests. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple, Protocol

from assay.simple.model import NormalizedName

MAX_REFUSALS: Final = 20_000
"""Maximum number of refusals in the record. The latest are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRequest:
    """Request for a withheld file, its METADATA or its provenance, which was refused."""

    time: datetime
    view: str
    route: str
    """Label of the route: ``file``, ``metadata`` or ``provenance``."""
    project: NormalizedName | None
    """Project of the file; None if its filename is invalid."""
    filename: str
    """Filename as the index lists it. It may contain any characters."""
    sha256: str | None
    rule: str | None
    """Name of the governing rule; None if no rule governs the project."""
    codes: tuple[str, ...]
    """Codes of all reasons. The first one decided."""
    message: str
    """Message of the first reason, with the nearest approved version if there is one. It may contain any characters."""
    user: str | None
    """Name of the authenticated user; None if access is open."""
    number: int = 0
    """Number of the refusal in the record, which grows with each refusal. 0 before it is recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalFilter:
    """Values that the refusals of interest have. None: any value."""

    views: Collection[str]
    """Names of the views."""
    project: str | None = None
    rule: str | None = None
    code: str | None = None
    """Code that is among the reasons."""
    user: str | None = None


class RefusalCount(NamedTuple):
    """Number of refusals of one day, rule and first reason."""

    day: date
    """Day in UTC."""
    rule: str
    """Name of the rule; empty if no rule governs the project."""
    code: str
    total: int


class Refusals(Protocol):
    """Record of refused requests. It survives a restart, and it is history: losing it affects nothing else."""

    def note(self, refused: RefusedRequest) -> None:
        """Note a refusal. Cheap: it only changes memory. Call it in the event loop."""

    async def find(self, wanted: RefusalFilter, *, limit: int, before: int | None = None) -> tuple[RefusedRequest, ...]:
        """Return the latest refusals that match a filter, the latest first. It is empty if the storage engine fails.

        Args:
            wanted: the filter.
            limit: maximum number of refusals.
            before: only refusals with a lower number; None: from the latest on.
        """

    async def count_by_day(self, view: str, since: date) -> tuple[RefusalCount, ...]:
        """Return the numbers of refusals in a view since a day in UTC, in the order of days."""

    async def flush(self) -> None:
        """Write what was noted. The record does this by itself about once a minute, and when it is closed."""
