"""Projects of which clients got files recently, from the record of usage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from assay.indexes import Indexes
from assay.ports import Usage, UsedProject

ListServed = Callable[[datetime], Awaitable[Sequence[UsedProject]]]
"""Function that returns the projects of which clients got files at this time or later, with only the versions of these
files. It returns only projects of indexes to which advisories about PyPI apply."""


def make_list_served(usage: Usage, indexes: Indexes) -> ListServed:
    """Return a function that reads the served projects from the record of usage.

    Args:
        usage: the record of usage.
        indexes: the configured indexes.
    """
    names = frozenset(index.name for index in indexes if index.has_pypi_projects)

    async def list_served(since: datetime) -> list[UsedProject]:
        found = []
        for used in await usage.list_used(since):
            versions = {version: last_used for version, last_used in used.versions.items() if last_used >= since}
            if versions and used.index in names:
                found.append(replace(used, versions=versions))
        return found

    return list_served


async def list_nothing_served(_since: datetime) -> Sequence[UsedProject]:
    """Return an empty list, for commands that only read snapshots."""
    return ()
