"""An index as the packages above `upstream` see it. Pure: protocols and values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Generic, Protocol, TypeAlias, TypeVar

from assay.indexes import IndexSettings
from assay.simple.model import NormalizedName, Project, Sha256

_Chunk = TypeVar("_Chunk", bytes, bytes | memoryview)

ProjectKey = tuple[str, NormalizedName]
"""(index, project)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """What makes a request conditional (RFC 9110, 13.1)."""

    etag: str | None = None
    last_modified: str | None = None

    def to_headers(self) -> dict[str, str]:
        """As request headers."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPage:
    """A project as its index lists it, and how far that can be relied on."""

    index: IndexSettings
    project: Project
    content_digest: str
    """Digest of the index's bytes and of the address they came from: a page of the same version is the same page."""
    confirmed_at: datetime
    """When the index last confirmed it."""
    validators: Validators
    is_stale: bool = False
    """The index is down and this is older than it should be."""
    is_absent: bool = False
    """The index owns the name and has no such project: the page is empty, and no other index is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyStream(Generic[_Chunk]):
    """A body that streams."""

    start: int
    """Offset in the file of the first chunk: 0 if the index ignored the Range."""
    length: int | None
    """Bytes of the whole file, if the index says."""
    chunks: AsyncIterator[_Chunk]
    """The bytes from `start` on. A memoryview is lent until the next chunk is asked for."""
    content_type: str
    url: str


FileBody: TypeAlias = BodyStream[bytes | memoryview]
"""A file's bytes, undecoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedFile:
    """A file on an index's page, and the bytes that a download of it must end up with."""

    index: IndexSettings
    url: str
    """Where its index has it."""
    sha256: Sha256
    size: int | None
    """Bytes, as the page says; None if it says nothing."""

    @property
    def limit(self) -> int:
        """Maximum bytes of a file of this index."""
        return self.index.limits.file


class NoBody(Enum):
    """Successful outcomes without a body."""

    ABSENT = "absent"
    NOT_MODIFIED = "not modified"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedDocument:
    """A whole document, within its limit."""

    body: bytes
    content_type: str
    url: str
    """Where it was found in the end: the base of its relative addresses."""
    validators: Validators
    serial: int | None
    """``X-PyPI-Last-Serial``, if the index sends one."""


class Index(Protocol):
    """One index: its pages, file contents and documents. Every byte of them is hostile."""

    async def fetch_page(self, name: NormalizedName, validators: Validators) -> FetchedDocument | NoBody:
        """Return a project's page; `NoBody.ABSENT` if the index has no such project.

        Raises:
            UpstreamError: anything that is neither a page, a 304 nor a 404.
        """

    def open_file(self, url: str, *, start: int = 0) -> AbstractAsyncContextManager[FileBody]:
        """Open a file's bytes at `start`, or at 0 if the index ignores the Range.

        Raises:
            UpstreamGoneError: 404 or 410.
            UpstreamError: anything else that is no file.
        """

    async def fetch_provenance(self, url: str, *, max_wait_seconds: float) -> FetchedDocument | NoBody:
        """Return a provenance document; `NoBody.ABSENT` if there is none.

        Args:
            url: where the page, or the index's other Integrity API, has it.
            max_wait_seconds: seconds that ``Retry-After`` may hold the request back.

        Raises:
            UpstreamError: anything but 200, 404 and 410.
        """

    async def fetch_metadata(self, url: str, *, max_bytes: int) -> FetchedDocument | NoBody:
        """Return the METADATA beside a file; `NoBody.ABSENT` if there is none.

        Raises:
            UpstreamError: anything but 200, 404 and 410; more than `max_bytes` bytes.
        """

    def open_root_list(self, validators: Validators) -> AbstractAsyncContextManager[BodyStream[bytes] | NoBody]:
        """Open the list of all projects, decoded.

        Raises:
            UpstreamError: anything that is neither a list, a 304 nor a 404.
        """


class Upstream(Protocol):
    """All indexes."""

    def get_index(self, settings: IndexSettings) -> Index:
        """Return the index of one `[[indexes]]` table."""


class Source(Protocol):
    """A place that has files: the index, object storage, another replica. Its bytes are unverified."""

    def contents(self, file: ExpectedFile, start: int) -> AbstractAsyncContextManager[FileBody]:
        """Open a file at byte `start`, or at 0 if the source knows no ranges.

        Raises:
            UpstreamUnavailableError: not now; another try may succeed.
            UpstreamError: the source does not have the file, or does not give it.
        """

    def get_retry_delay(self, attempt: int, retry_after: float | None) -> float | None:
        """Return the seconds to wait before the source is tried again, None to give it up.

        Args:
            attempt: tries that failed in a row without progress, from 1.
            retry_after: seconds that the source asked for.
        """
