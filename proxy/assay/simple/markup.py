"""The tags and comments of an HTML document, in one pass over text that may come in pieces. Pure.

Not the standard library's parser: on text that never closes its time grows with the square (CVE-2025-6069; a megabyte
of ``<!--`` takes minutes in the Python versions we support), and on a page of an index only tags matter. Here each
character is looked at a bounded number of times, an element that never ends ends the document, and between two pieces
no more is held than one element.

Follows the tokenization of the HTML standard (section 13.2.5) where an index page can tell the difference.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from html.entities import html5
from typing import NamedTuple, TypeAlias

from assay.errors import InvalidResponseError

__all__ = ["Comment", "HtmlScanner", "Tag", "Token", "parse_attributes"]

MAX_ELEMENT_CHARACTERS = 16 * 1024
"""Characters of one tag or comment; the longest links with their attributes have some 2,000."""

_OPENING = re.compile(r"<(?=[A-Za-z/!?]|\Z)")
# Possessive throughout: a failure is one pass, never a search.
_TAG = re.compile(
    r"""<(/?)([A-Za-z][^\s/>]*+)((?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+')|=(?!\s*+["']))*+)>""",
)
_ATTRIBUTE = re.compile(r"""([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>]*+)))?+""")
_REFERENCE = re.compile(r"&(?:#(?:[0-9]++|[xX][0-9a-fA-F]++)|[A-Za-z][A-Za-z0-9]*+);?+=?+")
_RAW_TEXT_ENDS = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style", "textarea", "title")
}
_END_OF_COMMENT = re.compile(r"--!?>")
_MAX_END_TAG_CHARACTERS = len("</textarea ")


class Tag(NamedTuple):
    """A start or end tag."""

    name: str
    """Lower-case."""
    closing: bool
    source: str
    """The attributes as written; `parse_attributes` reads them."""
    text: str
    """Text since the tag or comment before it, as written, at most `MAX_ELEMENT_CHARACTERS` characters."""


class Comment(NamedTuple):
    """A comment's text."""

    text: str


Token: TypeAlias = Tag | Comment


class HtmlScanner:
    """Feed it a document's text in pieces; it yields the tags and comments that are complete."""

    def __init__(self) -> None:
        self._unscanned = ""
        self._text = ""
        self._raw_element: str | None = None

    @property
    def is_unfinished(self) -> bool:
        """Whether the text so far ends inside a tag, a comment, a script or a style sheet."""
        return bool(self._unscanned) or self._raw_element is not None

    def feed(self, chunk: str) -> Iterator[Token]:
        """The tokens that end in `chunk`. Exhaust it before feeding more.

        Raises:
            InvalidResponseError: one element is longer than `MAX_ELEMENT_CHARACTERS` and goes on in the next piece.
        """
        text = self._unscanned + chunk
        self._unscanned = ""
        place = 0
        while place < len(text):
            if self._raw_element is not None:
                place = self._skip_raw(text, place)
                continue
            opening = _OPENING.search(text, place)
            self._collect_text(text[place : len(text) if opening is None else opening.start()])
            if opening is None:
                return
            start = opening.start()
            token, place = self._scan_element(text, start)
            if place < 0:
                self._keep_unfinished(text[start:])
                return
            if token is not None:
                yield token

    def _scan_element(self, text: str, start: int) -> tuple[Token | None, int]:
        """What begins at the ``<`` at `start`, and where it ends; -1 where the text ends first."""
        follows = text[start + 1 : start + 2]
        if follows in {"!", "?"} or (follows == "/" and text[start + 2 : start + 3] not in {"", *_LETTERS}):
            return self._scan_comment(text, start)
        match = _TAG.match(text, start)
        if match is None:
            return None, -1
        name, before = match[2].lower(), self._text
        self._text = ""
        if not match[1] and name in _RAW_TEXT_ENDS:
            self._raw_element = name
        return Tag(name, bool(match[1]), match[3], before), match.end()

    def _scan_comment(self, text: str, start: int) -> tuple[Token | None, int]:
        opening = text[start : start + 4]
        if opening == "<!--":
            end = _END_OF_COMMENT.search(text, start + 2)
            if end is None:
                return None, -1
            self._text = ""
            return Comment(text[start + 4 : max(end.start(), start + 4)]), end.end()
        if "<!--".startswith(opening):
            return None, -1
        close = text.find(">", start)  # <!DOCTYPE …>, <?xml …>, </3>: a "bogus comment"
        return None, close + 1 if close >= 0 else -1

    def _skip_raw(self, text: str, position: int) -> int:
        """What a script holds is no markup, whatever it looks like."""
        end = _RAW_TEXT_ENDS[self._raw_element or ""].search(text, position)
        if end is not None:
            self._raw_element = None
            return end.start()
        # The end tag may be cut in two by the pieces.
        self._unscanned = text[max(position, len(text) - _MAX_END_TAG_CHARACTERS) :]
        return len(text)

    def _collect_text(self, text: str) -> None:
        if len(self._text) < MAX_ELEMENT_CHARACTERS:
            self._text += text[:MAX_ELEMENT_CHARACTERS]

    def _keep_unfinished(self, rest: str) -> None:
        if len(rest) > MAX_ELEMENT_CHARACTERS:
            raise InvalidResponseError(f"page: an element longer than {MAX_ELEMENT_CHARACTERS} characters")
        self._unscanned = rest


_MAX_NUMERIC_REFERENCE_CHARACTERS = len("#x0010FFFF;")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def parse_attributes(source: str) -> dict[str, str]:
    """A tag's attributes, names lower-case, values with their character references resolved; ``""`` where none.

    "if there is already an attribute … with the exact same name, then this is a duplicate-attribute parse error and
    the new attribute must be removed" (HTML standard): the first one counts.
    """
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(source):
        found.setdefault(name.lower(), unescape_attribute(double or single or bare))
    return found


def unescape_attribute(value: str) -> str:
    """Character references as they count in an attribute.

    There ``&region=`` stays itself, unlike in text ("for historical reasons", HTML standard): URLs need it.
    """
    return _REFERENCE.sub(_resolve_reference, value) if "&" in value else value


def _resolve_reference(match: re.Match[str]) -> str:
    written = match[0]
    tail = "=" if written.endswith("=") else ""
    name = written[1:].removesuffix("=")
    if name.startswith("#"):
        if len(name) > _MAX_NUMERIC_REFERENCE_CHARACTERS:
            return "\ufffd" + tail
        return html.unescape(f"&{name}") + tail
    if name.endswith(";") or not tail:
        return html5.get(name, f"&{name}") + tail
    return written
