"""Transmission of files to clients by sendfile, from a complete file or from the growing file of a download.

This module enforces two rules.

- After the head of a response is sent, either the whole body follows, or the connection is aborted. If the body were
  too short and the connection stayed open, the client would take the next response for the rest of the file. Files
  never use chunked framing, so that Content-Length always exists.
- A client that does not read is disconnected after a timeout. Such a client occupies a connection, an open file and
  buffers.
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
from assay.files.cache import Cached, FileContent, InProgress
from assay.simple.model import Sha256
from assay.simple.negotiate import etag_matches
from assay.web.ranges import ByteRange, UnsafeResume, UnsatisfiableRange, WholeFile, select_range
from assay.web.response import BufferedResponse
from assay.web.socket_io import send_nonblocking
from assay.web.tls_transport import TlsTransport

_FIRST_SENDFILE_BYTES = 256 * 2**10
_MAX_SENDFILE_BYTES = 2**20
"""Maximum bytes of one sendfile call, or of one read of a file that is sent over TLS. A call that waits for the client
sends `_FIRST_SENDFILE_BYTES` at first. As long as the client is fast, the size doubles with each call, up to this
maximum. For a slow client, the size is `_FIRST_SENDFILE_BYTES` again."""
_ENCRYPTED_PIECE_BYTES = 64 * 2**10
"""Size of a piece of a file that is encrypted and sent at once. The copies of such a piece fit into the cache of the
CPU."""
_FAST_CLIENT_SECONDS = 1.0
"""A client is fast if it takes all bytes of a sendfile call in less than this time, in seconds."""
_BODY_CHUNK_BYTES = 64 * 2**10
"""Size of one write of a response body. aiohttp buffers at most one such chunk for each slow client. The body itself
exists once in memory, for all clients."""
STALL_TIMEOUT_SECONDS = 120.0
"""Seconds in which a client must take `_FIRST_SENDFILE_BYTES` or one body chunk. Otherwise the connection is aborted.
The slowest accepted client reads 2.2 kB/s. A larger sendfile call has a proportionally longer timeout. Even a client
whose last call was fast may be slow, because a kernel buffer may have taken the bytes of that call."""
_OK, _NOT_MODIFIED = HTTPStatus.OK, HTTPStatus.NOT_MODIFIED
"""Constants, because each reading of an enum member takes time."""
FILE_CACHE_CONTROL = "private, immutable, max-age=31536000"
_FILE_HEADERS = {
    # No Content-Encoding, and the same type for all files: a client must hash the bytes without decoding them.
    "Content-Type": "application/octet-stream",
    "Cache-Control": FILE_CACHE_CONTROL,
    "X-Content-Type-Options": "nosniff",
}


@runtime_checkable
class TimedConnection(Protocol):
    """Connection that has its own timeout for a client that does not read."""

    stall_timeout_seconds: float
    """Seconds in which the client must take a part of a response. Otherwise the connection is aborted."""


class AbortedError(ConnectionError):
    """Error that is raised after Assay has aborted a connection on purpose.

    It is a ConnectionError, so aiohttp treats it as if the client had disconnected.
    """


async def send_cached(request: web.BaseRequest, content: Cached) -> web.StreamResponse:
    """Send a verified file from the cache. The response has a strong ETag, and supports ranges and 304."""
    blob = content.blob
    return await _send_verified(request, blob.file, blob.sha256, blob.size)


async def send_in_progress(request: web.BaseRequest, content: InProgress) -> web.StreamResponse:
    """Send a file while it is being downloaded.

    Until the file is verified, its response has no ETag and supports no ranges. A client therefore cannot join parts of
    two responses. Two kinds of requests wait until the whole file is verified:

    - A range request waits, because bytes that were sent cannot be withheld later.
    - If the bytes are stored and only have to be hashed, a client that has the file already waits, and then gets 304.

    Raises:
        AssayError: the download failed before the response began, so the caller can still send an error response.
    """
    download = content.download
    if request.method == "HEAD" and download.expected.size is not None and not download.is_verified:
        return await _respond_to_head(request, download.expected.size)
    if "Range" in request.headers or (download.stored is not None and _has_file(request, download.expected.sha256)):
        await download.wait_until_verified()
    else:
        await download.wait_until_sendable()
    file = await download.open_reader()
    moves = download.move_count
    try:
        if download.is_verified and download.length is not None:
            await content.still_approved()
            return await _send_verified(request, file, download.expected.sha256, download.length)
        return await _send_unverified(request, content, file, moves)
    finally:
        file.close()


def _has_file(request: web.BaseRequest, sha256: Sha256) -> bool:
    return etag_matches(request.headers.get("If-None-Match"), f'"{sha256}"')


async def _respond_to_head(request: web.BaseRequest, size: int) -> web.StreamResponse:
    response = _build_file_response(HTTPStatus.OK, size)
    await response.prepare(request)
    return response


async def _send_unverified(
    request: web.BaseRequest, content: InProgress, file: BinaryIO, moves: int
) -> web.StreamResponse:
    length = content.download.length
    if length is None:
        raise RuntimeError("bytes were released before the length of the file was known")
    response = _build_file_response(HTTPStatus.OK, length)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    await _send_spans(request, content, file=file, moves=moves)
    await response.write_eof()
    return response


async def _send_spans(
    request: web.BaseRequest, content: InProgress, *, start: int = 0, file: BinaryIO | None = None, moves: int = 0
) -> None:
    """Send the bytes of a download from offset `start`, as it releases them. Abort the connection if it fails.

    Args:
        request: the request, whose response has a complete head.
        content: the download, and the function that asks whether its file is still approved.
        start: offset of the first byte.
        file: reader of the bytes; None: this function opens one.
        moves: value of `Download.move_count` to which `file` belongs.
    """
    download, moved = content.download, None
    try:
        async for span in download.follow(content.still_approved, start):
            reader = moved or file
            if reader is None or download.move_count != moves:
                # The download continues in another file, for example because the storage failed. That file has the
                # earlier bytes too.
                if moved is not None:
                    moved.close()
                reader = moved = await download.open_reader()
                moves = download.move_count
            await _send_file_range(request, reader, span.offset, span.count)
    except AssayError as error:
        _abort_response(request, str(error))
    finally:
        if moved is not None:
            moved.close()


async def send_remaining(request: web.BaseRequest, content: FileContent, start: int) -> web.StreamResponse:
    """Send the bytes of a file from offset `start` to another replica, also before the file is verified.

    The other replica hashes the whole file. As for every client, the last bytes of a download follow only after the
    digest is verified and the file is still approved.

    Raises:
        AssayError: the download failed before the response began, so the caller can still send an error response.
    """
    if isinstance(content, InProgress) and content.download.length is None:
        await content.download.wait_until_sendable()  # the length is known by then
    size = content.download.length if isinstance(content, InProgress) else content.blob.size
    if size is None:
        raise RuntimeError("bytes were released before the length of the file was known")
    if start >= max(size, 1):
        return web.Response(
            status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers={"Content-Range": f"bytes */{size}"}
        )
    status, headers = _OK, {"Content-Type": _FILE_HEADERS["Content-Type"], "Cache-Control": "no-store"}
    if start:
        status, headers["Content-Range"] = HTTPStatus.PARTIAL_CONTENT, f"bytes {start}-{size - 1}/{size}"
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = size - start
    await response.prepare(request)
    if isinstance(content, InProgress):
        await _send_spans(request, content, start=start)
    else:
        await _send_file_range(request, content.blob.file, start, size - start)
    await response.write_eof()
    return response


async def _send_verified(request: web.BaseRequest, file: BinaryIO, sha256: Sha256, size: int) -> web.StreamResponse:
    plan = _plan_response(request.headers, f'"{sha256}"', size, request.method)
    if not isinstance(plan, ResponsePlan):
        return plan
    response = _build_file_response(plan.status, plan.count, plan.headers)
    await response.prepare(request)
    if request.method != "HEAD":
        await _send_file_range(request, file, plan.start, plan.count)
        await response.write_eof()
    return response


def respond_from_memory(
    headers: Mapping[str, str], sha256: Sha256, body: bytes, *, method: str = "GET"
) -> web.StreamResponse:
    """Return the response for a verified file that is in memory. It has a strong ETag, and supports ranges and 304.

    Args:
        headers: header fields of the request.
        sha256: digest of the file, which becomes the ETag.
        body: content of the file.
        method: GET or HEAD.
    """
    plan = _plan_response(headers, f'"{sha256}"', len(body), method)
    if not isinstance(plan, ResponsePlan):
        return plan
    is_whole = plan.count == len(body)
    part = body if is_whole else body[plan.start : plan.start + plan.count]
    return BufferedResponse(status=plan.status, headers={**_FILE_HEADERS, **plan.headers}, body=part)


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """Plan of a response that contains `count` bytes of a verified file from offset `start`."""

    start: int
    count: int
    status: HTTPStatus
    headers: Mapping[str, str]


def _plan_response(
    request_headers: Mapping[str, str], etag: str, size: int, method: str
) -> ResponsePlan | web.StreamResponse:
    """Return a plan for the part of a verified file that the request headers select.

    If the response contains no bytes of the file (304, 412, 416), return the response itself.
    """
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
                reason="delete the partial file and download again: the partial file was never verified",
                headers={"Cache-Control": "no-store"},
            )


async def _send_file_range(request: web.BaseRequest, file: BinaryIO, offset: int, count: int) -> None:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client disconnected")
    if isinstance(transport, TlsTransport):
        await _send_encrypted(request, transport, file, offset, count)
        return
    loop, end, span = asyncio.get_running_loop(), offset + count, _FIRST_SENDFILE_BYTES
    while offset < end:
        wanted = min(_MAX_SENDFILE_BYTES, end - offset)
        sent = send_nonblocking(transport, partial(os.sendfile, in_fd=file.fileno(), offset=offset, count=wanted))
        offset += sent
        if sent == wanted:
            await asyncio.sleep(0)  # lets other tasks run
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
        # Each call costs a timeout and an iteration of the event loop, so short calls are used only for slow clients.
        span = (
            min(2 * span, _MAX_SENDFILE_BYTES) if loop.time() - begun < _FAST_CLIENT_SECONDS else _FIRST_SENDFILE_BYTES
        )


async def _send_encrypted(
    request: web.BaseRequest, transport: TlsTransport, file: BinaryIO, offset: int, count: int
) -> None:
    """Send a part of a file over TLS.

    `loop.sendfile` would read pieces of 16 KiB, each in a thread, which takes seven times the CPU time.
    """
    loop, end, span = asyncio.get_running_loop(), offset + count, _FIRST_SENDFILE_BYTES
    buffer = memoryview(bytearray(min(span, count)))
    while offset < end:
        begun, part = loop.time(), buffer[: end - offset]
        # In a thread, because the disk may be slow. A switch to a thread and back costs as much as encrypting 100 KiB.
        size = await loop.run_in_executor(None, os.preadv, file.fileno(), [part], offset)
        if not size:
            _abort_response(request, f"the file ended {end - offset} bytes early")
        for start in range(0, size, _ENCRYPTED_PIECE_BYTES):
            await _write_encrypted(request, transport, part[start : min(start + _ENCRYPTED_PIECE_BYTES, size)])
        offset += size
        span = (
            min(2 * span, _MAX_SENDFILE_BYTES) if loop.time() - begun < _FAST_CLIENT_SECONDS else _FIRST_SENDFILE_BYTES
        )
        if len(buffer) > span or len(buffer) < min(span, end - offset):
            buffer = memoryview(bytearray(min(span, end - offset)))


async def _write_encrypted(request: web.BaseRequest, transport: TlsTransport, piece: memoryview[int]) -> None:
    """Encrypt and send a piece, which the caller may overwrite afterwards. Wait if the client does not read it now."""
    if transport.is_closing():
        raise ConnectionResetError("the client disconnected")
    transport.write(piece)
    if unsent := transport.get_write_buffer_size():
        parts = max(1.0, unsent / _FIRST_SENDFILE_BYTES)
        try:
            async with asyncio.timeout(_get_stall_timeout(request) * parts):
                await request.writer.drain()
        except TimeoutError:
            _abort_stalled(request)


async def send_paced(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Send a response and return it. Abort the connection if the client does not read.

    aiohttp itself has no timeout for a client that does not read. A large body is written in chunks, and each chunk
    waits until the client has taken the one before. If the body were written at once, aiohttp would buffer it for each
    slow client.

    Returns:
        The response that was sent, which may be another object than `response`.
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
            return response  # aiohttp sends it in one write, without waiting for the client
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
    """Return a response with the head of `template`. Its body of `length` bytes will be written in chunks."""
    response = web.StreamResponse(status=template.status, reason=template.reason, headers=template.headers)
    response.content_length = length
    if template.keep_alive is False:
        response.force_close()
    return response


async def _await_in_time(request: web.BaseRequest, step: Awaitable[object]) -> None:
    async with asyncio.timeout(_get_stall_timeout(request)):
        await step


def _get_stall_timeout(request: web.BaseRequest) -> float:
    """Return the seconds in which the client must take a part of a response."""
    connection = request.protocol
    return connection.stall_timeout_seconds if isinstance(connection, TimedConnection) else STALL_TIMEOUT_SECONDS


def _abort_stalled(request: web.BaseRequest) -> NoReturn:
    seconds = _get_stall_timeout(request)
    _abort_response(request, f"the client read less than {_FIRST_SENDFILE_BYTES // 1024} KiB in {seconds:.0f} seconds")


def _abort_response(request: web.BaseRequest, reason: str) -> NoReturn:
    telemetry.warning("response-aborted", path=request.path, error=reason)
    if request.transport is not None:
        request.transport.abort()
    raise AbortedError(reason)


def _build_file_response(
    status: HTTPStatus, length: int, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    own = {"X-Request-Id": telemetry.current_request.get()[0] or ""}
    response = web.StreamResponse(status=status, headers={**_FILE_HEADERS, **own, **(headers or {})})
    response.content_length = length
    return response


async def send_spooled(
    request: web.BaseRequest, file: BinaryIO, size: int, headers: dict[str, str]
) -> web.StreamResponse:
    """Send a file that Assay generated, such as the list of projects. Ranges are not supported."""
    response = web.StreamResponse(headers={**headers, "X-Request-Id": telemetry.current_request.get()[0] or ""})
    response.content_length = size
    await response.prepare(request)
    if request.method != "HEAD":
        await _send_file_range(request, file, 0, size)
        await response.write_eof()
    return response
