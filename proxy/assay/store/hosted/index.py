"""Hosted indexes as `assay.ports.Index`: pages, files and documents from the storage instead of from HTTP.

All parts of the proxy above use a hosted index like any other: the same parser, policy and verifier apply.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import unquote

from packaging.utils import NormalizedName

from assay.errors import StorageError, UpstreamError, UpstreamUnavailableError
from assay.hosted.page import JSON_MEDIA_TYPE, render_hosted_page, render_hosted_root_list
from assay.indexes import IndexSettings
from assay.ports import (
    BodyStream,
    FetchedDocument,
    FileBody,
    HostedDocument,
    HostedStorage,
    Index,
    NoBody,
    ReserveBytes,
    Upstream,
    Validators,
)


class HostedIndex:
    """One hosted index (`assay.ports.Index`)."""

    def __init__(self, settings: IndexSettings, storage: HostedStorage) -> None:
        self._settings = settings
        self._storage = storage

    async def fetch_page(
        self, name: NormalizedName, validators: Validators, *, reserve: ReserveBytes | None = None
    ) -> FetchedDocument | NoBody:
        """Return the page of a project (PEP 691, PEP 700, PEP 740, PEP 792)."""
        project = self._storage.find_project(self._settings.name, name)
        if project is None:
            return NoBody.ABSENT
        if validators.etag == project.version:
            return NoBody.NOT_MODIFIED
        body = await asyncio.to_thread(render_hosted_page, self._settings.url, project)
        if reserve is not None:
            await reserve(len(body))
        return self._make_document(body, f"{self._settings.url}{name}/", project.version)

    def open_file(self, url: str, *, start: int = 0) -> AbstractAsyncContextManager[FileBody]:
        """Open a file's bytes from offset `start`."""
        project, filename = self._split_url(url)
        return self._storage.open_file(self._settings.name, project, filename, start=start, url=url)

    async def fetch_provenance(self, url: str, *, max_wait_seconds: float) -> FetchedDocument | NoBody:
        """Return a provenance document. There is never a wait, so `max_wait_seconds` has no effect."""
        del max_wait_seconds
        return await self._fetch_document(url.removesuffix("/provenance"), "provenance", url)

    async def fetch_metadata(self, url: str, *, max_bytes: int) -> FetchedDocument | NoBody:
        """Return the METADATA beside a file."""
        found = await self._fetch_document(url.removesuffix(".metadata"), "metadata", url)
        if isinstance(found, FetchedDocument) and len(found.body) > max_bytes:
            raise UpstreamError(f"{url}: more than {max_bytes} bytes")
        return found

    @asynccontextmanager
    async def open_root_list(self, validators: Validators) -> AsyncIterator[BodyStream[bytes] | NoBody]:
        """Open the list of all projects."""
        del validators
        try:
            await self._storage.refresh(self._settings.name)
        except StorageError as error:
            raise UpstreamUnavailableError(str(error)) from error
        body = render_hosted_root_list(self._storage.list_projects(self._settings.name))
        yield BodyStream(
            start=0, length=None, chunks=_iter_once(body), content_type=JSON_MEDIA_TYPE, url=self._settings.url
        )

    async def _fetch_document(self, address: str, kind: HostedDocument, url: str) -> FetchedDocument | NoBody:
        project, filename = self._split_url(address)
        try:
            document = await self._storage.read_document(self._settings.name, project, filename, kind)
        except StorageError as error:
            raise UpstreamUnavailableError(str(error)) from error
        return NoBody.ABSENT if document is None else self._make_document(document, url, None)

    @staticmethod
    def _make_document(body: bytes, url: str, etag: str | None) -> FetchedDocument:
        return FetchedDocument(
            body=body,
            content_type=JSON_MEDIA_TYPE,
            url=url,
            validators=Validators(etag=etag),
            serial=None,
            is_delimited=True,
        )

    def _split_url(self, url: str) -> tuple[NormalizedName, str]:
        """Return project and filename of a file's URL, which the pages of this index contain."""
        parts = url.removeprefix(self._settings.url).split("/")
        return NormalizedName(unquote(parts[0])), unquote(parts[-1])


class HostingUpstream:
    """Connections to all indexes, of which some are hosted (`assay.ports.Upstream`).

    Args:
        upstream: connections to the other indexes.
        storage: files of the hosted indexes.
    """

    def __init__(self, upstream: Upstream, storage: HostedStorage) -> None:
        self._upstream = upstream
        self._storage = storage

    def get_index(self, settings: IndexSettings) -> Index:
        """Return the index of one `[[indexes]]` table."""
        return HostedIndex(settings, self._storage) if settings.is_hosted else self._upstream.get_index(settings)


async def _iter_once(body: bytes) -> AsyncIterator[bytes]:
    yield body
