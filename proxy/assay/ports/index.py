"""Protocols of indexes and of other sources of files, for the packages above `upstream`. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from assay.indexes import IndexSettings
from assay.simple.model import NormalizedName, Project, Sha256

_Chunk = TypeVar("_Chunk", bytes, bytes | memoryview)

ReserveBytes: TypeAlias = Callable[[int], Awaitable[None]]
"""Function that waits until a body of a given size in bytes may be in memory."""
ProjectKey = tuple[str, NormalizedName]
"""Pair of the index's name and the project's normalized name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """Validators of a cached response, which make a request conditional (RFC 9110, 13.1)."""

    etag: str | None = None
    last_modified: str | None = None

    def to_headers(self) -> dict[str, str]:
        """Return the validators as request headers."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPage:
    """Parsed page of a project, with the time of its last confirmation."""

    index: IndexSettings
    project: Project
    content_digest: str
    """Digest of the page's bytes, URL, content type and serial. Pages with equal digests are equal."""
    confirmed_at: datetime
    """Time at which the index last sent the page or confirmed that it has not changed."""
    validators: Validators
    is_stale: bool = False
    """True if the page has expired, and is used only because the index is unavailable."""
    is_rolled_back: bool = False
    """True if the index last sent a page with a lower serial, so that this newer page is kept for a limited time."""
    is_absent: bool = False
    """True if the index that owns the name does not have the project. The page is then empty, and no other index is
    asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyStream(Generic[_Chunk]):
    """Body of a response as a stream of chunks."""

    start: int
    """Offset of the first chunk in the file, in bytes. It is 0 if the index ignored the Range header."""
    length: int | None
    """Size of the whole file in bytes; None if the index does not state it."""
    chunks: AsyncIterator[_Chunk]
    """Bytes of the file from offset `start`. A memoryview is valid only until the next chunk is requested."""
    content_type: str
    url: str
    validators: Validators = field(default_factory=Validators)
    """Validators of the response; empty for a file."""


FileBody: TypeAlias = BodyStream[bytes | memoryview]
"""Body of a file. A content coding of the response is not decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedFile:
    """File that an index's page lists, with the digest and size that the download must have."""

    index: IndexSettings
    url: str
    """URL of the file on its index."""
    sha256: Sha256
    size: int | None
    """Size in bytes according to the page; None if the page does not state it."""

    @property
    def limit(self) -> int:
        """Maximum size of a file of this index, in bytes."""
        return self.index.limits.file


class NoBody(Enum):
    """Outcomes of a successful request that have no body."""

    ABSENT = "absent"
    NOT_MODIFIED = "not modified"


UNDELIMITED: Final = "the body has neither a Content-Length nor a last chunk, so a part of it may be missing"
"""Error text for a body that must be complete, but is ended only by the end of the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedDocument:
    """Document from an index, within the size limit. The document is complete if `is_delimited` is True."""

    body: bytes
    content_type: str
    url: str
    """URL after redirects. Relative URLs in the document start from it."""
    validators: Validators
    serial: int | None
    """Value of the header ``X-PyPI-Last-Serial``; None if the index did not send it."""
    is_delimited: bool = True
    """False if only the end of the connection ended the body (RFC 9112, 6.3), so that a part of it may be missing."""


class Index(Protocol):
    """One index: its pages, files and documents. All bytes from the index are untrusted."""

    async def fetch_page(
        self, name: NormalizedName, validators: Validators, *, reserve: ReserveBytes | None = None
    ) -> FetchedDocument | NoBody:
        """Fetch a project's page; return `NoBody.ABSENT` if the index has no such project.

        Args:
            name: the project.
            validators: validators of the cached page; empty for an unconditional request.
            reserve: awaited before the body uses more memory, with the maximum size in bytes that it then has.

        Raises:
            UpstreamError: the response is neither a page nor a 304, 404 or 410.
        """

    def open_file(self, url: str, *, start: int = 0) -> AbstractAsyncContextManager[FileBody]:
        """Open a file's bytes from offset `start`, or from 0 if the index ignores the Range header.

        Raises:
            UpstreamGoneError: the index answers 404 or 410.
            UpstreamError: any other response that is not the file.
        """

    async def fetch_provenance(self, url: str, *, max_wait_seconds: float) -> FetchedDocument | NoBody:
        """Fetch a provenance document; return `NoBody.ABSENT` if the index has no such document.

        Args:
            url: URL from the page, or URL at the Integrity API that the index's setting `provenance-from` names.
            max_wait_seconds: maximum seconds to wait if the index sends ``Retry-After``, for all attempts together. If
                the index requires a longer wait, the method raises an error.

        Raises:
            UpstreamError: any response other than 200, 404 and 410.
        """

    async def fetch_metadata(self, url: str, *, max_bytes: int) -> FetchedDocument | NoBody:
        """Fetch the METADATA beside a file (PEP 658); return `NoBody.ABSENT` if the index does not have it.

        Raises:
            UpstreamError: any response other than 200, 404 and 410, or a body of more than `max_bytes` bytes.
        """

    def open_root_list(self, validators: Validators) -> AbstractAsyncContextManager[BodyStream[bytes] | NoBody]:
        """Open the list of all projects, and decode its content coding.

        Raises:
            UpstreamError: the response is neither a list nor a 304, 404 or 410.
        """


class Upstream(Protocol):
    """Connections to all indexes."""

    def get_index(self, settings: IndexSettings) -> Index:
        """Return the index of one `[[indexes]]` table."""


class DocumentStreams(Protocol):
    """Connections over which large documents are received that are not pages, such as feeds of advisories."""

    def open_stream(
        self, index: IndexSettings, url: str, validators: Validators, *, accept: str, max_bytes: int
    ) -> AbstractAsyncContextManager[BodyStream[bytes] | NoBody]:
        """Open a large document on a host of the index, and decode its content coding.

        Args:
            index: settings of the connection.
            url: URL of the document.
            validators: validators of the last document; empty for an unconditional request.
            accept: value of the Accept header.
            max_bytes: maximum size after decoding.

        Raises:
            UpstreamError: the response is neither the document nor a 304, 404 or 410, or it is too large.
        """


class Source(Protocol):
    """Source of downloads, such as the index, object storage or another replica. Its bytes are unverified."""

    def contents(self, file: ExpectedFile, start: int) -> AbstractAsyncContextManager[FileBody]:
        """Open a file from offset `start`, or from 0 if the source does not support ranges.

        Raises:
            UpstreamUnavailableError: the source is unavailable; another try may succeed.
            UpstreamError: the source does not have the file or refuses access to it.
        """

    def get_retry_delay(self, attempt: int, retry_after: float | None) -> float | None:
        """Return the delay in seconds before the source is tried again; None if it must not be tried again.

        Args:
            attempt: number of consecutive tries that failed without progress, from 1.
            retry_after: delay in seconds that the source requested; None if it requested no delay.
        """
