"""Incremental parser of an index's root list, which names all projects. Pure.

PyPI's root list has 40 MB and 700,000 names. `RootListParser` takes chunks and returns the names that each chunk
completes. Between two chunks, it keeps only one unfinished element. Names are returned as the index displays them
(``Foo.Bar``), not normalised. Invalid project names are skipped, because no client can request such a project.

`InvalidResponseError` is raised for other content types, malformed JSON, overlong elements or lists, and a truncated
list.
"""

from __future__ import annotations

import codecs
import html
import json
import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, Final
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from assay.errors import InvalidResponseError
from assay.simple.fields import make_page_error, parse_api_version, quote_for_message
from assay.simple.html_page import choose_html_codec
from assay.simple.markup import Comment, HtmlScanner, parse_attributes
from assay.simple.parse import is_json_type, split_content_type

__all__ = ["RootListParser"]

MAX_JSON_ELEMENT_CHARACTERS: Final = 16 * 1024
"""Maximum length of one JSON element. The element of a project has about 60 characters."""
MAX_PROJECTS: Final = 5_000_000
MAX_NAME_CHARACTERS: Final = 255
"""Maximum length of a project name. A longer name does not fit into a filename."""
_MAX_LINK_TEXT_CHARACTERS: Final = 4 * MAX_NAME_CHARACTERS
"""Maximum length of a link's text, including surrounding spaces and unresolved character references."""
# Core metadata specification, "Name".
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9.eE+-]*+")
_SPACE = re.compile(r"[ \t\n\r]*+")


class RootListParser:
    """Incremental parser. Pass the chunks of a response to `feed` in order, and then call `close`.

    Args:
        content_type: ``Content-Type`` of the response.

    Raises:
        InvalidResponseError: the content type does not belong to the Simple API.
    """

    def __init__(self, content_type: str) -> None:
        self._reader: _JsonReader | _HtmlReader = _JsonReader() if is_json_type(content_type) else _HtmlReader()
        codec = "utf-8-sig" if is_json_type(content_type) else choose_html_codec(split_content_type(content_type)[1])
        errors = "strict" if is_json_type(content_type) else "replace"
        self._decoder = codecs.getincrementaldecoder(codec)(errors)
        self._projects_left = MAX_PROJECTS

    def feed(self, chunk: bytes) -> list[str]:
        """Return the names that `chunk` completes.

        Raises:
            InvalidResponseError: the content is not a valid root list, or exceeds a limit.
        """
        return self._parse_chunk(chunk, is_final=False)

    def close(self) -> list[str]:
        """Return the names that `feed` has not returned yet. Call this after the last chunk.

        Raises:
            InvalidResponseError: the list is truncated.
        """
        names = self._parse_chunk(b"", is_final=True)
        self._reader.finish()
        return names

    def _parse_chunk(self, chunk: bytes, *, is_final: bool) -> list[str]:
        try:
            text = self._decoder.decode(chunk, is_final)
        except UnicodeDecodeError:
            raise InvalidResponseError("root list: not UTF-8") from None
        names = [name for name in self._reader.read(text) if len(name) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(name)]
        self._projects_left -= len(names)
        if self._projects_left < 0:
            raise InvalidResponseError(f"root list: more than {MAX_PROJECTS} projects")
        return names


class _HtmlReader:
    """Reader of a root list in HTML (PEP 503): "the text of the anchor tag MUST be the name of the project"."""

    def __init__(self) -> None:
        self._scanner = HtmlScanner()
        self._open_slug: str | None = None
        self._has_html = False

    def read(self, text: str) -> Iterator[str]:
        for token in self._scanner.feed(text):
            if isinstance(token, Comment):
                continue
            self._has_html |= token.name in {"html", "body", "a"}
            if self._open_slug is not None:
                # Any tag ends the link's text. The name of <a><b>name</b></a> is therefore taken from the URL.
                yield _choose_display_name(token.text, self._open_slug)
                self._open_slug = None
            if token.name == "a" and not token.closing:
                self._open_slug = _parse_slug(parse_attributes(token.source).get("href", ""))
            elif (
                token.name == "meta"
                and (given := parse_attributes(token.source)).get("name") == "pypi:repository-version"
            ):
                parse_api_version(given.get("content"), "root list: meta pypi:repository-version")

    def finish(self) -> None:
        if self._scanner.is_unfinished or self._open_slug is not None:
            raise InvalidResponseError("root list: truncated inside an element")
        if not self._has_html:
            raise InvalidResponseError("root list: expected an HTML page, found no HTML element")


def _parse_slug(href: str) -> str | None:
    """Return the decoded last segment of a link's path; None if the link has no project name."""
    segment = href.strip().partition("#")[0].partition("?")[0].rstrip("/").rpartition("/")[2]
    return unquote(segment) if segment and set(segment) != {"."} else None


def _choose_display_name(text: str, slug: str) -> str:
    """Return the link's text if it names the same project as `slug`, else `slug`.

    The text can differ, because directory listings shorten long names.
    """
    if len(text) > _MAX_LINK_TEXT_CHARACTERS:
        return slug
    name = html.unescape(text).strip().rstrip("/")
    return name if canonicalize_name(name) == canonicalize_name(slug) else slug


class _JsonState(Enum):
    """State of `_JsonReader`: the part of the JSON document that comes next."""

    START = auto()
    FIRST_KEY = auto()
    KEY = auto()
    AFTER_VALUE = auto()
    FIRST_PROJECT = auto()
    PROJECT = auto()
    AFTER_PROJECT = auto()
    END = auto()


class _JsonReader:
    """Reader of a root list in JSON (PEP 691): ``{"meta": {…}, "projects": [{"name": …}, …]}``.

    The keys may come in any order. Only the value of `projects` may be longer than `MAX_JSON_ELEMENT_CHARACTERS`.
    """

    def __init__(self) -> None:
        self._unread = ""
        self._state = _JsonState.START
        self._projects_seen = False

    def read(self, text: str) -> Iterator[str]:
        """Yield the completed names, and keep an unfinished element for the next call."""
        text = self._unread + text
        place = _skip_whitespace(text, 0)
        while place < len(text):
            match self._state:
                case _JsonState.PROJECT:
                    entry, end = self._read_value(text, place)
                    if end < 0:
                        break
                    yield self._require_name(entry)
                    self._state = _JsonState.AFTER_PROJECT
                case _JsonState.FIRST_KEY | _JsonState.KEY if text[place] == '"':
                    end = self._read_member(text, place)
                    if end < 0:
                        break
                case _:
                    end = self._read_punctuation(text, place)
            place = _skip_whitespace(text, end)
        self._unread = text[place:]

    def finish(self) -> None:
        if self._state is not _JsonState.END or self._unread:
            raise InvalidResponseError("root list: truncated JSON")
        if not self._projects_seen:
            raise make_page_error("root list: projects", "a list", None)

    def _read_punctuation(self, text: str, position: int) -> int:
        """Check that the character at `position` fits the state, and enter the next state; return the next position."""
        found = text[position]
        match self._state, found:
            case _JsonState.START, "{":
                self._state = _JsonState.FIRST_KEY
            case (_JsonState.AFTER_VALUE, ","):
                self._state = _JsonState.KEY
            case (_JsonState.FIRST_KEY | _JsonState.AFTER_VALUE, "}"):
                self._state = _JsonState.END
            case _JsonState.AFTER_PROJECT, ",":
                self._state = _JsonState.PROJECT
            case (_JsonState.AFTER_PROJECT | _JsonState.FIRST_PROJECT, "]"):
                self._state = _JsonState.AFTER_VALUE
            case _JsonState.FIRST_PROJECT, "{":
                self._state = _JsonState.PROJECT
                return position
            case _:
                raise InvalidResponseError(f"root list: not JSON: unexpected {quote_for_message(found)}")
        return position + 1

    def _read_member(self, text: str, position: int) -> int:
        """Read ``"key": value``; return the position after it, or -1 if it is incomplete.

        For the key `projects`, read only up to the ``[`` of the value.
        """
        key, colon = self._read_value(text, position)
        if colon < 0:
            return -1
        colon = _skip_whitespace(text, colon)
        start = _skip_whitespace(text, colon + 1)
        if start >= len(text):
            return -1 if len(text) - position <= MAX_JSON_ELEMENT_CHARACTERS else self._fail_too_long()
        if text[colon] != ":":
            raise InvalidResponseError(f"root list: not JSON: unexpected {quote_for_message(text[colon])}")
        if key == "projects":
            if self._projects_seen or text[start] != "[":
                raise make_page_error("root list: projects", "one list", text[start])
            self._projects_seen = True
            self._state = _JsonState.FIRST_PROJECT
            return start + 1
        value, end = self._read_value(text, start)
        if end >= 0:
            if key == "meta" and isinstance(value, dict):
                parse_api_version(value.get("api-version"), "root list: meta.api-version")
            self._state = _JsonState.AFTER_VALUE
        return end

    def _read_value(self, text: str, position: int) -> tuple[Any, int]:
        """Return the JSON value at `position`, and the position after it.

        If the value may continue in the next chunk, return (None, -1).
        """
        try:
            value, end = _DECODER.raw_decode(text, position)
        except RecursionError:
            raise InvalidResponseError("root list: JSON nested too deeply") from None
        except ValueError:
            if len(text) - position > MAX_JSON_ELEMENT_CHARACTERS:
                self._fail_too_long()
            return None, -1
        # A number at the end of a chunk may continue in the next one: 1 as 12, 1.5 or 1e3.
        cut = isinstance(value, (int, float)) and _NUMBER.fullmatch(text, end) is not None
        return (None, -1) if cut else (value, end)

    def _fail_too_long(self) -> int:
        raise InvalidResponseError(
            f"root list: not JSON, or an element longer than {MAX_JSON_ELEMENT_CHARACTERS} characters"
        )

    @staticmethod
    def _require_name(entry: object) -> str:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise make_page_error("root list: projects[].name", "a string", name if isinstance(entry, dict) else entry)
        return name


_DECODER: Final = json.JSONDecoder()


def _skip_whitespace(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()
