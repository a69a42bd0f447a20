"""Protocol of the usage record: the projects and versions that clients used, and when. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol, TypeAlias

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


MAX_SUMMARY_RELEASES: Final = 40
"""Maximum number of releases in the summary of a project. The highest versions are kept."""
MAX_SUMMARY_PUBLISHERS: Final = 8
"""Maximum number of publishers in the summary of a project."""
SummaryKey: TypeAlias = tuple[str, NormalizedName, str]
"""Index, project and view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSummary:
    """Result of the last judgement of a project's page in one view, for statistics."""

    index: str
    project: NormalizedName
    view: str
    judged_at: datetime
    approved: int
    """Number of approved files."""
    withheld: int
    """Number of withheld files."""
    releases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Words for the provenance of each release (`assay.publishers.release_provenance`), by version, the highest version
    first. A version that was read back may be any text."""
    publishers: tuple[str, ...] = ()
    """Names of the publishers of the last attested release with an approved file."""

    @property
    def key(self) -> SummaryKey:
        """Key of the summary. A later summary replaces an earlier one with the same key."""
        return self.index, self.project, self.view


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedProject:
    """Project that clients used in a view, with the summary of its page; None: no page was summarized yet."""

    used: UsedProject
    summary: ProjectSummary | None


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

    async def keep_summaries(self, summaries: Sequence[ProjectSummary]) -> frozenset[SummaryKey]:
        """Store summaries of projects that clients have used; return the keys of those that were stored."""

    async def list_described(self, view: str, since: datetime, *, limit: int) -> list[DescribedProject]:
        """Return the projects that were used in a view at `since` or later with their summaries, the last used first.

        It includes what was noted just now. It is empty if the storage engine fails.

        Args:
            view: name of the view.
            since: time in UTC.
            limit: maximum number of projects.
        """

    async def list_seen(self, view: str, *, limit: int) -> list[NormalizedName]:
        """Return the names of the projects that were used in a view, the last used first, each once.

        It includes what was noted just now. It is empty if the storage engine fails.
        """

    async def flush(self) -> None:
        """Write what was noted. The record does this by itself about once a minute, and when it is closed."""
