"""Advisories about the projects of pages: the records that count for a page, and whether they are still the same.

Records apply only to indexes of PyPI's ecosystem. A hosted index may have a project whose name another person
registered on PyPI, and a record about that project must not withhold the organisation's own.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from assay.advisories.model import Advisory
from assay.advisories.snapshot import AdvisorySnapshot
from assay.errors import NotReadyError
from assay.indexes import IndexSettings
from assay.ports import Advisories
from assay.simple.model import NormalizedName

NO_RECORDS: Final = ""
"""Version of the advisories about a project that no record names."""


class ProjectAdvisories(NamedTuple):
    """Advisories about one project in one snapshot."""

    version: str
    """Version of the snapshot (see `PageAdvisories.get_version`)."""
    records: tuple[Advisory, ...]
    digest: str
    """SHA-256 of the records of all feeds. Most snapshots change nothing about a project; it then stays the same."""


NO_ADVISORIES: Final = ProjectAdvisories(NO_RECORDS, (), "")


class PageAdvisories:
    """Advisories in force, as the judgement of pages uses them.

    Args:
        advisories: holder of the snapshot in force.
    """

    def __init__(self, advisories: Advisories) -> None:
        self._advisories = advisories

    @property
    def is_ready(self) -> bool:
        """False if a required feed has no snapshot yet. Nothing may be served then."""
        return self._advisories.explain_not_ready() is None

    def require_ready(self) -> None:
        """Raise an error if a required feed has no snapshot yet.

        Raises:
            NotReadyError: nothing may be served yet.
        """
        if (why := self._advisories.explain_not_ready()) is not None:
            raise NotReadyError(why)

    def get_version(self, index: IndexSettings, project: NormalizedName) -> str:
        """Return a text that changes whenever the records about a project change. This costs a look-up by name."""
        snapshot = self._advisories.current()
        return snapshot.digest if snapshot.has_project(project) and index.has_pypi_projects else NO_RECORDS

    async def find(self, index: IndexSettings, project: NormalizedName) -> ProjectAdvisories:
        """Return the records about a project, parsed in a thread. They are those of `get_version` at the call."""
        snapshot = self._advisories.current()
        if not snapshot.has_project(project) or not index.has_pypi_projects:
            return NO_ADVISORIES
        return await asyncio.to_thread(_find, snapshot, project)


def _find(snapshot: AdvisorySnapshot, project: NormalizedName) -> ProjectAdvisories:
    return ProjectAdvisories(snapshot.digest, snapshot.find(project), snapshot.compute_digest(project))
