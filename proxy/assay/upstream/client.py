"""HTTP client that fetches pages, documents and files from indexes over one connection pool.

It handles redirects, proxies, TLS, timeouts and size limits, and it repeats failed requests for pages and documents. It
treats every byte and header of a response as hostile. It does not cache responses or parse pages.

- The client follows one redirect at a time. Each target gets the same checks as the first URL.
- The client requests files without a content coding (``Accept-Encoding: identity``) and does not decode them. The
  caller checks their digest.
- The caller reads the HTTP proxies from the environment at start and passes them to the client.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Final

import aiohttp
from yarl import URL

from assay import telemetry
from assay.errors import InvalidResponseError, UpstreamGoneError, UpstreamTimeoutError
from assay.indexes import IndexSettings, LimitsSettings
from assay.ports import UNDELIMITED, BodyStream, FetchedDocument, FileBody, Index, NoBody, ReserveBytes, Validators
from assay.simple.model import NormalizedName
from assay.upstream.addresses import (
    MAX_REDIRECTS,
    REDIRECT_STATUSES,
    NoLinkLocalResolver,
    check_index_url,
    format_host,
    redact_url,
    resolve_redirect,
)
from assay.upstream.bulk_receiver import can_receive_in_bulk, receive_body
from assay.upstream.connection_slots import ConnectionSlots
from assay.upstream.content_coding import ACCEPT_ENCODING
from assay.upstream.credentials import IndexAuthorizations
from assay.upstream.metrics import RequestMetrics
from assay.upstream.pacing import MAX_RETRY_WAIT_SECONDS, HostBackoff, Purpose, RetryPacing
from assay.upstream.responses import (
    is_delimited,
    iter_decoded_chunks,
    parse_content_range,
    parse_last_serial,
    raise_for_status,
    read_response_body,
    read_validators,
    release_response,
)
from assay.upstream.timeouts import create_timeout
from assay.upstream.tls import load_tls_contexts
from assay.upstream.transport_errors import as_upstream_error

_PAGE_ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"  # PEP 691
)
_PROVENANCE_ACCEPT = "application/vnd.pypi.integrity.v1+json, application/json;q=0.9"

_PROVENANCE_MAX_SECONDS = 30.0
"""Maximum time of one request for a provenance document, in seconds. While Assay fetches the document, the client waits
for the file: pip for about 90 seconds, uv for about 50. They print the reason of a failure only if the failure comes
earlier."""
_METADATA_MAX_SECONDS = 12.0
"""Maximum time of one request for METADATA, in seconds. The client waits for the response during this time. pip gives
up a silent connection after 15 seconds."""
_READ_BUFFER_BYTES = 256 * 1024
"""Size of aiohttp's read buffer. It applies to every body that is not received in bulk."""


class UpstreamClient:
    """HTTP client of all indexes, with one connection pool. Implements `assay.ports.Upstream`.

    Args:
        limits: gives the maximum number of connections to one host, and the connect timeout, which also limits a name
            lookup.
        authorizations: credentials of the indexes.
        proxies: HTTP proxies as `urllib.request.getproxies_environment` returns them. Keys are URL schemes, ``all`` for
            every scheme, and ``no`` for the value of NO_PROXY.
        indexes: the configured indexes. `start` loads the `ca-file` of each index that has one.
        sleep: coroutine function that waits for a number of seconds between attempts.
        pacing: delays between attempts; None for the default.
    """

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
        self.slots: Final = ConnectionSlots(limits.connections)
        """Slots that every request uses for its connection."""
        self._session: aiohttp.ClientSession | None = None
        self._receives_in_bulk = False

    async def start(self) -> None:
        """Open the connection pool and load the trusted certificates.

        These are the certificates of the system, or of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` if these variables are
        set. For an index with a `ca-file`, its certificates are added.

        Raises:
            ConfigurationError: the `ca-file` of an index cannot be used.
        """
        tls = await asyncio.to_thread(ssl.create_default_context)
        self._tls_contexts = await asyncio.to_thread(load_tls_contexts, self._indexes)
        self._receives_in_bulk = await can_receive_in_bulk()
        resolver = NoLinkLocalResolver(self._limits.timeouts.connect.total_seconds())
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=tls,
                # No limit in total, only for each host: an index that hangs must not use up the connections of others.
                limit=0,
                limit_per_host=self.slots.max_per_host,
                resolver=resolver,
                happy_eyeballs_delay=0.25,
            ),
            headers={"User-Agent": "assay-proxy"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            read_bufsize=_READ_BUFFER_BYTES,
        )

    async def close(self) -> None:
        """Close the connection pool. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def get_index(self, settings: IndexSettings) -> Index:
        """Return a client for the index of one `[[indexes]]` table."""
        return _IndexClient(self, settings)

    async def fetch_page(
        self,
        index: IndexSettings,
        name: NormalizedName,
        validators: Validators,
        *,
        reserve: ReserveBytes | None = None,
    ) -> FetchedDocument | NoBody:
        """Fetch a project's page. If there are validators, send a conditional request.

        `reserve` is awaited with the size that the body is about to have in memory, before it is read.

        Returns:
            The page, `NoBody.NOT_MODIFIED` for a 304, or `NoBody.ABSENT` for a 404 or 410.

        Raises:
            UpstreamError: the index could not be reached, or sent any other response.
        """
        headers = {"Accept": _PAGE_ACCEPT, **validators.to_headers()}
        return await self._fetch_with_retries(
            index, f"{index.url}{name}/", headers=headers, max_bytes=index.limits.page, reserve=reserve
        )

    async def fetch_document(
        self,
        index: IndexSettings,
        url: str,
        *,
        accept: str,
        max_bytes: int,
        max_seconds: float,
        max_wait_seconds: float = MAX_RETRY_WAIT_SECONDS,
    ) -> FetchedDocument | NoBody:
        """Fetch a small document, such as a provenance document or METADATA.

        Args:
            index: the index to which the document belongs; its hosts, limits and credentials apply.
            url: URL of the document.
            accept: value of the Accept header.
            max_bytes: maximum bytes, after decompression.
            max_seconds: maximum seconds for one request. A shorter `limits.timeouts.total` of the index applies
                instead.
            max_wait_seconds: maximum seconds to wait, over all attempts, if the index sends ``Retry-After``.

        Returns:
            The document, or `NoBody.ABSENT` for a 404 or 410.

        Raises:
            UpstreamError: the index could not be reached, or sent any other response.
        """
        return await self._fetch_with_retries(
            index,
            url,
            headers={"Accept": accept},
            max_bytes=max_bytes,
            max_seconds=max_seconds,
            max_wait_seconds=max_wait_seconds,
            purpose="document",
        )

    async def _fetch_with_retries(
        self,
        index: IndexSettings,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        max_seconds: float = math.inf,
        max_wait_seconds: float = MAX_RETRY_WAIT_SECONDS,
        purpose: Purpose = "page",
        reserve: ReserveBytes | None = None,
    ) -> FetchedDocument | NoBody:
        target = check_index_url(index, url)
        total_seconds = min(index.limits.timeouts.total.total_seconds(), max_seconds)
        return await self._backoff.run_with_retries(
            format_host(target),
            lambda: self._fetch_once(
                index,
                url,
                target,
                headers=headers,
                max_bytes=max_bytes,
                total_seconds=total_seconds,
                purpose=purpose,
                reserve=reserve,
            ),
            max_wait_seconds,
            purpose=purpose,
        )

    @asynccontextmanager
    async def open_file(self, index: IndexSettings, url: str, *, start: int = 0) -> AsyncIterator[FileBody]:
        """Open the bytes of a file from offset `start`. The bytes are not decoded.

        If the index ignores the ``Range`` header, the bytes begin at offset 0; `FileBody.start` gives the real offset.

        Raises:
            UpstreamGoneError: the index answered 404 or 410.
            UpstreamError: the index could not be reached, or sent any response other than the file.
        """
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        target = check_index_url(index, url)
        async with (
            self.slots.use(target, "file"),
            await self._follow_redirects(index, url, target, headers) as response,
        ):
            if response.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                raise UpstreamGoneError(f"{redact_url(url)}: the index lists this file but answered {response.status}")
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
    async def open_stream(
        self, index: IndexSettings, url: str, validators: Validators, *, accept: str, max_bytes: int
    ) -> AsyncIterator[BodyStream[bytes] | NoBody]:
        """Open a large document as a decoded stream.

        Yields:
            The document, `NoBody.NOT_MODIFIED` for a 304, or `NoBody.ABSENT` for a 404 or 410.

        Raises:
            UpstreamError: the index could not be reached, or sent any other response or more than `max_bytes` bytes.
        """
        headers = {"Accept": accept, **validators.to_headers()}
        target = check_index_url(index, url)
        async with (
            self.slots.use(target, "page"),
            await self._follow_redirects(index, url, target, headers, decode=True) as response,
        ):
            match response.status:
                case HTTPStatus.OK:
                    if "html" in response.content_type and not is_delimited(response, url):
                        # The syntax of JSON marks the end, as does that of an archive.
                        raise InvalidResponseError(f"{redact_url(url)}: {UNDELIMITED}")
                    yield BodyStream(
                        start=0,
                        length=None,
                        chunks=iter_decoded_chunks(response, url, max_bytes),
                        content_type=response.headers.get("Content-Type", ""),
                        url=str(response.url),
                        validators=read_validators(response),
                    )
                case HTTPStatus.NOT_MODIFIED if validators.to_headers():
                    yield NoBody.NOT_MODIFIED
                case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
                    yield NoBody.ABSENT
                case status:
                    raise InvalidResponseError(f"{redact_url(url)} answered {status}, expected 200")

    async def _fetch_once(
        self,
        index: IndexSettings,
        url: str,
        target: URL,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        total_seconds: float,
        purpose: Purpose,
        reserve: ReserveBytes | None,
    ) -> FetchedDocument | NoBody:
        try:
            async with (
                asyncio.timeout(total_seconds),
                self.slots.use(target, purpose),
                await self._follow_redirects(index, url, target, headers, decode=True) as response,
            ):
                match response.status:
                    case HTTPStatus.OK:
                        return FetchedDocument(
                            body=await read_response_body(response, url, max_bytes, reserve),
                            content_type=response.headers.get("Content-Type", ""),
                            url=str(response.url),
                            validators=read_validators(response),
                            serial=parse_last_serial(response.headers.get("X-PyPI-Last-Serial")),
                            is_delimited=is_delimited(response, url),
                        )
                    case HTTPStatus.NOT_MODIFIED if "If-None-Match" in headers or "If-Modified-Since" in headers:
                        return NoBody.NOT_MODIFIED
                    case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
                        return NoBody.ABSENT
                    case status:
                        raise InvalidResponseError(f"{redact_url(url)} answered {status}, expected 200")
        except TimeoutError as error:
            raise UpstreamTimeoutError(
                f"{redact_url(url)}: no complete response within {total_seconds:.0f} s"
            ) from error

    async def _follow_redirects(
        self, index: IndexSettings, url: str, target: URL, headers: Mapping[str, str], *, decode: bool = False
    ) -> aiohttp.ClientResponse:
        """Send a request and follow redirects; return the final response, which the caller must close.

        Args:
            index: the index to which the URL belongs.
            url: the requested URL, for error messages.
            target: the same URL, parsed by `check_index_url`.
            headers: request headers. Credentials are added separately for each target.
            decode: True to request a content coding, which the caller decodes.

        Raises:
            UpstreamError: the request failed, the final status is not 200, 206, 304, 404 or 410, or a redirect is not
                permitted.
        """
        for _ in range(MAX_REDIRECTS + 1):
            response = await self.send_request(index, url, target, headers, decode=decode)
            try:
                if response.status not in REDIRECT_STATUSES:
                    raise_for_status(response, url)
                    return response
                target = resolve_redirect(index, target, response)
            except BaseException:
                await release_response(response)
                raise
            await release_response(response)
            telemetry.event("redirect-followed", index=index.name, to=redact_url(str(target)))
        raise InvalidResponseError(f"{redact_url(url)} redirects more than {MAX_REDIRECTS} times")

    async def send_request(
        self,
        index: IndexSettings,
        url: str,
        target: URL,
        headers: Mapping[str, str],
        *,
        decode: bool,
        body: bytes | None = None,
    ) -> aiohttp.ClientResponse:
        """Send one request, a POST if it has a body; return the response, whatever its status is.

        Raises:
            UpstreamError: the request failed before the head of a response arrived.
        """
        if self._session is None:
            raise RuntimeError("UpstreamClient.start was not awaited")
        timeouts = index.limits.timeouts
        method = "GET" if body is None else "POST"
        exchange = RequestMetrics(method, target)
        try:
            response = await self._session.request(
                method,
                target,
                data=body,
                headers={
                    **({"Accept-Encoding": ACCEPT_ENCODING} if decode else {}),
                    **headers,
                    **self._authorizations.headers_for(index, target),
                },
                allow_redirects=False,
                auto_decompress=False,
                proxy=index.proxy or self._proxy_for(target),
                ssl=self._tls_contexts.get(index.name, True),
                timeout=create_timeout(timeouts.connect.total_seconds(), timeouts.read.total_seconds()),
            )
        except BaseException as error:
            exchange.record_failure(error)
            if isinstance(error, aiohttp.ClientError | TimeoutError | OSError | ValueError):
                raise as_upstream_error(error, url) from error
            raise
        exchange.record_response(response.status)
        return response

    def _proxy_for(self, target: URL) -> str | None:
        # It matches all forms of NO_PROXY. Python's documentation and typeshed lack it, although its name is public.
        if not self._proxies:
            return None
        bypassed: Callable[[str, Mapping[str, str]], bool] = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
        if target.host is None or bypassed(f"{target.host}:{target.port}", self._proxies):
            return None
        return self._proxies.get(target.scheme) or self._proxies.get("all")


class _IndexClient:
    """Client of one index. It passes each call to an `UpstreamClient`. Implements `assay.ports.Index`."""

    def __init__(self, upstream: UpstreamClient, settings: IndexSettings) -> None:
        self._upstream = upstream
        self._settings = settings

    async def fetch_page(
        self, name: NormalizedName, validators: Validators, *, reserve: ReserveBytes | None = None
    ) -> FetchedDocument | NoBody:
        return await self._upstream.fetch_page(self._settings, name, validators, reserve=reserve)

    def open_file(self, url: str, *, start: int = 0) -> AbstractAsyncContextManager[FileBody]:
        return self._upstream.open_file(self._settings, url, start=start)

    async def fetch_provenance(self, url: str, *, max_wait_seconds: float) -> FetchedDocument | NoBody:
        return await self._upstream.fetch_document(
            self._settings,
            url,
            accept=_PROVENANCE_ACCEPT,
            max_bytes=self._settings.limits.provenance,
            max_seconds=_PROVENANCE_MAX_SECONDS,
            max_wait_seconds=max_wait_seconds,
        )

    async def fetch_metadata(self, url: str, *, max_bytes: int) -> FetchedDocument | NoBody:
        return await self._upstream.fetch_document(
            self._settings, url, accept="*/*", max_bytes=max_bytes, max_seconds=_METADATA_MAX_SECONDS
        )

    def open_root_list(self, validators: Validators) -> AbstractAsyncContextManager[BodyStream[bytes] | NoBody]:
        own = self._settings
        return self._upstream.open_stream(own, own.url, validators, accept=_PAGE_ACCEPT, max_bytes=own.limits.page)
