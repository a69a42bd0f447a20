"""Page service of all views: finds the index that owns a project name, and gets the project's current page.

This module also decides the response if that index does not have the project. A catch-all index, which covers all
names, gives a 404. Any other index gives an empty page: after a 404, uv would ask the next index in the user's
configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from assay import telemetry
from assay.caching.lru import Lru
from assay.errors import ProjectNotFoundError
from assay.evidence import Unstated
from assay.indexes import Indexes, IndexSettings
from assay.pages.cache import PageCache
from assay.pages.hosted import HostedPages
from assay.ports import IndexPage, ProjectHistory, Validators
from assay.simple.model import NormalizedName, Project, Sha256
from assay.simple.parse import basename, possible_projects

_MAX_REMEMBERED = 4096
"""Maximum number of project names with a known owner, and of locations with known projects. Both depend only on the
configuration, and every request needs one of them."""
_MAX_REMEMBERED_LOCATION_CHARS = 512


class PageService:
    """Source of project pages for the gate of each view. A gate decides which files its view serves."""

    def __init__(
        self,
        *,
        indexes: Indexes,
        cache: PageCache,
        clock: Callable[[], datetime],
        hosted: HostedPages | None = None,
    ) -> None:
        self.indexes = indexes
        self.cache = cache
        self._hosted = hosted
        self._clock = clock
        self._owners = Lru[NormalizedName, IndexSettings](max_items=_MAX_REMEMBERED)
        self._candidates = Lru[str, tuple[NormalizedName, ...]](max_items=_MAX_REMEMBERED)
        self._unstated: set[str] = set()
        """Names of the indexes about which the event `provenance-unstated` was logged."""

    def require_owner(self, name: NormalizedName) -> IndexSettings:
        """Return the index that owns a name.

        Raises:
            ProjectNotFoundError: no index covers the name.
        """
        if (index := self._owners.get(name)) is None:
            index = self.indexes.find_owner(name)
            if index is None:
                raise ProjectNotFoundError(f"no index of this proxy covers the name {name}")
            self._owners.put(name, index)
        return index

    def find_candidate_projects(self, location: str) -> tuple[NormalizedName, ...]:
        """Return the projects whose pages may list the file at ``host/path``, the most likely project first."""
        if (names := self._candidates.get(location)) is None:
            names = tuple(self.indexes.find_candidate_projects(location))
            if names and len(location) <= _MAX_REMEMBERED_LOCATION_CHARS:
                self._candidates.put(location, names)
        return names

    async def find_moved(self, location: str) -> list[tuple[NormalizedName, Sha256]]:
        """Return the projects whose earlier pages listed a file at ``host/path``, each with the file's digest.

        The index may have moved the file since then. The old host need not be a host of the index any more, because the
        caller looks for the digest on the current page and does not use the old URL.
        """
        found: list[tuple[NormalizedName, Sha256]] = []
        for name in possible_projects(basename(location)):
            index = self.indexes.find_owner(name)
            digest = None if index is None else await self.cache.moved.find_digest(index, name, location)
            if digest is not None:
                found.append((name, digest))
        return found

    async def is_fresh(self, index: IndexSettings, name: NormalizedName) -> bool:
        """Return whether the current answer of the index is in memory and needs no renewal yet.

        The answer is the project's page, or the fact that the index does not have the project.
        """
        return index.is_hosted or await self.cache.is_fresh(index, name)

    def is_current(self, index: IndexSettings) -> bool:
        """Return False if `refresh_hosted` must be called before pages of the index in memory are used."""
        return self._hosted is None or not index.is_hosted or self._hosted.is_current(index)

    async def refresh_hosted(self, name: NormalizedName) -> None:
        """If a hosted index owns a name, learn which of its projects other processes have changed before this call.

        Raises:
            ProjectNotFoundError: no index covers the name.
            StorageError: the storage cannot be reached, and what this process knows is too old.
        """
        if self._hosted is not None and (index := self.require_owner(name)).is_hosted:
            await self._hosted.refresh(index)

    def is_latest(self, page: IndexPage) -> bool:
        """Return False if the page belongs to a hosted index, and the project has changed since.

        The pages of other indexes have an age instead.
        """
        return self._hosted is None or not page.index.is_hosted or self._hosted.is_latest(page)

    def is_requested(self, name: NormalizedName) -> bool:
        """Return whether the project's page is being requested from its index."""
        return self.cache.is_requested(self.require_owner(name), name)

    async def get_current(self, index: IndexSettings, name: NormalizedName, *, history: ProjectHistory) -> IndexPage:
        """Return the current page of a project.

        If the index does not have the project and is not a catch-all index, return an empty page.

        Args:
            index: the index that owns the name.
            name: the project.
            history: the ledger's facts about the project.

        Raises:
            ProjectNotFoundError: the index is a catch-all index and does not have the project.
            UpstreamUnavailableError: the index is unavailable, and no page is cached that is recent enough.
            UpstreamError: the index refused access or sent an invalid response.
        """
        if index.is_hosted and self._hosted is not None:
            page = await self._hosted.get_current(index, name)
        else:
            page = await self.cache.get_current(index, name, history=history)
        if page is not None:
            if not page.project.states_provenance:
                self._note_unstated(index, name)
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

    def _note_unstated(self, index: IndexSettings, name: NormalizedName) -> None:
        """Log once that an index does not say which files have provenance, unless `provenance-from` says it."""
        if index.provenance_from is None and index.name not in self._unstated:
            self._unstated.add(index.name)
            telemetry.warning(
                "provenance-unstated", index=index.name, project=name, problem=Unstated(index=index.name).problem
            )
