"""File bytes to a client: sendfile from a finished blob, or from a download's growing file, never chunked.

Owns the one rule of aborting: once the header of a file is out, a response either completes with the bytes decided on
or its connection is cut. Returning short of Content-Length would leave the connection open, and the next response's
bytes would complete the body. And the other: nobody may hold a connection, a file and a page's buffer by not reading.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import BinaryIO, NoReturn, Protocol, runtime_checkable

from aiohttp import web

from assay import telemetry
from assay.errors import AssayError
from assay.files.cache import Cached, InProgress
from assay.simple.model import Sha256
from assay.simple.negotiate import etag_matches
from assay.web.ranges import ByteRange, UnsafeResume, UnsatisfiableRange, WholeFile, select_range
from assay.web.response import BufferedResponse
from assay.web.socket_io import send_nonblocking

_FIRST_SENDFILE_BYTES = 256 * 2**10
_MAX_SENDFILE_BYTES = 2**20
"""Bytes for one sendfile: the first to a client whom we don't know, and the most to one who takes them at once."""
_FAST_CLIENT_SECONDS = 1.0
"""Seconds."""
_BODY_CHUNK_BYTES = 64 * 2**10
"""Of a page at a time: what a client who does not read keeps in memory, beside the page itself that all share."""
STALL_TIMEOUT_SECONDS = 120.0
"""Seconds that a client has for a first span or a piece, and for a longer span in proportion: the one that took the
span before at once may be a kernel's buffer, and the client behind it slow. At 2 kB/s it still gets everything."""
_OK, _NOT_MODIFIED = HTTPStatus.OK, HTTPStatus.NOT_MODIFIED
"""Looked up once, as in `web.exchange`."""
FILE_CACHE_CONTROL = "private, immutable, max-age=31536000"
_FILE_HEADERS = {
    # No Content-Encoding and one type for all: a client must never decode what it is to hash.
    "Content-Type": "application/octet-stream",
    "Cache-Control": FILE_CACHE_CONTROL,
    "X-Content-Type-Options": "nosniff",
}


@runtime_checkable
class TimedConnection(Protocol):
    """A connection with a timeout of its own for a client that does not read."""

    stall_timeout_seconds: float


class AbortedError(ConnectionError):
    """The connection was cut on purpose; aiohttp treats a ConnectionError as a client that left."""


async def send_cached(request: web.BaseRequest, content: Cached) -> web.StreamResponse:
    """A finished file: strong ETag, ranges, 304."""
    blob = content.blob
    return await _send_verified(request, blob.file, blob.sha256, blob.size)


async def send_in_progress(request: web.BaseRequest, content: InProgress) -> web.StreamResponse:
    """A file on its way in. Without ETag and ranges while it is unverified, so that it can be spliced with nothing.

    A request for a part waits for the whole: a part of unverified bytes could not be withheld later.

    Raises:
        AssayError: nothing was sent yet, so the answer can still say why.
    """
    download = content.download
    if request.method == "HEAD" and download.expected.size is not None and not download.is_verified:
        return await _respond_to_head(request, download.expected.size)
    if "Range" in request.headers:
        await download.wait_until_verified()
    else:
        await download.wait_until_sendable()
    file = await download.open_reader()
    try:
        if download.is_verified and download.length is not None:
            await content.still_approved()
            return await _send_verified(request, file, download.expected.sha256, download.length)
        return await _send_unverified(request, content, file)
    finally:
        file.close()


async def _respond_to_head(request: web.BaseRequest, size: int) -> web.StreamResponse:
    response = _build_file_response(HTTPStatus.OK, size)
    await response.prepare(request)
    return response


async def _send_unverified(request: web.BaseRequest, content: InProgress, file: BinaryIO) -> web.StreamResponse:
    length = content.download.length
    if length is None:
        raise RuntimeError("bytes were released before the length of the file was known")
    response = _build_file_response(HTTPStatus.OK, length)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    moves, moved = content.download.move_count, None
    try:
        async for span in content.download.follow(content.still_approved):
            if content.download.move_count != moves:
                # The disk took no more: the bytes go on in another file, which has those before too.
                moves = content.download.move_count
                if moved is not None:
                    moved.close()
                moved = await content.download.open_reader()
            await _send_file_range(request, moved or file, span.offset, span.count)
    except AssayError as error:
        _abort_response(request, str(error))
    finally:
        if moved is not None:
            moved.close()
    await response.write_eof()
    return response


async def _send_verified(request: web.BaseRequest, file: BinaryIO, sha256: Sha256, size: int) -> web.StreamResponse:
    chosen = _plan_response(request.headers, f'"{sha256}"', size, request.method)
    if not isinstance(chosen, ResponsePlan):
        return chosen
    response = _build_file_response(chosen.status, chosen.count, chosen.headers)
    await response.prepare(request)
    if request.method != "HEAD":
        await _send_file_range(request, file, chosen.start, chosen.count)
        await response.write_eof()
    return response


def respond_from_memory(
    headers: Mapping[str, str], sha256: Sha256, body: bytes, *, method: str = "GET"
) -> web.StreamResponse:
    """A finished file that is in memory: as `send_cached`, in one write."""
    chosen = _plan_response(headers, f'"{sha256}"', len(body), method)
    if not isinstance(chosen, ResponsePlan):
        return chosen
    whole = chosen.count == len(body)
    piece = body if whole else body[chosen.start : chosen.start + chosen.count]
    return BufferedResponse(status=chosen.status, headers={**_FILE_HEADERS, **chosen.headers}, body=piece)


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """What of a verified file is to be sent, and under which headers."""

    start: int
    count: int
    status: HTTPStatus
    headers: Mapping[str, str]


def _plan_response(
    request_headers: Mapping[str, str], etag: str, size: int, method: str
) -> ResponsePlan | web.StreamResponse:
    """The piece of a verified file that a request's headers ask for, or the answer without one."""
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    if etag_matches(request_headers.get("If-None-Match"), etag):
        return BufferedResponse(status=_NOT_MODIFIED, headers={**headers, "Cache-Control": FILE_CACHE_CONTROL})
    part = request_headers.get("Range")
    if part is None or method == "HEAD":
        # RFC 9110, 14.2: Range is defined for GET alone.
        return ResponsePlan(0, size, _OK, headers)
    agent = request_headers.get("User-Agent", "")
    match select_range(part, request_headers.get("If-Range"), etag=etag, size=size, user_agent=agent):
        case WholeFile():
            return ResponsePlan(0, size, _OK, headers)
        case ByteRange(start=start, count=count):
            headers["Content-Range"] = f"bytes {start}-{start + count - 1}/{size}"
            return ResponsePlan(start, count, HTTPStatus.PARTIAL_CONTENT, headers)
        case UnsatisfiableRange():
            return web.Response(
                status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                headers={"Content-Range": f"bytes */{size}", "Cache-Control": "no-store"},
            )
        case UnsafeResume():
            return web.Response(
                status=HTTPStatus.PRECONDITION_FAILED,
                reason="remove the part you have and download again: it was never verified",
                headers={"Cache-Control": "no-store"},
            )


async def _send_file_range(request: web.BaseRequest, file: BinaryIO, offset: int, count: int) -> None:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client left")
    loop, end, span = asyncio.get_running_loop(), offset + count, _FIRST_SENDFILE_BYTES
    while offset < end:
        wanted = min(_MAX_SENDFILE_BYTES, end - offset)
        sent = send_nonblocking(transport, partial(os.sendfile, in_fd=file.fileno(), offset=offset, count=wanted))
        offset += sent
        if sent == wanted:
            await asyncio.sleep(0)  # the others' turn
            continue
        begun = loop.time()
        try:
            async with asyncio.timeout(_get_stall_timeout(request) * span / _FIRST_SENDFILE_BYTES):
                sent = await loop.sendfile(transport, file, offset, min(span, end - offset))
        except TimeoutError:
            _abort_stalled(request)
        if not sent:
            _abort_response(request, f"the file ended {end - offset} bytes early")
        offset += sent
        # Each span costs a time limit of its own and a turn of the loop: short ones are for clients who are slow.
        span = (
            min(2 * span, _MAX_SENDFILE_BYTES) if loop.time() - begun < _FAST_CLIENT_SECONDS else _FIRST_SENDFILE_BYTES
        )


async def send_paced(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Send what aiohttp would send without a time limit; a large body in pieces, each after the one before is taken.

    Handed over whole, it would be buffered whole for each client who is slow to read it.
    """
    if response.prepared:
        return response
    if isinstance(response, BufferedResponse):
        if (
            not response.has_unsent_bytes
            and response.is_within_write_limit
            and request.transport is not None
            and not request.transport.get_write_buffer_size()
        ):
            return response  # it goes out in one write, and aiohttp will not wait for whoever does not read
        await response.prepare(request)
        try:
            while response.has_unsent_bytes:
                await _await_in_time(request, response.send_next_chunk())
            if request.protocol.writing_paused:
                await _await_in_time(request, response.write_eof())
        except TimeoutError:
            _abort_stalled(request)
        return response
    body = response.body if isinstance(response, web.Response) else None
    pieces, view = response, memoryview(b"")
    if request.method != "HEAD" and isinstance(body, bytes) and len(body) > _BODY_CHUNK_BYTES:
        pieces, view = _build_divided_response(response, len(body)), memoryview(body)
    try:
        await _await_in_time(request, pieces.prepare(request))
        for place in range(0, len(view), _BODY_CHUNK_BYTES):
            await _await_in_time(request, pieces.write(view[place : place + _BODY_CHUNK_BYTES]))
        await _await_in_time(request, pieces.write_eof())
    except TimeoutError:
        _abort_stalled(request)
    return pieces


def _build_divided_response(template: web.StreamResponse, length: int) -> web.StreamResponse:
    """Return a response with the head of `template`, whose body is written piece by piece."""
    response = web.StreamResponse(status=template.status, reason=template.reason, headers=template.headers)
    response.content_length = length
    if template.keep_alive is False:
        response.force_close()
    return response


async def _await_in_time(request: web.BaseRequest, step: Awaitable[object]) -> None:
    async with asyncio.timeout(_get_stall_timeout(request)):
        await step


def _get_stall_timeout(request: web.BaseRequest) -> float:
    """Return the seconds that the client has to take a piece of a response."""
    connection = request.protocol
    return connection.stall_timeout_seconds if isinstance(connection, TimedConnection) else STALL_TIMEOUT_SECONDS


def _abort_stalled(request: web.BaseRequest) -> NoReturn:
    seconds = _get_stall_timeout(request)
    _abort_response(request, f"the client takes less than {_FIRST_SENDFILE_BYTES // 1024} KiB in {seconds:.0f} seconds")


def _abort_response(request: web.BaseRequest, reason: str) -> NoReturn:
    telemetry.warning("response-aborted", path=request.path, error=reason)
    if request.transport is not None:
        request.transport.abort()
    raise AbortedError(reason)


def _build_file_response(
    status: HTTPStatus, length: int, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    own = {"X-Request-Id": telemetry.current_request_id.get() or ""}
    response = web.StreamResponse(status=status, headers={**_FILE_HEADERS, **own, **(headers or {})})
    response.content_length = length
    return response


async def send_spooled(
    request: web.BaseRequest, file: BinaryIO, size: int, headers: dict[str, str]
) -> web.StreamResponse:
    """A file of our own making, whole."""
    response = web.StreamResponse(headers={**headers, "X-Request-Id": telemetry.current_request_id.get() or ""})
    response.content_length = size
    await response.prepare(request)
    if request.method != "HEAD":
        await _send_file_range(request, file, 0, size)
        await response.write_eof()
    return response
