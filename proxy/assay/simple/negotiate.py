"""Content negotiation: format and content coding of a response, and `If-None-Match`. Pure; no input raises an error.

This module reads `Accept`, ``?format=`` (PEP 691), `Accept-Encoding` and `If-None-Match`. A malformed header counts as
absent. PEP 691 lets the server choose the response if the client accepts no offered format. Assay then sends
``text/html``, as PyPI does, and not status 406, because many such clients can still use the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache

__all__ = ["PageFormat", "etag_matches", "negotiate", "negotiate_coding"]


class PageFormat(StrEnum):
    """Formats of a page. Each value is a media type.

    The format with the fewest fields comes first: HTML has no size, no upload time and no versions (PEP 700).
    """

    TEXT_HTML = "text/html"
    HTML = "application/vnd.pypi.simple.v1+html"
    JSON = "application/vnd.pypi.simple.v1+json"

    @property
    def content_type(self) -> str:
        """Value of ``Content-Type``. JSON has no charset parameter (RFC 8259 section 11)."""
        return self.value if self is PageFormat.JSON else f"{self.value}; charset=utf-8"


# A request for "latest" gets the newest version, which Content-Type names (PEP 691, "Version + Format Selection").
_LATEST_ALIASES = {
    "application/vnd.pypi.simple.latest+json": PageFormat.JSON.value,
    "application/vnd.pypi.simple.latest+html": PageFormat.HTML.value,
}
_MAX_HEADER_CHARACTERS = 8192
_MAX_MEMOIZED_CHARACTERS = 512
"""Maximum length of a header whose result is cached. Most clients send one of a few common headers."""
_TCHARS = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_MEDIA_RANGE = re.compile(rf"(\*/\*|{_TCHARS}/\*|{_TCHARS}/{_TCHARS})", re.ASCII)
_CONTENT_CODING = re.compile(rf"({_TCHARS})", re.ASCII)
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?", re.ASCII)
_ENTITY_TAGS = re.compile(r'(?:[ \t]*(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"[ \t]*(?:,|\Z)|[ \t]*,)+')
_ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")')


def negotiate(accept: str | None, format_param: str | None = None) -> PageFormat:
    """Return the format for a response: the one with the highest weight (RFC 9110 section 12.5.1).

    If several formats have the highest weight, formats that the client names precede formats that only a wildcard
    matches. Among named formats, the one with the most fields is returned. If the client sends only ``*/*``, it gets
    ``text/html``, as from PyPI.

    Args:
        accept: the ``Accept`` header, with several headers joined by commas; None if the request has no such header.
        format_param: the decoded value of ``?format=``. It overrides ``Accept``, but an unknown value is ignored.
    """
    short = len(accept or "") + len(format_param or "") <= _MAX_MEMOIZED_CHARACTERS
    return (_negotiate_memoized if short else _negotiate_memoized.__wrapped__)(accept, format_param)


@lru_cache(maxsize=512)
def _negotiate_memoized(accept: str | None, format_param: str | None) -> PageFormat:
    if format_param is not None:
        # An unencoded "+" in a query arrives as a space.
        requested = format_param.strip().lower().replace(" ", "+")
        requested = _LATEST_ALIASES.get(requested, requested)
        if requested in set(PageFormat):
            return PageFormat(requested)
    weights = _parse_weights(accept, _MEDIA_RANGE)
    if not weights:
        return PageFormat.TEXT_HTML
    ranges: dict[str, float] = {}
    for name, weight in weights.items():
        kind = _LATEST_ALIASES.get(name, name)
        ranges[kind] = max(weight, ranges.get(kind, 0.0))
    best = max(PageFormat, key=lambda offer: _rank_offer(offer, ranges))
    return best if _find_weight(best, ranges) > 0 else PageFormat.TEXT_HTML


def _rank_offer(offer: PageFormat, weights: dict[str, float]) -> tuple[float, bool, int]:
    """Return the sort key of a format: its weight, whether the client names it, and its place in `PageFormat`.

    The place is negative if only wildcards match the format. Among such formats, the first in `PageFormat` is
    preferred.
    """
    place, is_named = list(PageFormat).index(offer), offer.value in weights
    return _find_weight(offer, weights), is_named, place if is_named else -place


def _find_weight(page_format: PageFormat, weights: dict[str, float]) -> float:
    """Return the weight of a format from the most specific range that matches it, or 0.0 (RFC 9110 section 12.5.1).

    The most specific range is the media type itself, then ``type/*``, then ``*/*``.
    """
    kind = page_format.value.partition("/")[0]
    for name in (page_format.value, f"{kind}/*", "*/*"):
        if name in weights:
            return weights[name]
    return 0.0


def negotiate_coding(accept_encoding: str | None, offered: Sequence[str]) -> str:
    """Return the content coding for a response: one of `offered`, or ``identity``.

    The coding with the highest weight is returned. If several have the highest weight, the first of them in `offered`
    is returned. The wildcard ``*`` matches only the last coding in `offered`. A request without the header gets
    ``identity``. RFC 9110 section 12.5.3 permits any coding in that case, but the client may support none of them.

    Args:
        accept_encoding: the ``Accept-Encoding`` header; None if the request has no such header.
        offered: the codings that Assay offers, in order of Assay's preference. Every client can decode the last one.
    """
    chosen = (
        _negotiate_coding_memoized
        if len(accept_encoding or "") <= _MAX_MEMOIZED_CHARACTERS
        else _negotiate_coding_memoized.__wrapped__
    )
    return chosen(accept_encoding, tuple(offered))


@lru_cache(maxsize=512)
def _negotiate_coding_memoized(accept_encoding: str | None, offered: tuple[str, ...]) -> str:
    weights = _parse_weights(accept_encoding, _CONTENT_CODING)
    if not weights:
        return "identity"
    if "x-gzip" in weights:  # "A recipient SHOULD consider x-gzip to be equivalent to gzip" (section 8.4.1.3)
        weights.setdefault("gzip", weights["x-gzip"])
    best, best_weight = "identity", weights.get("identity", 0.0)
    for coding in offered:
        # Clients that send "*" expect gzip.
        weight = weights.get(coding, weights.get("*", 0.0) if coding == offered[-1] else 0.0)
        if weight > best_weight or (weight == best_weight > 0 and best == "identity"):
            best, best_weight = coding, weight
    return best


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Return whether ``If-None-Match`` matches `etag` by weak comparison (RFC 9110 sections 8.8.3.2 and 13.1.2).

    Args:
        if_none_match: the header, with several headers joined by commas. A malformed header matches nothing.
        etag: the entity tag of the current response body, in quotes, weak or strong.
    """
    if if_none_match is None or len(if_none_match) > _MAX_HEADER_CHARACTERS:
        return False
    if if_none_match == etag:
        return True
    if if_none_match.strip() == "*":
        return True
    if _ENTITY_TAGS.fullmatch(if_none_match.strip()) is None:
        return False
    return etag.removeprefix("W/") in _ENTITY_TAG.findall(if_none_match)


def _parse_weights(header: str | None, name: re.Pattern[str]) -> dict[str, float]:
    """Return the media ranges or content codings that a header lists, with their weights.

    The result is empty if the header is missing, too long, or malformed in any part. `name` matches one listed name.
    """
    if header is None or len(header) > _MAX_HEADER_CHARACTERS:
        return {}
    weights: dict[str, float] = {}
    for element in _iter_elements(header):
        first, *parameters = element.split(";")
        match = name.fullmatch(first.strip())
        weight = _parse_weight(parameters)
        if match is None or weight is None:
            return {}
        kind = match[1].lower()
        weights[kind] = max(weight, weights.get(kind, 0.0))
    return weights


def _iter_elements(header: str) -> Iterator[str]:
    """Yield the non-empty elements of a comma-separated list (RFC 9110 section 5.6.1.2).

    The content of quoted strings is removed, because a comma in a quoted string does not separate elements.
    """
    for element in _QUOTED_STRING.sub('""', header).split(","):
        if element.strip():
            yield element


def _parse_weight(parameters: Sequence[str]) -> float | None:
    """Return the parameter ``q``: 1.0 if it is missing, None if it is malformed. Ignore other parameters."""
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            return float(value) if _WEIGHT.fullmatch(value := value.strip()) is not None else None
    return 1.0
