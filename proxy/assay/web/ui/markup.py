"""HTML as a type: text becomes markup by being escaped, and in no other way. Pure.

`Markup` is what has been escaped; every child that is a plain string is escaped where it is put in, so forgetting to
escape shows as ``&lt;``, never as an element. Names of elements and attributes are ours alone.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from assay.policy.reasons import escape_controls

_SELF_CLOSING_SVG: Final = frozenset({"path", "circle", "line", "polyline", "rect"})
_VOID_ELEMENTS: Final = frozenset({"meta", "input", "br", "hr"}) | _SELF_CLOSING_SVG
_MAX_ATTRIBUTE_CHARS: Final = 100_000
"""Characters; the longest of ours are the points of a line."""
_MAX_URL_CHARS: Final = 2000


class Markup(str):
    """A piece of HTML. Made by this module alone."""

    __slots__ = ()


Child: TypeAlias = "Markup | str | None"
_EMPTY: Final = Markup("")


def escape_text(content: str) -> Markup:
    """A text of anybody's: control and direction characters made visible, the rest escaped."""
    return Markup(html.escape(escape_controls(content)))


def element(name: str, /, *children: Child, **attributes: str | int | None) -> Markup:
    """An element of HTML or SVG, without attributes that are None; ``_`` stands for ``-``, at the end for nothing."""
    stated = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(escape_controls(str(value), _MAX_ATTRIBUTE_CHARS))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID_ELEMENTS and not children:
        return Markup(f"<{name}{stated}>" if name not in _SELF_CLOSING_SVG else f"<{name}{stated}/>")
    return Markup(f"<{name}{stated}>{join_markup(children)}</{name}>")


def join_markup(children: Iterable[Child]) -> Markup:
    """Several pieces, one behind the other."""
    return Markup("".join(child if isinstance(child, Markup) else escape_text(child) for child in children if child))


def escape_lines(content: str) -> Markup:
    """A text of ours whose line ends stay."""
    return Markup("\n".join(escape_text(line) for line in content.split("\n")))


def join_separated(children: Iterable[Child], separator: str) -> Markup:
    """Several pieces with a text between them."""
    kept = [piece if isinstance(piece, Markup) else escape_text(piece) for piece in children if piece]
    return Markup(escape_text(separator).join(kept))


def markup_if(condition: object, piece: Markup) -> Markup:
    """`piece`, or nothing."""
    return piece if condition else _EMPTY


def link_if_safe(content: str, address: str | None) -> Markup:
    """`content` as a link where `address` is one of http or https with a host and nothing strange; else as text.

    Only for addresses that a certificate proves: where an index's word leads is not shown as ours.
    """
    return escape_text(content) if address is None or not is_safe_web_url(address) else _render_link(content, address)


def is_safe_web_url(address: str) -> bool:
    """Whether a browser, too, takes `address` for http or https and for the host that a reader takes it for."""
    if len(address) > _MAX_URL_CHARS or not address.isascii() or not address.isprintable() or " " in address:
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    # A browser takes "\" for "/", and "user@" before a host is made to be misread.
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not set("\\@") & set(address)


def _render_link(content: str, address: str) -> Markup:
    return element("a", content, href=address, rel="noreferrer nofollow")
