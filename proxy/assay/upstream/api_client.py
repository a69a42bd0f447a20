"""Client for an HTTP API that is not an index, over the connection pool of the indexes. Implements `ports.ApiClient`.

The same limits apply as for an index: the permitted hosts and addresses, TLS, the HTTP proxy, the timeouts, and the
hosts that get credentials. Unlike for an index, no request is repeated, and the caller reads status and header fields,
because APIs state their rate limits there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

import aiohttp

from assay.errors import InvalidResponseError, UpstreamTimeoutError
from assay.indexes import IndexSettings
from assay.ports import ApiResponse
from assay.upstream.addresses import MAX_REDIRECTS, REDIRECT_STATUSES, check_index_url, redact_url, resolve_redirect
from assay.upstream.client import UpstreamClient
from assay.upstream.responses import read_response_body


class UpstreamApiClient:
    """Client of one API.

    Args:
        upstream: connection pool.
        settings: settings of the connection: `url` is that of the API, `file_hosts` are further permitted hosts.
    """

    def __init__(self, upstream: UpstreamClient, settings: IndexSettings) -> None:
        self._upstream = upstream
        self._settings = settings

    async def request(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_bytes: int,
        max_seconds: float,
    ) -> ApiResponse:
        """Send one request and return the response (`assay.ports.ApiClient`).

        Raises:
            UpstreamError: the request failed, or its response is unusable.
        """
        target = check_index_url(self._settings, url)
        try:
            async with asyncio.timeout(max_seconds), self._upstream.slots.use(target, "document"):
                for _ in range(MAX_REDIRECTS + 1):
                    async with await self._upstream.send_request(
                        self._settings, url, target, headers, decode=True, body=body
                    ) as response:
                        if response.status not in REDIRECT_STATUSES:
                            return await _read(response, url, max_bytes)
                        if body is not None:
                            raise InvalidResponseError(f"{redact_url(url)} redirects a POST request")
                        target = resolve_redirect(self._settings, target, response)
        except TimeoutError as error:
            raise UpstreamTimeoutError(f"{redact_url(url)}: no complete response within {max_seconds:.0f} s") from error
        raise InvalidResponseError(f"{redact_url(url)} redirects more than {MAX_REDIRECTS} times")


async def _read(response: aiohttp.ClientResponse, url: str, max_bytes: int) -> ApiResponse:
    """Return the response. The body of an error response is not read, because nothing in it is used."""
    is_ok = response.status == HTTPStatus.OK
    fields: dict[str, str] = {}
    for name, value in response.headers.items():
        fields.setdefault(name.lower(), value)
    return ApiResponse(
        status=response.status,
        headers=fields,
        body=await read_response_body(response, url, max_bytes) if is_ok else b"",
    )
