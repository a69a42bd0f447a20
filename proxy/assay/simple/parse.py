"""What an index sent for one project, as a `Project`: the one door from bytes to the Simple API's model. Pure.

Owns the choice between JSON and HTML; `json_page`, `html_page`, `filename` and `location` do the reading.
Refuses every answer that is not one of the Simple API's content types: "clients … MUST … treat it as an error" (PEP
691) where they would otherwise have to guess.
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

# Some mirrors send the generic type; a major version other than 1 has another type of its own and is refused.
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
) -> Project:
    """The page of project `name`. Filenames are parsed here, once.

    Args:
        body: the whole answer, decompressed.
        content_type: its ``Content-Type``, parameters included.
        base_url: the absolute URL it came from after redirects; relative links start there.
        name: the project asked for; a page of another is nonsense.
        serial: ``X-PyPI-Last-Serial``, for pages that do not say their own.
        limits: what a page may hold.

    Raises:
        InvalidResponseError: the message says what and where: ``files[3].url: expected a string, found 7``.
    """
    limits = limits if limits is not None else PageLimits()
    if is_json_type(content_type):
        project = parse_json_page(body, base_url, name, limits)
    else:
        codec = choose_html_codec(split_content_type(content_type)[1])
        project = parse_html_page(body.decode(codec, errors="replace"), base_url, name, limits)
    if project.serial is None and serial is not None:
        return replace(project, serial=serial)
    return project


def is_json_type(content_type: str) -> bool:
    """Whether an answer of this ``Content-Type`` is the Simple API's JSON; False: its HTML.

    Raises:
        InvalidResponseError: it is neither.
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
    """The media type, lower-case, and the ``charset`` parameter, if any (RFC 9110 section 8.3.1)."""
    media, *parameters = content_type.split(";")
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset":
            return media.strip().lower(), value.strip().strip('"')
    return media.strip().lower(), None
