"""Validation of an index's responses: status, length, body and headers. All of them are untrusted."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp

from assay.errors import InvalidResponseError, UpstreamAccessDeniedError, UpstreamUnavailableError
from assay.ports import ReserveBytes, Validators
from assay.upstream.addresses import redact_url
from assay.upstream.content_coding import ContentDecoder, find_coding
from assay.upstream.transport_errors import as_upstream_error

_USABLE_STATUSES = frozenset({
    HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED, HTTPStatus.NOT_FOUND, HTTPStatus.GONE,
})  # fmt: skip
_FIRST_RESERVED_BYTES = 256 * 1024
"""Bytes of a body of unknown length that are read before the first reservation."""
_RETRYABLE_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def raise_for_status(response: aiohttp.ClientResponse, url: str) -> None:
    """Raise an error unless the status is 200, 206, 304, 404 or 410. The callers handle these five.

    Raises:
        UpstreamUnavailableError: 408, 429 or 5xx. The error carries the seconds of ``Retry-After``.
        UpstreamAccessDeniedError: 401, 403 or 451.
        InvalidResponseError: any other status.
    """
    status = response.status
    if status in _USABLE_STATUSES:
        return
    if status in _RETRYABLE_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise UpstreamUnavailableError(
            f"{redact_url(url)} answered {status}",
            retry_after=_parse_retry_after(response.headers.get("Retry-After")),
            status=status,
        )
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS}:
        raise UpstreamAccessDeniedError(
            f"{redact_url(url)} answered {status}: the index denies this proxy access", status=status
        )
    raise InvalidResponseError(f"{redact_url(url)} answered {status}")


def is_delimited(response: aiohttp.ClientResponse, url: str) -> bool:
    """Return whether the end of the body is marked: by Content-Length, a last chunk, or the end of compressed data.

    Otherwise the end of the connection is the end of the body, and a truncated body looks complete (RFC 9112, 8).

    Raises:
        InvalidResponseError: the body has a content coding that was not requested.
    """
    if response.content_length is not None:
        return True
    codings = response.headers.get("Transfer-Encoding", "").lower().split(",")
    return codings[-1].strip() == "chunked" or find_coding(response, url) is not None


def parse_content_range(response: aiohttp.ClientResponse, start: int) -> tuple[int, int | None]:
    """Return the offset at which the body begins in the file, and the size of the whole file (RFC 9110, section 14.4).

    The size is in bytes; it is None if a 200 has no Content-Length.

    Args:
        response: the response to a request for the file from offset `start`.
        start: the requested offset; 0 if the request had no Range.

    Raises:
        InvalidResponseError: the response is neither a 200 nor a 206 with a Content-Range from `start` to the end of
            the file.
    """
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
        raise InvalidResponseError(
            f"the index answered {response.status} with Content-Range {content_range!r} to a request for bytes={start}-"
        )
    return start, int(whole)


async def read_response_body(
    response: aiohttp.ClientResponse, url: str, max_bytes: int, reserve: ReserveBytes | None = None
) -> bytes:
    """Return the decoded body.

    Args:
        response: the response.
        url: its URL, for messages.
        max_bytes: limit on the body in bytes, after decompression.
        reserve: awaited with the size that the body is about to have in memory, before it is read.

    Raises:
        InvalidResponseError: the body has more than `max_bytes` bytes, compressed or decoded; or its content coding was
            not requested; or the compressed data is invalid.
        UpstreamUnavailableError: the connection was lost.
        UpstreamTimeoutError: the read timeout passed.
    """
    length = response.content_length
    if length is not None and length <= max_bytes and "Content-Encoding" not in response.headers:
        # aiohttp reads at most Content-Length bytes, so the limit needs no further check.
        if reserve is not None:
            await reserve(length)
        try:
            return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise as_upstream_error(error, url) from error
    pieces, size, reserved = list[bytes](), 0, _FIRST_RESERVED_BYTES
    async for chunk in iter_decoded_chunks(response, url, max_bytes):
        size += len(chunk)
        if reserve is not None and size > reserved:
            reserved = min(2 * size, max_bytes)
            await reserve(reserved)
        pieces.append(chunk)
    return b"".join(pieces)


async def iter_decoded_chunks(response: aiohttp.ClientResponse, url: str, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the chunks of a body without its content coding.

    Raises:
        InvalidResponseError: the body has more than `max_bytes` bytes, compressed or decoded; or its content coding was
            not requested; or the compressed data is invalid.
        UpstreamError: the transfer failed; `as_upstream_error` chooses the subclass.
    """
    coding = find_coding(response, url)
    decoder = None if coding is None else ContentDecoder(coding, url)
    received = yielded = 0
    async for chunk in iter_chunks(response, url):
        # A body that expands to nothing must be limited too.
        _check_size(received := received + len(chunk), url, max_bytes)
        for piece in (chunk,) if decoder is None else decoder.decode(chunk):
            _check_size(yielded := yielded + len(piece), url, max_bytes)
            yield piece
    for piece in () if decoder is None else decoder.finish():
        _check_size(yielded := yielded + len(piece), url, max_bytes)
        yield piece


def _check_size(size: int, url: str, max_bytes: int) -> None:
    if size > max_bytes:
        raise InvalidResponseError(f"{redact_url(url)} is larger than {max_bytes} bytes")


async def iter_chunks(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    """Yield the chunks of a body as received; convert exceptions of aiohttp, also in the middle of the body.

    Raises:
        UpstreamError: the transfer failed, at its start or later; `as_upstream_error` chooses the subclass.
    """
    try:
        # Not `iter_any`: it would join the buffered pieces, which copies every byte once more.
        async for chunk, _ in response.content.iter_chunks():
            if chunk:
                yield chunk
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise as_upstream_error(error, url) from error


def parse_last_serial(text: str | None) -> int | None:
    """Return the number in the header ``X-PyPI-Last-Serial``, or None if the header has no valid number.

    A valid number has at most 18 digits, so it fits in 64 bits. A missing header gives None too.
    """
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None  # noqa: PLR2004 - fits in 64 bits


def _parse_retry_after(retry_after: str | None) -> float | None:
    """Return the seconds in a ``Retry-After`` header (RFC 9110, section 10.2.3).

    Return None if the header is missing or malformed. Return infinity if it contains a date: Assay never waits for one.
    """
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) <= 9:  # noqa: PLR2004 - 31 years
        return float(retry_after)
    try:
        parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return math.inf


def read_validators(response: aiohttp.ClientResponse) -> Validators:
    """Return the validators of a response, for a later conditional request."""
    return Validators(etag=response.headers.get("ETag"), last_modified=response.headers.get("Last-Modified"))


async def release_response(response: aiohttp.ClientResponse) -> None:
    """Release the connection of a response whose body is not read."""
    async with response:
        pass
