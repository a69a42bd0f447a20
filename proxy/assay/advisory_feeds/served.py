"""Projects of which files were served recently, from the record of usage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from assay.advisories.guard import ServedProject
from assay.indexes import Indexes
from assay.ports import Usage
from assay.simple.fields import parse_version

ListServed = Callable[[datetime], Awaitable[Sequence[ServedProject]]]
"""Function that returns the projects of which files were served at this time or later, with the versions. It returns
only projects of indexes to which advisories about PyPI apply."""


def make_list_served(usage: Usage, indexes: Indexes) -> ListServed:
    """Return a function that reads the served projects from the record of usage.

    Args:
        usage: the record of usage.
        indexes: the configured indexes.
    """
    names = frozenset(index.name for index in indexes if index.has_pypi_projects)

    async def list_served(since: datetime) -> list[ServedProject]:
        found = []
        for used in await usage.list_used(since):
            recent = (parse_version(text) for text, last_used in used.versions.items() if last_used >= since)
            versions = frozenset(version for version in recent if version is not None)
            if versions and used.index in names:
                found.append(ServedProject(index=used.index, project=used.project, versions=versions))
        return found

    return list_served
