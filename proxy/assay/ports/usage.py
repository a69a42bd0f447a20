"""Protocol of the usage record: the projects and versions that clients used, and when. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from packaging.version import Version

from assay.simple.model import NormalizedName

MAX_USED_PROJECTS: Final = 100_000
"""Maximum number of projects in a usage record. The projects that were used last are kept."""
MAX_USED_VERSIONS: Final = 50
"""Maximum number of versions that are kept of one project. The versions that were used last are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedProject:
    """Project that clients used. Times are exact to about a minute."""

    index: str
    """Name of the index that owns the project."""
    project: NormalizedName
    last_used: datetime
    """Last time at which a client got the page or a file of the project."""
    versions: Mapping[str, datetime] = field(default_factory=dict)
    """Versions of which a client got a file, with the last time. At most `MAX_USED_VERSIONS` are kept."""
    views: Mapping[str, datetime] = field(default_factory=dict)
    """Names of the views in which the project was used, with the last time."""


class Usage(Protocol):
    """Record of the projects and versions that clients used. It survives a restart.

    The record is history. If it is lost, or if the storage engine fails, no request and no verdict is affected.
    """

    def note(self, index: str, project: NormalizedName, *, view: str, version: Version | None = None) -> None:
        """Note that a client got a page or a file now. Cheap: it only changes memory. Call it in the event loop.

        Args:
            index: name of the index that owns the project.
            project: the project, which must exist on the index.
            view: name of the view.
            version: version of the served file; None for the page of the project.
        """

    async def list_used(self, since: datetime, *, limit: int = MAX_USED_PROJECTS) -> list[UsedProject]:
        """Return the projects that were used at `since` or later, the last used first.

        The result includes what was noted just now. It is empty if the storage engine fails.

        Args:
            since: time in UTC.
            limit: maximum number of projects.
        """

    async def flush(self) -> None:
        """Write what was noted. The record does this by itself about once a minute, and when it is closed."""
