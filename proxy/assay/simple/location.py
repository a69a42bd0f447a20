"""Where a listed file is: its absolute URL, what a request for it is matched on, what clients are given. Pure.

The three forms are made here and nowhere else, so that `/files/{host}/{path}` maps to and from upstream the same way
at parsing and at serving. Judges nothing: a URL that leads nowhere (no host, characters that no URL has) still has a
location, which begins with a slash where others have their host, and words that refuse it.

Two URLs may share a location (``%2F`` and ``/``, ``http`` and ``https``). That is harmless: the location ends with the
filename, and one filename with two digests on one page is withheld (`assay.policy.checks`).
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin

__all__ = ["FileAddress", "basename", "decode_location", "resolve_address"]

# RFC 3986 section 3: scheme, and what reserved and unreserved characters a path may hold besides "%" itself.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://)?", re.ASCII)
_PATH_SAFE = "%/:@!$&'()*+,;=~-._[]"
_QUOTE_UNCHANGED = re.compile(f"[A-Za-z0-9{re.escape(_PATH_SAFE)}]*", re.ASCII)
"""What `quote` would return as it is; nearly every address is so, and it takes 1.3 µs to find out."""
_DOT_SEGMENT = re.compile(r"(?:\A|/)(?:\.|%2[eE]){1,2}(?:/|\Z)", re.ASCII)
_URL_CHARACTERS = re.compile(r"[!-\[\]-~]*", re.ASCII)


class FileAddress(NamedTuple):
    """The forms of one file's address; see `assay.simple.model.File` for each."""

    url: str
    location: str
    route: str
    refusal: str | None
    """Why no request may be made for this URL, in words to follow the filename; None where one may."""


def resolve_address(reference: str, base_url: str) -> FileAddress:
    """The address that `reference` on the page at `base_url` means. Never raises.

    Args:
        reference: the page's ``url`` or ``href``, relative or absolute, with any query and fragment.
        base_url: the absolute URL of the page (or of its ``<base>``).
    """
    url = reference.partition("#")[0]
    scheme = _SCHEME.match(url)
    if scheme is None and _URL_CHARACTERS.fullmatch(url) is not None:
        try:
            url = urljoin(base_url, url)
        except ValueError:
            return _make_refused_address(url, "has a URL that cannot be resolved")
        scheme = _SCHEME.match(url)
    if _URL_CHARACTERS.fullmatch(url) is None:
        # RFC 3986 has no such characters, and parsers disagree on them: urllib strips tabs, browsers turn \ into /.
        return _make_refused_address(url, "has a URL with a space, a backslash, or a character outside printable ASCII")
    if scheme is None or not scheme[0].endswith("//"):
        return _make_refused_address(url, "has a URL without a host")
    authority, slash, path = url[scheme.end() :].partition("?")[0].partition("/")
    host = authority.rpartition("@")[2].lower()
    if not host:
        return _make_refused_address(url, "has a URL without a host")
    if "%" in host:
        # No name or address has one, and once decoded it could be the slash that stands for no host at all.
        return _make_refused_address(url, "has a URL with an encoded host")
    if _DOT_SEGMENT.search(path) is not None:
        # Whoever resolves the address takes them away, some the encoded ones too: he would ask for another file.
        return _make_refused_address(url, 'has a URL with "." or ".." in its path')
    # Clients resolve the relative link that this becomes, and urllib makes one slash of two on the way (pip uses it).
    route = f"{host}{slash}{path}"
    if _QUOTE_UNCHANGED.fullmatch(route) is None:
        route = quote(route, safe=_PATH_SAFE)
    route = route.replace("//", "/%2F")
    return FileAddress(url, decode_location(route), route, None)


def _make_refused_address(url: str, reason: str) -> FileAddress:
    """The place of a URL that nobody may ask for: it begins with a slash, where a request has its host."""
    address = f"/{url.partition('?')[0]}"
    return FileAddress(url, decode_location(address), quote(address, safe=_PATH_SAFE, errors="replace"), reason)


def decode_location(route: str) -> str:
    """``host[:port]/path`` as it came in a request or stands in a URL, percent-decoded once.

    Bytes that are no UTF-8 become U+FFFD: no approved file's address has them.
    """
    return unquote(route, errors="replace") if "%" in route else route


def basename(location: str) -> str:
    """The decoded last segment of a `location`; empty for a directory or a bare host."""
    return location.rpartition("/")[2] if "/" in location else ""
