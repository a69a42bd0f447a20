"""Parser of project pages. Only this module converts the bytes of an index to a `Project`. Pure.

It chooses between JSON and HTML by ``Content-Type``. `json_page`, `html_page`, `filename` and `location` then parse the
content. A response with another content type is refused: "clients … MUST … treat it as an error" (PEP 691).
"""

from __future__ import annotations

from dataclasses import replace

from packaging.utils import NormalizedName

from assay.errors import InvalidResponseError
from assay.simple.fields import PageLimits, parse_sha256, quote_for_message
from assay.simple.filename import ParsedFilename, parse_filename, possible_projects
from assay.simple.html_page import choose_html_codec, parse_html_page
from assay.simple.json_page import parse_json_page
from assay.simple.location import basename, decode_location
from assay.simple.model import Project

__all__ = [
    "PageLimits",
    "ParsedFilename",
    "basename",
    "decode_location",
    "is_json_type",
    "parse_filename",
    "parse_project",
    "parse_sha256",
    "possible_projects",
    "split_content_type",
]

# Some mirrors send application/json. Another major version has another content type, and is refused.
_JSON_TYPES = frozenset(
    {"application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.latest+json", "application/json"}
)
_HTML_TYPES = frozenset(
    {
        "application/vnd.pypi.simple.v1+html",
        "application/vnd.pypi.simple.latest+html",
        "text/html",
        "application/xhtml+xml",
    }
)


def parse_project(
    body: bytes,
    content_type: str,
    base_url: str,
    name: NormalizedName,
    *,
    serial: int | None = None,
    limits: PageLimits | None = None,
    had_files: bool = False,
) -> Project:
    """Parse the page of project `name`, and the filenames on it.

    Args:
        body: the whole response body, decompressed.
        content_type: ``Content-Type`` of the response, with parameters.
        base_url: absolute URL of the page after redirects. Relative links are resolved against it.
        name: normalised name of the requested project. A JSON page with another name is refused.
        serial: value of ``X-PyPI-Last-Serial``. It is used if the body states no serial.
        limits: limits on the content of the page; None: the defaults of `PageLimits`.
        had_files: True if the project had files before, according to an earlier page or the ledger. An HTML page
            without files then needs a mark of PyPI's pages. Without a mark it is refused, because it may be an error
            page.

    Raises:
        InvalidResponseError: the page is unusable. The message is like ``files[3].url: expected a string, found 7``.
    """
    limits = limits if limits is not None else PageLimits()
    if is_json_type(content_type):
        project = parse_json_page(body, base_url, name, limits)
    else:
        codec = choose_html_codec(split_content_type(content_type)[1])
        project = parse_html_page(body, codec, base_url, name, limits, had_files=had_files)
    if project.serial is None and serial is not None:
        return replace(project, serial=serial)
    return project


def is_json_type(content_type: str) -> bool:
    """Return True if a ``Content-Type`` is JSON of the Simple API, and False if it is HTML of the Simple API.

    Raises:
        InvalidResponseError: the content type is neither of them.
    """
    media = split_content_type(content_type)[0]
    if media in _JSON_TYPES:
        return True
    if media in _HTML_TYPES:
        return False
    raise InvalidResponseError(
        f"page: expected a content type of the Simple API (PEP 691), found {quote_for_message(content_type)}"
    )


def split_content_type(content_type: str) -> tuple[str, str | None]:
    """Return the media type in lower case, and the parameter ``charset`` or None (RFC 9110 section 8.3.1)."""
    media, *parameters = content_type.split(";")
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset":
            return media.strip().lower(), value.strip().strip('"')
    return media.strip().lower(), None
