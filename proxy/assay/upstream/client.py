"""An index's pages, documents and file contents, over one connection pool.

Owns redirects, proxies, TLS, time-outs, retries of small documents and the caps on what is read. Every byte and header
that comes back is hostile. It judges nothing, caches nothing and parses no page.

- Redirects are followed one by one, each checked like a first address.
- File contents are taken as they are on the wire (``Accept-Encoding: identity``, nothing decoded): the digest decides.
- Proxies come from the environment that was read once, at the top.
"""

from __future__ import annotations

import asyncio
import ssl
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from http import HTTPStatus

import aiohttp
from yarl import URL

from assay import telemetry
from assay.errors import InvalidResponseError, UpstreamGoneError, UpstreamUnavailableError
from assay.indexes import IndexSettings, LimitsSettings
from assay.ports import BodyStream, FetchedDocument, FileBody, Index, NoBody, Validators
from assay.simple.model import NormalizedName
from assay.upstream.addresses import NoLinkLocalResolver, check_index_url, format_host, redact_url, resolve_redirect
from assay.upstream.bulk_receiver import can_receive_in_bulk, receive_body
from assay.upstream.credentials import IndexAuthorizations
from assay.upstream.metrics import RequestMetrics
from assay.upstream.pacing import MAX_RETRY_WAIT_SECONDS, HostBackoff, RetryPacing
from assay.upstream.responses import (
    as_upstream_error,
    check_content_encoding,
    iter_chunks,
    parse_content_range,
    parse_last_serial,
    raise_for_status,
    read_response_body,
)
from assay.upstream.tls import load_tls_contexts

_PAGE_ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"  # PEP 691
)
_PROVENANCE_ACCEPT = "application/vnd.pypi.integrity.v1+json, application/json;q=0.9"

_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_CONTENT_ENCODINGS = frozenset({"gzip", "deflate"})
"""Content codings that are asked for, and decoded; anything else would be taken for the page itself."""
_ACCEPT_ENCODING = ", ".join(sorted(_CONTENT_ENCODINGS))
_READ_BUFFER_BYTES = 256 * 1024
"""Bytes that aiohttp gathers of an answer; of documents and short files."""


class UpstreamClient:
    """One connection pool for all indexes: `assay.ports.Upstream`. Each call names its index."""

    def __init__(
        self,
        *,
        limits: LimitsSettings,
        authorizations: IndexAuthorizations,
        proxies: Mapping[str, str],
        indexes: Iterable[IndexSettings] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        pacing: RetryPacing | None = None,
    ) -> None:
        self._limits = limits
        self._authorizations = authorizations
        self._proxies = dict(proxies)
        self._indexes = tuple(indexes)
        self._tls_contexts: dict[str, ssl.SSLContext] = {}
        self._backoff = HostBackoff(sleep, pacing=pacing)
        self._session: aiohttp.ClientSession | None = None
        self._receives_in_bulk = False

    async def start(self) -> None:
        """Open the pool, with the system's certificate store (``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` included).

        Raises:
            ConfigurationError: an index's `ca-file` cannot be used.
        """
        tls = await asyncio.to_thread(ssl.create_default_context)
        self._tls_contexts = await asyncio.to_thread(load_tls_contexts, self._indexes)
        self._receives_in_bulk = await can_receive_in_bulk()
        resolver = NoLinkLocalResolver(self._limits.timeouts.connect.total_seconds())
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # For each host, and none for all together: an index that hangs must not take another's connections.
                ssl=tls,
                limit=0,
                limit_per_host=self._limits.connections,
                resolver=resolver,
                happy_eyeballs_delay=0.25,
            ),
            headers={"User-Agent": "assay-proxy"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            read_bufsize=_READ_BUFFER_BYTES,
        )

    async def close(self) -> None:
        """Close the pool. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def get_index(self, settings: IndexSettings) -> Index:
        """Return the index of one `[[indexes]]` table."""
        return _IndexClient(self, settings)

    async def fetch_page(
        self, index: IndexSettings, name: NormalizedName, validators: Validators
    ) -> FetchedDocument | NoBody:
        """A project's page; `NoBody.ABSENT` where the index has no such project.

        Raises:
            UpstreamError: anything that is neither a page, a 304 nor a 404.
        """
        headers = {"Accept": _PAGE_ACCEPT, **validators.to_headers()}
        return await self._fetch_with_retries(
            index, f"{index.url}{name}/", headers=headers, max_bytes=index.limits.page
        )

    async def fetch_document(
        self,
        index: IndexSettings,
        url: str,
        *,
        accept: str,
        max_bytes: int,
        max_wait_seconds: float = MAX_RETRY_WAIT_SECONDS,
    ) -> FetchedDocument | NoBody:
        """A small document (provenance, metadata), at most `max_bytes` bytes.

        Args:
            index: on whose behalf.
            url: where it is.
            accept: media types.
            max_bytes: bytes, after decompression.
            max_wait_seconds: seconds that it may be held back by what the index's ``Retry-After`` asks.

        Raises:
            UpstreamError: anything but 200, 404 and 410.
        """
        return await self._fetch_with_retries(
            index, url, headers={"Accept": accept}, max_bytes=max_bytes, max_wait_seconds=max_wait_seconds
        )

    async def _fetch_with_retries(
        self,
        index: IndexSettings,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        max_wait_seconds: float = MAX_RETRY_WAIT_SECONDS,
    ) -> FetchedDocument | NoBody:
        target = check_index_url(index, url)
        return await self._backoff.run_with_retries(
            format_host(target),
            lambda: self._fetch_once(index, url, target, headers=headers, max_bytes=max_bytes),
            max_wait_seconds,
        )

    @asynccontextmanager
    async def open_file(self, index: IndexSettings, url: str, *, start: int = 0) -> AsyncIterator[FileBody]:
        """A file's bytes from `start` on, undecoded; from 0 where the index ignores the Range.

        Raises:
            UpstreamGoneError: 404 or 410.
            UpstreamError: anything else that is no file.
        """
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        async with await self._follow_redirects(index, url, check_index_url(index, url), headers) as response:
            if response.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                raise UpstreamGoneError(f"{redact_url(url)}: the index lists this file and answers {response.status}")
            begins, length = parse_content_range(response, start)
            patience = index.limits.timeouts.read.total_seconds()
            async with receive_body(response, url, patience, in_bulk=self._receives_in_bulk) as chunks:
                yield BodyStream(
                    start=begins,
                    length=length,
                    chunks=chunks,
                    content_type=response.headers.get("Content-Type", ""),
                    url=str(response.url),
                )

    @asynccontextmanager
    async def open_root_list(
        self, index: IndexSettings, validators: Validators
    ) -> AsyncIterator[BodyStream[bytes] | NoBody]:
        """The index's list of all projects, decoded, as a stream.

        Raises:
            UpstreamError: anything that is neither a list, a 304 nor a 404.
        """
        headers = {"Accept": _PAGE_ACCEPT, **validators.to_headers()}
        async with await self._follow_redirects(
            index, index.url, check_index_url(index, index.url), headers, decode=True
        ) as response:
            match response.status:
                case HTTPStatus.OK:
                    yield BodyStream(
                        start=0,
                        length=None,
                        chunks=iter_chunks(response, index.url),
                        content_type=response.headers.get("Content-Type", ""),
                        url=str(response.url),
                    )
                case HTTPStatus.NOT_MODIFIED if validators.to_headers():
                    yield NoBody.NOT_MODIFIED
                case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
                    yield NoBody.ABSENT
                case status:
                    raise InvalidResponseError(f"{index.url} answered {status} to a request for the list of projects")

    async def _fetch_once(
        self, index: IndexSettings, url: str, target: URL, *, headers: Mapping[str, str], max_bytes: int
    ) -> FetchedDocument | NoBody:
        total = index.limits.timeouts.total.total_seconds()
        try:
            async with (
                asyncio.timeout(total),
                await self._follow_redirects(index, url, target, headers, decode=True) as response,
            ):
                match response.status:
                    case HTTPStatus.OK:
                        return FetchedDocument(
                            body=await read_response_body(response, url, max_bytes),
                            content_type=response.headers.get("Content-Type", ""),
                            url=str(response.url),
                            validators=Validators(
                                etag=response.headers.get("ETag"), last_modified=response.headers.get("Last-Modified")
                            ),
                            serial=parse_last_serial(response.headers.get("X-PyPI-Last-Serial")),
                        )
                    case HTTPStatus.NOT_MODIFIED if "If-None-Match" in headers or "If-Modified-Since" in headers:
                        return NoBody.NOT_MODIFIED
                    case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
                        return NoBody.ABSENT
                    case status:
                        raise InvalidResponseError(f"{redact_url(url)} answered {status}, expected 200")
        except TimeoutError as error:
            raise UpstreamUnavailableError(f"{redact_url(url)} did not answer within {total:.0f} s") from error

    async def _follow_redirects(
        self, index: IndexSettings, url: str, target: URL, headers: Mapping[str, str], *, decode: bool = False
    ) -> aiohttp.ClientResponse:
        """The response after redirects, to be left; only 2xx, 304, 404 and 410 come through, anything else is raised.

        `target` is `url` as the index may use it; `decode`: the body is wanted without its content coding.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._send_request(index, url, target, headers, decode=decode)
            try:
                if response.status not in _REDIRECT_STATUSES:
                    raise_for_status(response, url)
                    if decode:
                        check_content_encoding(response, url, _CONTENT_ENCODINGS)
                    return response
                target = resolve_redirect(index, target, response)
            except BaseException:
                await _release_response(response)
                raise
            await _release_response(response)
            telemetry.event("redirect-followed", index=index.name, to=redact_url(str(target)))
        raise InvalidResponseError(f"{redact_url(url)} redirects more than {_MAX_REDIRECTS} times")

    async def _send_request(
        self, index: IndexSettings, url: str, target: URL, headers: Mapping[str, str], *, decode: bool
    ) -> aiohttp.ClientResponse:
        """One request, and whatever answers it."""
        if self._session is None:
            raise RuntimeError("Upstream.start was not awaited")
        timeouts = index.limits.timeouts
        exchange = RequestMetrics("GET", target)
        try:
            response = await self._session.request(
                "GET",
                target,
                headers={
                    **({"Accept-Encoding": _ACCEPT_ENCODING} if decode else {}),
                    **headers,
                    **self._authorizations.headers_for(index, target),
                },
                allow_redirects=False,
                auto_decompress=decode,
                proxy=index.proxy or self._proxy_for(target),
                ssl=self._tls_contexts.get(index.name, True),
                timeout=_create_timeout(timeouts.connect.total_seconds(), timeouts.read.total_seconds()),
            )
        except BaseException as error:
            exchange.record_failure(error)
            if isinstance(error, aiohttp.ClientError | TimeoutError | OSError | ValueError):
                raise as_upstream_error(error, url) from error
            raise
        exchange.record_response(response.status)
        return response

    def _proxy_for(self, target: URL) -> str | None:
        # Public in the module's sources and undocumented; typeshed lacks it. It knows NO_PROXY's forms.
        if not self._proxies:
            return None
        bypassed: Callable[[str, Mapping[str, str]], bool] = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
        if target.host is None or bypassed(f"{target.host}:{target.port}", self._proxies):
            return None
        return self._proxies.get(target.scheme) or self._proxies.get("all")


class _IndexClient:
    """`UpstreamClient` on behalf of one index."""

    def __init__(self, upstream: UpstreamClient, settings: IndexSettings) -> None:
        self._upstream = upstream
        self._settings = settings

    async def fetch_page(self, name: NormalizedName, validators: Validators) -> FetchedDocument | NoBody:
        return await self._upstream.fetch_page(self._settings, name, validators)

    def open_file(self, url: str, *, start: int = 0) -> AbstractAsyncContextManager[FileBody]:
        return self._upstream.open_file(self._settings, url, start=start)

    async def fetch_provenance(self, url: str, *, max_wait_seconds: float) -> FetchedDocument | NoBody:
        return await self._upstream.fetch_document(
            self._settings,
            url,
            accept=_PROVENANCE_ACCEPT,
            max_bytes=self._settings.limits.provenance,
            max_wait_seconds=max_wait_seconds,
        )

    async def fetch_metadata(self, url: str, *, max_bytes: int) -> FetchedDocument | NoBody:
        return await self._upstream.fetch_document(self._settings, url, accept="*/*", max_bytes=max_bytes)

    def open_root_list(self, validators: Validators) -> AbstractAsyncContextManager[BodyStream[bytes] | NoBody]:
        return self._upstream.open_root_list(self._settings, validators)


async def _release_response(response: aiohttp.ClientResponse) -> None:
    async with response:
        pass


@lru_cache(maxsize=64)
def _create_timeout(connect_seconds: float, read_seconds: float) -> aiohttp.ClientTimeout:
    """No total here: a large file on a slow line is no failure. What stalls ends by `sock_read`."""
    return aiohttp.ClientTimeout(
        total=None,
        connect=None,
        sock_connect=connect_seconds,
        sock_read=read_seconds,
    )
