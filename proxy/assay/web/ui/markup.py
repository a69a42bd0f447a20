"""HTML as a type: text becomes markup by being escaped, and in no other way. Pure.

`Markup` is what has been escaped; every child that is a plain string is escaped where it is put in, so forgetting to
escape shows as ``&lt;``, never as an element. Names of elements and attributes are ours alone.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from assay.policy.reasons import printable

_SVG_VOID: Final = frozenset({"path", "circle", "line", "polyline", "rect"})
_VOID: Final = frozenset({"meta", "input", "br", "hr"}) | _SVG_VOID
_LONGEST_ATTRIBUTE: Final = 100_000
"""Characters; the longest of ours are the points of a line."""
_LONGEST_LINK: Final = 2000


class Markup(str):
    """A piece of HTML. Made by this module alone."""

    __slots__ = ()


Child: TypeAlias = "Markup | str | None"
_EMPTY: Final = Markup("")


def text(content: str) -> Markup:
    """A text of anybody's: control and direction characters made visible, the rest escaped."""
    return Markup(html.escape(printable(content)))


def element(name: str, /, *children: Child, **attributes: str | int | None) -> Markup:
    """An element of HTML or SVG, without attributes that are None; ``_`` stands for ``-``, at the end for nothing."""
    stated = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(printable(str(value), _LONGEST_ATTRIBUTE))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Markup(f"<{name}{stated}>" if name not in _SVG_VOID else f"<{name}{stated}/>")
    return Markup(f"<{name}{stated}>{joined(children)}</{name}>")


def joined(children: Iterable[Child]) -> Markup:
    """Several pieces, one behind the other."""
    return Markup("".join(child if isinstance(child, Markup) else text(child) for child in children if child))


def lines(content: str) -> Markup:
    """A text of ours whose line ends stay."""
    return Markup("\n".join(text(line) for line in content.split("\n")))


def words(pieces: Iterable[Child], between: str) -> Markup:
    """Several pieces with a text between them."""
    kept = [piece if isinstance(piece, Markup) else text(piece) for piece in pieces if piece]
    return Markup(text(between).join(kept))


def when(condition: object, piece: Markup) -> Markup:
    """`piece`, or nothing."""
    return piece if condition else _EMPTY


def linked(content: str, address: str | None) -> Markup:
    """`content` as a link where `address` is one of http or https with a host and nothing strange; else as text.

    Only for addresses that a certificate proves: where an index's word leads is not shown as ours.
    """
    return text(content) if address is None or not is_web_address(address) else _link(content, address)


def is_web_address(address: str) -> bool:
    """Whether a browser, too, takes `address` for http or https and for the host that a reader takes it for."""
    if len(address) > _LONGEST_LINK or not address.isascii() or not address.isprintable() or " " in address:
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    # A browser takes "\" for "/", and "user@" before a host is made to be misread.
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not set("\\@") & set(address)


def _link(content: str, address: str) -> Markup:
    return element("a", content, href=address, rel="noreferrer nofollow")
