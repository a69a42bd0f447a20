"""Scanner for the tags and comments of an HTML document whose text arrives in chunks. Pure.

The parser of the standard library is not used. Its time grows quadratically with unclosed text (CVE-2025-6069): it
needs minutes for a megabyte of ``<!--`` in the supported Python versions. This scanner reads each character a limited
number of times, refuses overlong elements, and keeps at most one unfinished element between two chunks.

Tokenization follows the HTML standard (section 13.2.5) as far as index pages need it.
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
"""Maximum length of one tag or comment. The longest links have about 2,000 characters with their attributes."""

_OPENING = re.compile(r"<(?=[A-Za-z/!?]|\Z)")
# All quantifiers are possessive, so that a failed match takes linear time without backtracking.
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
    """Start tag or end tag."""

    name: str
    """Name in lower case."""
    closing: bool
    source: str
    """Attributes as written in the document, for `parse_attributes`."""
    text: str
    """Text between the previous tag or comment and this tag, as written in the document. A long text is truncated."""


class Comment(NamedTuple):
    """Comment without its delimiters."""

    text: str


Token: TypeAlias = Tag | Comment


class HtmlScanner:
    """Incremental scanner. `feed` takes the next chunk of a document, and yields the completed tags and comments."""

    def __init__(self) -> None:
        self._unscanned = ""
        self._text = ""
        self._raw_element: str | None = None

    @property
    def is_unfinished(self) -> bool:
        """True if the text so far ends inside a tag, a comment, a script, a style sheet, a title or a text area."""
        return bool(self._unscanned) or self._raw_element is not None

    def feed(self, chunk: str) -> Iterator[Token]:
        """Yield the tags and comments that end in `chunk`. Exhaust the iterator before the next call.

        Raises:
            InvalidResponseError: an element is longer than `MAX_ELEMENT_CHARACTERS`.
        """
        text = self._unscanned + chunk
        self._unscanned = ""
        place = 0
        while place < len(text):
            if self._raw_element is not None:
                place = self._skip_raw(text, place)
                continue
            opening = _OPENING.search(text, place)
            end = len(text) if opening is None else opening.start()
            self._collect_text(text[place : min(end, place + MAX_ELEMENT_CHARACTERS)])
            if opening is None:
                return
            start = opening.start()
            token, place = self._scan_element(text, start)
            if place < 0:
                self._keep_unfinished(text, start)
                return
            if token is not None:
                yield token

    def _scan_element(self, text: str, start: int) -> tuple[Token | None, int]:
        """Scan the element that begins with the ``<`` at `start`.

        Returns:
            The token and the position after the element. The token is None for a declaration. For an unfinished
            element, the token is None and the position is -1.
        """
        follows = text[start + 1 : start + 2]
        if follows in {"!", "?"} or (follows == "/" and text[start + 2 : start + 3] not in {"", *_LETTERS}):
            return self._scan_comment(text, start)
        match = _TAG.match(text, start, start + MAX_ELEMENT_CHARACTERS)
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
            end = _END_OF_COMMENT.search(text, start + 2, start + MAX_ELEMENT_CHARACTERS)
            if end is None:
                return None, -1
            self._text = ""
            return Comment(text[start + 4 : max(end.start(), start + 4)]), end.end()
        if "<!--".startswith(opening):
            return None, -1
        close = text.find(">", start, start + MAX_ELEMENT_CHARACTERS)  # <!DOCTYPE …>, <?xml …>, </3>: a "bogus comment"
        return None, close + 1 if close >= 0 else -1

    def _skip_raw(self, text: str, position: int) -> int:
        """Return the position of the end tag of a raw-text element, such as a script, whose content is not markup.

        If `text` has no end tag, return the end of `text`.
        """
        end = _RAW_TEXT_ENDS[self._raw_element or ""].search(text, position)
        if end is not None:
            self._raw_element = None
            return end.start()
        # Two chunks may split the end tag.
        self._unscanned = text[max(position, len(text) - _MAX_END_TAG_CHARACTERS) :]
        return len(text)

    def _collect_text(self, text: str) -> None:
        if len(self._text) < MAX_ELEMENT_CHARACTERS:
            self._text += text[:MAX_ELEMENT_CHARACTERS]

    def _keep_unfinished(self, text: str, start: int) -> None:
        if len(text) - start > MAX_ELEMENT_CHARACTERS:
            raise InvalidResponseError(f"page: an element longer than {MAX_ELEMENT_CHARACTERS} characters")
        self._unscanned = text[start:]


_MAX_NUMERIC_REFERENCE_CHARACTERS = len("#x0010FFFF;")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def parse_attributes(source: str) -> dict[str, str]:
    """Return the attributes of a tag: names in lower case, and values with resolved character references.

    An attribute without a value has an empty value. If several attributes have the same name, the first one counts: "if
    there is already an attribute … with the exact same name, then this is a duplicate-attribute parse error and the new
    attribute must be removed" (HTML standard).
    """
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(source):
        found.setdefault(name.lower(), unescape_attribute(double or single or bare))
    return found


def unescape_attribute(value: str) -> str:
    """Resolve the character references in the value of an attribute.

    URLs have parameters such as ``&region=``. In an attribute this is not a reference, unlike in text ("for historical
    reasons", HTML standard).
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
