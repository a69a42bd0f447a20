"""Responses with an HTML page: compressed on request, a large page too."""

from __future__ import annotations

import gzip
from http import HTTPStatus

import pytest

from assay.web.ui.layout import HTML_HEADERS
from assay.web.ui.responses import build_html_response


@pytest.mark.parametrize("size", [100, 200_000])
@pytest.mark.parametrize(("accepted", "coding"), [("gzip", "gzip"), (None, None), ("br", None), ("gzip;q=0", None)])
async def test_a_page_of_any_size_is_compressed_on_request(size: int, accepted: str | None, coding: str | None) -> None:
    body = b"<p>assay</p>" * (size // 12)
    response = await build_html_response(body, accepted, HTTPStatus.BAD_REQUEST)
    assert response.status == 400
    assert response.headers.get("Content-Encoding") == coding
    assert response.headers["Vary"] == "Accept-Encoding"
    assert HTML_HEADERS.items() <= response.headers.items()
    assert isinstance(response.body, bytes)
    assert (gzip.decompress(response.body) if coding else response.body) == body
