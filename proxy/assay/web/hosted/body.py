"""Request bodies: the multipart form of an upload, streamed to a staged file, and small JSON documents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

from aiohttp import BodyPartReader, MultipartReader, web

from assay.aiohttp_private import get_malformed_request_errors
from assay.errors import UploadRefusedError
from assay.hosted.form import MAX_ATTESTATIONS_CHARS, USED_FIELDS
from assay.ports import StagedFile

MAX_FORM_BYTES: Final = 16 * 2**20
"""Maximum size of all fields of a form except the file, in bytes. It bounds the long description."""
_MAX_PARTS: Final = 4096
"""Maximum number of fields. Classifiers and dependencies are repeated fields."""
_MAX_FIELD_BYTES: Final = 4 * MAX_ATTESTATIONS_CHARS
"""Maximum size of a used field, in bytes."""
_WRITE_BYTES: Final = 2**20
"""Number of bytes that are written to the disk at once."""
_READ_BYTES: Final = 64 * 1024
STALL_SECONDS: Final = 60.0
"""Maximum time in seconds in which the client must send the next bytes."""
_DRAIN_SECONDS: Final = 300.0
_FORM_ERRORS: Final[tuple[type[BaseException], ...]] = (
    ValueError,
    AssertionError,
    RuntimeError,
    LookupError,
    *get_malformed_request_errors(),
)
"""Errors of aiohttp about a malformed form."""


async def read_upload(
    request: web.BaseRequest, staged: StagedFile, max_file_bytes: int
) -> tuple[dict[str, str], str | None]:
    """Read the form of an upload: the used fields, and the filename of the part `content`, which goes to `staged`.

    Raises:
        UploadRefusedError: the form is malformed, too large or incomplete.
        StorageError: the file cannot be stored.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UploadRefusedError("the body has a content coding: send it without Content-Encoding")
    fields: dict[str, str] = {}
    filename: str | None = None
    left = MAX_FORM_BYTES
    try:
        async for part in _iter_parts(request):
            name = part.name or ""
            if name == "content":
                if filename is not None:
                    raise UploadRefusedError("the form has two files")
                filename = part.filename or ""
                await _store(part, staged, max_file_bytes)
                continue
            value = await _read_field(part, left, is_used=name in USED_FIELDS)
            left -= len(value)
            if name in USED_FIELDS:
                if name in fields:
                    raise UploadRefusedError(f"the form has the field {name} twice")
                fields[name] = value.decode("utf-8", "replace")
    except TimeoutError as error:
        raise UploadRefusedError(f"the client sent nothing for {STALL_SECONDS:.0f} s") from error
    except _FORM_ERRORS as error:
        raise UploadRefusedError(f"the body is not a valid form (multipart/form-data): {str(error)[:100]}") from error
    return fields, filename


async def read_json(request: web.BaseRequest, max_bytes: int) -> Any:  # noqa: ANN401 - any JSON
    """Read a small JSON document.

    Raises:
        UploadRefusedError: the body is too large or is not JSON.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(STALL_SECONDS):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > max_bytes:
                    raise UploadRefusedError(f"the body has more than {max_bytes} bytes")
        return json.loads(bytes(body))
    except TimeoutError as error:
        raise UploadRefusedError(f"the body did not arrive within {STALL_SECONDS:.0f} s") from error
    except (ValueError, RecursionError) as error:
        raise UploadRefusedError("the body is not JSON") from error


async def drain_body(request: web.BaseRequest) -> None:
    """Read and discard the rest of a body, for at most `_DRAIN_SECONDS`.

    A client that is still sending would otherwise get a reset connection instead of the response.
    """
    with suppress(TimeoutError, ConnectionError, web.HTTPException, *_FORM_ERRORS):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while not request.content.at_eof():
                async with asyncio.timeout(STALL_SECONDS):
                    await request.content.readany()


async def _iter_parts(request: web.BaseRequest) -> AsyncIterator[BodyPartReader]:
    """Yield the parts of a form. The caller must read each part before the next one."""
    reader = MultipartReader(request.headers, request.content)
    for _ in range(_MAX_PARTS):
        async with asyncio.timeout(STALL_SECONDS):
            part = await reader.next()
        if part is None:
            return
        if not isinstance(part, BodyPartReader):
            raise UploadRefusedError("the form has a nested form")
        yield part
    raise UploadRefusedError(f"the form has more than {_MAX_PARTS} fields")


async def _iter_chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(STALL_SECONDS):
            chunk = await part.read_chunk(_READ_BYTES)
        if not chunk:
            return
        yield chunk


async def _store(part: BodyPartReader, staged: StagedFile, max_bytes: int) -> None:
    buffer = bytearray()
    async for chunk in _iter_chunks(part):
        buffer += chunk
        if staged.size + len(buffer) > max_bytes:
            raise UploadRefusedError(f"the file has more than {max_bytes} bytes (limits.file)")
        if len(buffer) >= _WRITE_BYTES:
            await staged.write(buffer)
            buffer = bytearray()
    if buffer:
        await staged.write(buffer)


async def _read_field(part: BodyPartReader, max_bytes: int, *, is_used: bool) -> bytes:
    """Return the value of a field. The value of an unused field is counted and then forgotten by the caller."""
    value = bytearray()
    limit = min(max_bytes, _MAX_FIELD_BYTES) if is_used else max_bytes
    async for chunk in _iter_chunks(part):
        value += chunk
        if len(value) > limit:
            raise UploadRefusedError(f"the form field {(part.name or '')[:40]!a} is too large")
    return bytes(value)
