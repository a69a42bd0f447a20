"""Reading an index's response: its status, length, chunks and headers, none of them trusted. Knows no index."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp

from assay.errors import InvalidResponseError, UpstreamAccessDeniedError, UpstreamError, UpstreamUnavailableError
from assay.upstream.addresses import redact_url

_USABLE_STATUSES = frozenset({
    HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED, HTTPStatus.NOT_FOUND, HTTPStatus.GONE,
})  # fmt: skip
_RETRYABLE_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def raise_for_status(response: aiohttp.ClientResponse, url: str) -> None:
    """Let through what a caller can go on with: 200, 206, 304, 404, 410.

    Raises:
        UpstreamUnavailableError: 408, 429 and 5xx, with what Retry-After asks.
        UpstreamAccessDeniedError: 401, 403 and 451.
        InvalidResponseError: any other status.
    """
    status = response.status
    if status in _USABLE_STATUSES:
        return
    if status in _RETRYABLE_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise UpstreamUnavailableError(
            f"{redact_url(url)} answered {status}", retry_after=_parse_retry_after(response.headers.get("Retry-After"))
        )
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS}:
        raise UpstreamAccessDeniedError(
            f"{redact_url(url)} answered {status}: the index does not give it to this proxy"
        )
    raise InvalidResponseError(f"{redact_url(url)} answered {status}")


def check_content_encoding(response: aiohttp.ClientResponse, url: str, supported_codings: frozenset[str]) -> None:
    """Let through what was decoded, or is not coded at all.

    Raises:
        InvalidResponseError: any other Content-Encoding, several of them included: the body is still encoded, and
            would be read as a page that lists nothing.
    """
    if "Content-Encoding" not in response.headers:
        return
    coding = ", ".join(response.headers.getall("Content-Encoding")).strip().lower()
    if coding not in supported_codings | {"", "identity"}:
        raise InvalidResponseError(f"{redact_url(url)} answers in a content coding that was not asked for")


def parse_content_range(response: aiohttp.ClientResponse, start: int) -> tuple[int, int | None]:
    """Where the body begins and how long the whole file is (RFC 9110, 14.4)."""
    declared = response.content_length
    if response.status == HTTPStatus.OK:
        return 0, declared
    content_range = response.headers.get("Content-Range", "")
    unit, _, rest = content_range.partition(" ")
    span, _, whole = rest.partition("/")
    first, _, last = span.partition("-")
    if not (
        response.status == HTTPStatus.PARTIAL_CONTENT
        and start
        and unit == "bytes"
        and all(part.isascii() and part.isdigit() for part in (first, last, whole))
        and int(first) == start
        and int(last) == int(whole) - 1
    ):
        raise InvalidResponseError(f"answered {response.status} with Content-Range {content_range!r} to bytes={start}-")
    return start, int(whole)


async def read_response_body(response: aiohttp.ClientResponse, url: str, max_bytes: int) -> bytes:
    """The body, decoded.

    Raises:
        InvalidResponseError: more than `max_bytes` bytes, counted after decompression.
        UpstreamUnavailableError: it broke off.
    """
    length = response.content_length
    if length is not None and length <= max_bytes and "Content-Encoding" not in response.headers:
        # aiohttp reads no further than that.
        try:
            return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise as_upstream_error(error, url) from error
    body = bytearray()
    async for chunk in iter_chunks(response, url):
        body += chunk
        if len(body) > max_bytes:
            raise InvalidResponseError(f"{redact_url(url)} is larger than {max_bytes} bytes")
    return bytes(body)


async def iter_chunks(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    """The body's chunks, with aiohttp's exceptions as ours: also those that come in the middle."""
    try:
        # As they came: `iter_any` would join what has gathered, one more copy of every byte.
        async for chunk, _ in response.content.iter_chunks():
            if chunk:
                yield chunk
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise as_upstream_error(error, url) from error


def as_upstream_error(error: Exception, url: str) -> UpstreamError:
    """What aiohttp raised, as what it means to us."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return UpstreamUnavailableError(f"{redact_url(url)}: the HTTP proxy on the way answered {error.status}")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", None) or type(error.certificate_error).__name__
        return InvalidResponseError(
            f"{redact_url(url)}: its certificate is not believed ({why}); see the index's ca-file"
        )
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | ValueError):
        return InvalidResponseError(f"{redact_url(url)}: not understood: {type(error).__name__}")
    if isinstance(error, TimeoutError):
        return UpstreamUnavailableError(f"{redact_url(url)}: timed out")
    return UpstreamUnavailableError(f"{redact_url(url)}: {type(error).__name__}: {error}")


def parse_last_serial(text: str | None) -> int | None:
    """``X-PyPI-Last-Serial`` as a number; None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None  # noqa: PLR2004 - 64 bits


def _parse_retry_after(retry_after: str | None) -> float | None:
    """RFC 9110, 10.2.3: delay-seconds; a date is read as "too long to wait for"."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) <= 9:  # noqa: PLR2004 - thirty years
        return float(retry_after)
    try:
        parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return math.inf
