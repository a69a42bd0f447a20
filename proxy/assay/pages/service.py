"""What a gate needs of pages: which index owns a name, and the page of a project to judge now.

Owns what an unknown name is: not found where the index is a catch-all, else an empty page, since a 404 would send uv to
the user's next index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from assay.errors import ProjectNotFoundError
from assay.indexes import Indexes, IndexSettings
from assay.pages.cache import PageCache
from assay.ports import IndexPage, Validators
from assay.simple.model import NormalizedName, Project


class PageService:
    """Pages of projects, for the gates of all views."""

    def __init__(self, *, indexes: Indexes, cache: PageCache, clock: Callable[[], datetime]) -> None:
        self.indexes = indexes
        self.cache = cache
        self._clock = clock

    def require_owner(self, name: NormalizedName) -> IndexSettings:
        """Return the index that owns a name.

        Raises:
            ProjectNotFoundError: no index does.
        """
        index = self.indexes.find_owner(name)
        if index is None:
            raise ProjectNotFoundError(f"no index of this proxy covers the name {name}")
        return index

    def find_candidate_projects(self, location: str) -> Iterator[NormalizedName]:
        """Return the projects whose pages could list a file at ``host/path``, the most likely first."""
        return self.indexes.find_candidate_projects(location)

    async def is_fresh(self, index: IndexSettings, name: NormalizedName) -> bool:
        """Return whether the page is in memory and need not be renewed yet."""
        return self.cache.is_fresh(index, name)

    async def get_current(self, index: IndexSettings, name: NormalizedName, *, newest_serial: int | None) -> IndexPage:
        """Return the page to judge now.

        Raises:
            ProjectNotFoundError: the catch-all index has no such project.
            UpstreamUnavailableError: the index is down and no page recent enough is cached.
            UpstreamError: the index answered nonsense.
        """
        page = await self.cache.get_current(index, name, newest_serial=newest_serial)
        if page is not None:
            return page
        if self.indexes.is_catch_all(index):
            raise ProjectNotFoundError(f"{index.name} has no project {name}")
        return IndexPage(
            index=index,
            project=Project(name=name, files=(), api_version=(1, 4)),
            content_digest="",
            confirmed_at=self._clock(),
            validators=Validators(),
            is_absent=True,
        )
