"""Addresses of listed files: the absolute upstream URL, the location, and the route for clients. Pure.

The *route* of a file is the path after ``/files/`` in the URL that clients get. The *location* of a file is its decoded
route. When a client requests a file, Assay decodes the requested path in the same way and finds the file with an equal
location. Only this module makes routes and locations, so requests always match the URLs on pages.

A URL that cannot be used, for example one without a host, gets a location and a reason for the refusal. This location
begins with a slash instead of a host. No request has such a location, so no request finds the file.

Two URLs can have the same location (``%2F`` and ``/``, ``http`` and ``https``). The collision is harmless: a location
ends with the filename, and policy withholds a filename that has two digests on one page.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin

__all__ = ["FileAddress", "basename", "decode_location", "has_hostless_scheme", "resolve_address"]

# RFC 3986 section 3: the scheme, and the reserved and unreserved characters that a path may contain besides "%".
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://)?", re.ASCII)
_PATH_SAFE = "%/:@!$&'()*+,;=~-._[]"
_QUOTE_UNCHANGED = re.compile(f"[A-Za-z0-9{re.escape(_PATH_SAFE)}]*", re.ASCII)
"""Paths that `quote` would return unchanged. Nearly every path matches, and a match saves the call of `quote`."""
_HOST_SCHEMES = frozenset({"http", "https", "ftp", "file"})
"""Schemes of URLs that name a file on a host (RFC 3986, RFC 8089)."""
_DOT_SEGMENT = re.compile(r"(?:\A|/)(?:\.|%2[eE]){1,2}(?:/|\Z)", re.ASCII)
_URL_CHARACTERS = re.compile(r"[!-\[\]-~]*", re.ASCII)


class FileAddress(NamedTuple):
    """Address of one file: the URL, location and route for `assay.simple.model.File`, and the reason of a refusal."""

    url: str
    location: str
    route: str
    refusal: str | None
    """Reason why this URL must not be requested, such as ``has a URL without a host``; None for a valid URL."""


def resolve_address(reference: str, base_url: str) -> FileAddress:
    """Resolve `reference` on the page at `base_url`. No input raises an error; an unusable reference is refused.

    Args:
        reference: ``url`` or ``href`` of the page's entry, relative or absolute, with any query and fragment.
        base_url: the absolute URL of the page, or the URL of the page's ``<base>``.
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
        # RFC 3986 allows no such characters, and parsers treat them differently: urllib strips tabs, and browsers turn
        # \ into /.
        return _make_refused_address(url, "has a URL with a space, a backslash, or a character outside printable ASCII")
    if scheme is None or not scheme[0].endswith("//"):
        return _make_refused_address(url, "has a URL without a host")
    authority, slash, path = url[scheme.end() :].partition("?")[0].partition("/")
    host = authority.rpartition("@")[2].lower()
    if not host:
        return _make_refused_address(url, "has a URL without a host")
    if "%" in host:
        # No host name or IP address contains "%". Decoding could produce the leading slash of a refused address.
        return _make_refused_address(url, "has a URL with a percent-encoded host")
    if _DOT_SEGMENT.search(path) is not None:
        # Clients and servers remove dot segments, some even encoded ones, and would then request another file.
        return _make_refused_address(url, 'has a URL with "." or ".." in its path')
    # Clients resolve the route as a relative link, and urllib, which pip uses, merges two slashes into one.
    route = f"{host}{slash}{path}"
    if _QUOTE_UNCHANGED.fullmatch(route) is None:
        route = quote(route, safe=_PATH_SAFE)
    route = route.replace("//", "/%2F")
    return FileAddress(url, decode_location(route), route, None)


def has_hostless_scheme(reference: str) -> bool:
    """Return whether a link has a scheme without a host, such as ``mailto:``, so that it cannot lead to a file."""
    scheme = _SCHEME.match(reference)
    return scheme is not None and not scheme[0].endswith("//") and scheme[1].lower() not in _HOST_SCHEMES


def _make_refused_address(url: str, reason: str) -> FileAddress:
    """Return the address of a URL that must not be requested. Its location begins with a slash instead of a host."""
    address = f"/{url.partition('?')[0]}"
    return FileAddress(url, decode_location(address), quote(address, safe=_PATH_SAFE, errors="replace"), reason)


def decode_location(route: str) -> str:
    """Return ``host[:port]/path`` of a request or URL, percent-decoded once.

    Bytes that are not UTF-8 become U+FFFD, both in the addresses on pages and in requests.
    """
    return unquote(route, errors="replace") if "%" in route else route


def basename(location: str) -> str:
    """Return the last segment of a decoded `location`; an empty text for a directory or a bare host."""
    return location.rpartition("/")[2] if "/" in location else ""
