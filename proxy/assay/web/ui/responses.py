"""Responses that contain an HTML page, compressed if the client can decode it."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from aiohttp import web

from assay.simple.coding import CONTENT_CODINGS, encode_content
from assay.simple.negotiate import negotiate_coding
from assay.web.ui.layout import HTML_HEADERS

_THREADED_ENCODING_MIN_BYTES: Final = 64 * 1024
"""A body of at least this many bytes is compressed in a thread, a smaller one in the event loop, in about 1 ms."""


async def build_html_response(
    body: bytes, accept_encoding: str | None, status: HTTPStatus = HTTPStatus.OK
) -> web.Response:
    """Return the response that contains an HTML page.

    Args:
        body: the page in UTF-8.
        accept_encoding: the ``Accept-Encoding`` header of the request; None if it has none.
        status: status of the response.
    """
    headers = {**HTML_HEADERS, "Vary": "Accept-Encoding"}
    coding = negotiate_coding(accept_encoding, CONTENT_CODINGS)
    if coding == "identity":
        return web.Response(status=status, body=body, headers=headers)
    headers["Content-Encoding"] = coding
    if len(body) < _THREADED_ENCODING_MIN_BYTES:
        return web.Response(status=status, body=encode_content(body, coding), headers=headers)
    encoded = await asyncio.to_thread(encode_content, body, coding)
    return web.Response(status=status, body=encoded, headers=headers)
