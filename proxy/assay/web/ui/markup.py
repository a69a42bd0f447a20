"""HTML as a type: text becomes markup only by being escaped. Pure.

`Markup` is text that is already escaped. A child of the type `str` is escaped when it is inserted, so HTML in an
untrusted string is shown as text and never becomes an element. Names of elements and attributes are not escaped, so
callers must pass constants for them.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from assay.policy.reasons import escape_controls

_SELF_CLOSING_SVG: Final = frozenset({"path", "circle", "line", "polyline", "rect"})
_VOID_ELEMENTS: Final = frozenset({"meta", "link", "input", "br", "hr"}) | _SELF_CLOSING_SVG
_MAX_ATTRIBUTE_CHARS: Final = 100_000
"""Maximum length of an attribute's value in characters. A longer value is cut."""
_MAX_URL_CHARS: Final = 2000


class Markup(str):
    """HTML text that is already escaped. Other modules create it only from constants."""

    __slots__ = ()


Child: TypeAlias = "Markup | str | None"
_EMPTY: Final = Markup("")


def escape_text(content: str) -> Markup:
    """Escape untrusted text for HTML. Control and bidirectional characters become visible, and long text is cut."""
    return Markup(html.escape(escape_controls(content)))


def element(name: str, /, *children: Child, **attributes: str | int | None) -> Markup:
    """Return an HTML or SVG element.

    An attribute with the value None is left out. In the name of an attribute, ``_`` at the end is removed (``class_``),
    and any other ``_`` becomes ``-`` (``aria_label``).
    """
    stated = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(escape_controls(str(value), _MAX_ATTRIBUTE_CHARS))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID_ELEMENTS and not children:
        return Markup(f"<{name}{stated}>" if name not in _SELF_CLOSING_SVG else f"<{name}{stated}/>")
    return Markup(f"<{name}{stated}>{join_markup(children)}</{name}>")


def join_markup(children: Iterable[Child]) -> Markup:
    """Concatenate `children`. Plain strings are escaped; None and empty strings are left out."""
    return Markup("".join(child if isinstance(child, Markup) else escape_text(child) for child in children if child))


def escape_lines(content: str) -> Markup:
    """Escape a text of several lines and keep its line breaks."""
    return Markup("\n".join(escape_text(line) for line in content.split("\n")))


def join_separated(children: Iterable[Child], separator: str) -> Markup:
    """Join the children that are not empty, with `separator` between them. Plain strings are escaped."""
    kept = [piece if isinstance(piece, Markup) else escape_text(piece) for piece in children if piece]
    return Markup(escape_text(separator).join(kept))


def markup_if(condition: object, piece: Markup) -> Markup:
    """Return `piece` if `condition` is true, else empty markup."""
    return piece if condition else _EMPTY


def link_if_safe(content: str, address: str | None) -> Markup:
    """Return `content` as a link to `address` if `is_safe_web_url` accepts the address, else as text.

    Call this only with an address from a verified certificate. An address that only the index states must not become a
    link, because users would take it for verified.
    """
    return escape_text(content) if address is None or not is_safe_web_url(address) else _render_link(content, address)


def is_safe_web_url(address: str) -> bool:
    """Return True if `address` is an http or https URL whose host browsers and users read the same way.

    The function rejects addresses of more than 2,000 characters. It also rejects addresses with spaces, control
    characters, non-ASCII characters, ``@`` or a backslash.
    """
    if len(address) > _MAX_URL_CHARS or not address.isascii() or not address.isprintable() or " " in address:
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    # Browsers read "\" as "/", and users take the text before "@" for the host.
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not set("\\@") & set(address)


def _render_link(content: str, address: str) -> Markup:
    return element("a", content, href=address, rel="noreferrer nofollow")
