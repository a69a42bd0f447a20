"""Current pages of hosted indexes. They are never stale: each change of a project changes the version of its page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from assay.caching.lru import Lru
from assay.hosted.page import JSON_MEDIA_TYPE, render_hosted_page
from assay.indexes import IndexSettings
from assay.pages.records import compute_content_digest
from assay.ports import (
    FetchedDocument,
    HostedProject,
    HostedStorage,
    IndexPage,
    NoBody,
    ProjectKey,
    Upstream,
    Validators,
)
from assay.simple.model import NormalizedName
from assay.simple.parse import PageLimits, parse_project

_MAX_CACHED_FILES = 10_000


class HostedPages:
    """Parsed pages of all hosted indexes.

    Args:
        upstream: connections to the indexes.
        storage: files of the hosted indexes.
        clock: returns the current time in UTC.
    """

    def __init__(self, *, upstream: Upstream, storage: HostedStorage, clock: Callable[[], datetime]) -> None:
        self._upstream = upstream
        self._storage = storage
        self._clock = clock
        self._pages = Lru[ProjectKey, IndexPage](max_weight=_MAX_CACHED_FILES, weigh=_weigh)

    def is_current(self, index: IndexSettings) -> bool:
        """Return whether `is_latest` counts without `refresh`."""
        return self._storage.is_current(index.name)

    async def refresh(self, index: IndexSettings) -> None:
        """Learn which projects of an index other processes have changed before this call.

        Raises:
            StorageError: the storage cannot be reached, and what this process knows is too old.
        """
        await self._storage.refresh(index.name)

    def is_latest(self, page: IndexPage) -> bool:
        """Return whether a project has not changed since its page was read."""
        project = self._storage.find_project(page.index.name, page.project.name)
        return (None if project is None else project.version) == page.validators.etag

    async def get_current(self, index: IndexSettings, name: NormalizedName) -> IndexPage | None:
        """Return the page of a project; None if the index does not have the project.

        Raises:
            UpstreamError: the page cannot be read.
        """
        known = self._pages.get((index.name, name))
        if known is not None and self.is_latest(known):
            return replace(known, index=index, confirmed_at=self._clock())
        fetched = await self._upstream.get_index(index).fetch_page(name, Validators())
        if isinstance(fetched, NoBody):
            self._pages.pop((index.name, name))
            return None
        page = await asyncio.to_thread(_parse, index, name, fetched, self._clock())
        self._pages.put((index.name, name), page)
        return page

    async def preview(self, index: IndexSettings, project: HostedProject) -> IndexPage:
        """Return the page of a project as it would be with the given files.

        Raises:
            UpstreamError: the page would be unusable.
        """
        body = await asyncio.to_thread(render_hosted_page, index.url, project)
        fetched = FetchedDocument(
            body=body,
            content_type=JSON_MEDIA_TYPE,
            url=f"{index.url}{project.name}/",
            validators=Validators(etag=project.version),
            serial=None,
        )
        return await asyncio.to_thread(_parse, index, project.name, fetched, self._clock())


def _parse(index: IndexSettings, name: NormalizedName, fetched: FetchedDocument, now: datetime) -> IndexPage:
    limits = PageLimits(max_files=index.limits.files_per_project)
    return IndexPage(
        index=index,
        project=parse_project(fetched.body, fetched.content_type, fetched.url, name, limits=limits),
        content_digest=compute_content_digest(fetched),
        confirmed_at=now,
        validators=fetched.validators,
    )


def _weigh(page: IndexPage) -> int:
    return 10 + len(page.project.files)
