"""The root list of an index, read while it arrives: PyPI's has 40 MB and 700,000 names. Pure.

`RootParser` is fed chunks and gives back names as they become complete; between two chunks it holds one unfinished
element and nothing else. Names come as the index displays them (``Foo.Bar``), not normalised; what can be no project's
name is passed over, since nobody could ask for it.

Refuses, with `UpstreamNonsenseError`: other content types, malformed JSON, elements and lists beyond the caps, and a
list that ends before it is complete.
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

from assay.errors import UpstreamNonsenseError
from assay.simple.fields import nonsense, parse_api_version, shown
from assay.simple.html_page import decode_html
from assay.simple.markup import Comment, Scanner, attributes
from assay.simple.parse import is_json, split_content_type

__all__ = ["RootParser"]

LONGEST_ELEMENT: Final = 16 * 1024
"""Characters of one JSON element. A project's has some 60."""
MOST_PROJECTS: Final = 5_000_000
LONGEST_NAME: Final = 255
"""Longer names could not be in a filename."""
_LONGEST_TEXT: Final = 4 * LONGEST_NAME
"""Of a link, with spaces around it and references in it."""
# Core metadata specification, "Name".
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9.eE+-]*+")
_SPACE = re.compile(r"[ \t\n\r]*+")


class RootParser:
    """Feed it the answer's chunks in order, then `close` it.

    Args:
        content_type: the answer's ``Content-Type``.

    Raises:
        UpstreamNonsenseError: it is none of the Simple API.
    """

    def __init__(self, content_type: str) -> None:
        self._reader: _JsonRoot | _HtmlRoot = _JsonRoot() if is_json(content_type) else _HtmlRoot()
        codec = "utf-8-sig" if is_json(content_type) else decode_html(split_content_type(content_type)[1])
        errors = "strict" if is_json(content_type) else "replace"
        self._decoder = codecs.getincrementaldecoder(codec)(errors)
        self._left = MOST_PROJECTS

    def feed(self, chunk: bytes) -> list[str]:
        """The names that this chunk completes.

        Raises:
            UpstreamNonsenseError: what came so far is no root list.
        """
        return self._take(chunk, final=False)

    def close(self) -> list[str]:
        """The last names, if any. Call it after the last chunk.

        Raises:
            UpstreamNonsenseError: the list is not complete.
        """
        names = self._take(b"", final=True)
        self._reader.finish()
        return names

    def _take(self, chunk: bytes, *, final: bool) -> list[str]:
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError:
            raise UpstreamNonsenseError("root list: not UTF-8") from None
        names = [name for name in self._reader.read(text) if len(name) <= LONGEST_NAME and _NAME.fullmatch(name)]
        self._left -= len(names)
        if self._left < 0:
            raise UpstreamNonsenseError(f"root list: more than {MOST_PROJECTS} projects")
        return names


class _HtmlRoot:
    """PEP 503: one anchor for each project, "the text of the anchor tag MUST be the name of the project"."""

    def __init__(self) -> None:
        self._scanner = Scanner()
        self._slug: str | None = None
        self._seen = False

    def read(self, text: str) -> Iterator[str]:
        for token in self._scanner.feed(text):
            if isinstance(token, Comment):
                continue
            self._seen |= token.name in {"html", "body", "a"}
            if self._slug is not None:
                # Any tag ends the link's text; who writes <a><b>name</b></a> is known by the link alone.
                yield _display(token.text, self._slug)
                self._slug = None
            if token.name == "a" and not token.closing:
                self._slug = _slug(attributes(token.source).get("href", ""))
            elif token.name == "meta" and (given := attributes(token.source)).get("name") == "pypi:repository-version":
                parse_api_version(given.get("content"), "root list: meta pypi:repository-version")

    def finish(self) -> None:
        if self._scanner.unfinished or self._slug is not None:
            raise UpstreamNonsenseError("root list: it ends inside an element, so it was cut off")
        if not self._seen:
            raise UpstreamNonsenseError("root list: expected an HTML page, found none")


def _slug(href: str) -> str | None:
    """The last segment of a link's path; None for links that name no project."""
    segment = href.strip().partition("#")[0].partition("?")[0].rstrip("/").rpartition("/")[2]
    return unquote(segment) if segment and set(segment) != {"."} else None


def _display(text: str, slug: str) -> str:
    """The name as displayed, where it is the name of what the link leads to; directory listings shorten long ones."""
    if len(text) > _LONGEST_TEXT:
        return slug
    name = html.unescape(text).strip().rstrip("/")
    return name if canonicalize_name(name) == canonicalize_name(slug) else slug


class _At(Enum):
    """Where in the JSON document the next character stands."""

    START = auto()
    FIRST_KEY = auto()
    KEY = auto()
    AFTER_VALUE = auto()
    FIRST_PROJECT = auto()
    PROJECT = auto()
    AFTER_PROJECT = auto()
    END = auto()


class _JsonRoot:
    """PEP 691: ``{"meta": {…}, "projects": [{"name": …}, …]}``, keys in any order; only `projects` may be long."""

    def __init__(self) -> None:
        self._rest = ""
        self._at = _At.START
        self._projects_seen = False

    def read(self, text: str) -> Iterator[str]:
        """The names that are complete. Each step either takes something off the front or waits for more."""
        text = self._rest + text
        place = _skip(text, 0)
        while place < len(text):
            match self._at:
                case _At.PROJECT:
                    entry, end = self._value(text, place)
                    if end < 0:
                        break
                    yield self._name(entry)
                    self._at = _At.AFTER_PROJECT
                case _At.FIRST_KEY | _At.KEY if text[place] == '"':
                    end = self._member(text, place)
                    if end < 0:
                        break
                case _:
                    end = self._punctuation(text, place)
            place = _skip(text, end)
        self._rest = text[place:]

    def finish(self) -> None:
        if self._at is not _At.END or self._rest:
            raise UpstreamNonsenseError("root list: it ends before the JSON is complete")
        if not self._projects_seen:
            raise nonsense("root list: projects", "a list", None)

    def _punctuation(self, text: str, place: int) -> int:
        """One character that must be what it is; where the next thing begins."""
        found = text[place]
        match self._at, found:
            case _At.START, "{":
                self._at = _At.FIRST_KEY
            case (_At.AFTER_VALUE, ","):
                self._at = _At.KEY
            case (_At.FIRST_KEY | _At.AFTER_VALUE, "}"):
                self._at = _At.END
            case _At.AFTER_PROJECT, ",":
                self._at = _At.PROJECT
            case (_At.AFTER_PROJECT | _At.FIRST_PROJECT, "]"):
                self._at = _At.AFTER_VALUE
            case _At.FIRST_PROJECT, "{":
                self._at = _At.PROJECT
                return place
            case _:
                raise UpstreamNonsenseError(f"root list: not JSON: {shown(found)} where it cannot be")
        return place + 1

    def _member(self, text: str, place: int) -> int:
        """``"key": value``, or only ``"projects": [``; where it ends, or -1 where it is not complete."""
        key, colon = self._value(text, place)
        if colon < 0:
            return -1
        colon = _skip(text, colon)
        start = _skip(text, colon + 1)
        if start >= len(text):
            return -1 if len(text) - place <= LONGEST_ELEMENT else self._too_long()
        if text[colon] != ":":
            raise UpstreamNonsenseError(f"root list: not JSON: {shown(text[colon])} where it cannot be")
        if key == "projects":
            if self._projects_seen or text[start] != "[":
                raise nonsense("root list: projects", "one list", text[start])
            self._projects_seen = True
            self._at = _At.FIRST_PROJECT
            return start + 1
        value, end = self._value(text, start)
        if end >= 0:
            if key == "meta" and isinstance(value, dict):
                parse_api_version(value.get("api-version"), "root list: meta.api-version")
            self._at = _At.AFTER_VALUE
        return end

    def _value(self, text: str, place: int) -> tuple[Any, int]:
        """One JSON value and where it ends; -1 where it is not complete yet, as far as one can tell."""
        try:
            value, end = _DECODER.raw_decode(text, place)
        except RecursionError:
            raise UpstreamNonsenseError("root list: JSON nested too deeply") from None
        except ValueError:
            if len(text) - place > LONGEST_ELEMENT:
                self._too_long()
            return None, -1
        # A number at the end of a chunk may go on in the next one: 1 as 12, 1.5, 1e3.
        cut = isinstance(value, (int, float)) and _NUMBER.fullmatch(text, end) is not None
        return (None, -1) if cut else (value, end)

    def _too_long(self) -> int:
        raise UpstreamNonsenseError(f"root list: not JSON, or an element longer than {LONGEST_ELEMENT} characters")

    @staticmethod
    def _name(entry: object) -> str:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise nonsense("root list: projects[].name", "a string", name if isinstance(entry, dict) else entry)
        return name


_DECODER: Final = json.JSONDecoder()


def _skip(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return place if match is None else match.end()
