"""Which representation a client gets, by what it says it accepts. Pure; never an error.

Owns `Accept`, ``?format=`` (PEP 691), `Accept-Encoding` and `If-None-Match`. A header that cannot be read counts as if
it were absent, and where nothing offered is acceptable ``text/html`` is served, as PyPI does (PEP 691 leaves a server
the choice of a default): a 406 would only break what might have worked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache

__all__ = ["PageFormat", "etag_matches", "negotiate", "negotiate_coding"]


class PageFormat(StrEnum):
    """The representations of a page; each value is a media type.

    The order is the server's preference among what a client likes equally: a bare ``*/*`` is a person or an old
    installer, and PyPI gives it ``text/html``.
    """

    TEXT_HTML = "text/html"
    HTML = "application/vnd.pypi.simple.v1+html"
    JSON = "application/vnd.pypi.simple.v1+json"

    @property
    def content_type(self) -> str:
        """The whole ``Content-Type``. JSON has no charset parameter (RFC 8259 section 11)."""
        return self.value if self is PageFormat.JSON else f"{self.value}; charset=utf-8"


# "latest" is answered with the version that it means, said in Content-Type (PEP 691, "Version + Format Selection").
_LATEST_ALIASES = {
    "application/vnd.pypi.simple.latest+json": PageFormat.JSON.value,
    "application/vnd.pypi.simple.latest+html": PageFormat.HTML.value,
}
_MAX_HEADER_CHARACTERS = 8192
_MAX_MEMOIZED_CHARACTERS = 512
"""Characters of a header up to which its outcome is remembered: the clients of one kind all send the same few."""
_TCHARS = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_MEDIA_RANGE = re.compile(rf"(\*/\*|{_TCHARS}/\*|{_TCHARS}/{_TCHARS})", re.ASCII)
_CONTENT_CODING = re.compile(rf"({_TCHARS})", re.ASCII)
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?", re.ASCII)
_ENTITY_TAGS = re.compile(r'(?:[ \t]*(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"[ \t]*(?:,|\Z)|[ \t]*,)+')
_ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")')


def negotiate(accept: str | None, format_param: str | None = None) -> PageFormat:
    """The representation for a request.

    Args:
        accept: the ``Accept`` header, several of them joined by commas; None where there is none.
        format_param: the decoded value of ``?format=``, which goes before ``Accept``; an unknown one is ignored.
    """
    short = len(accept or "") + len(format_param or "") <= _MAX_MEMOIZED_CHARACTERS
    return (_negotiate_memoized if short else _negotiate_memoized.__wrapped__)(accept, format_param)


@lru_cache(maxsize=512)
def _negotiate_memoized(accept: str | None, format_param: str | None) -> PageFormat:
    if format_param is not None:
        # An unencoded "+" in a query arrives as a space.
        asked = format_param.strip().lower().replace(" ", "+")
        asked = _LATEST_ALIASES.get(asked, asked)
        if asked in set(PageFormat):
            return PageFormat(asked)
    weights = _parse_weights(accept, _MEDIA_RANGE)
    if not weights:
        return PageFormat.TEXT_HTML
    ranges: dict[str, float] = {}
    for name, weight in weights.items():
        kind = _LATEST_ALIASES.get(name, name)
        ranges[kind] = max(weight, ranges.get(kind, 0.0))
    best = max(PageFormat, key=lambda offer: _find_weight(offer, ranges))
    return best if _find_weight(best, ranges) > 0 else PageFormat.TEXT_HTML


def _find_weight(page_format: PageFormat, weights: dict[str, float]) -> float:
    """RFC 9110 section 12.5.1: the most specific range counts: the type itself, then ``type/*``, then ``*/*``."""
    kind = page_format.value.partition("/")[0]
    for name in (page_format.value, f"{kind}/*", "*/*"):
        if name in weights:
            return weights[name]
    return 0.0


def negotiate_coding(accept_encoding: str | None, offered: Sequence[str]) -> str:
    """The content coding for an answer: one of `offered`, the server's favourite first, or ``identity``.

    ``*`` stands for the last one, which all understand.


    No header means identity: RFC 9110 section 12.5.3 would allow any, but whoever sends none may understand none.
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
        # "*" is written by those who think of gzip.
        weight = weights.get(coding, weights.get("*", 0.0) if coding == offered[-1] else 0.0)
        if weight > best_weight or (weight == best_weight > 0 and best == "identity"):
            best, best_weight = coding, weight
    return best


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Whether ``If-None-Match`` names `etag`, compared weakly (RFC 9110 sections 8.8.3.2 and 13.1.2).

    Args:
        if_none_match: the header, several of them joined by commas; one that cannot be read matches nothing.
        etag: the quoted tag of what would be sent, weak or strong.
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
    """Each range of a header with its weight; empty where there is no header or one part of it is malformed."""
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
    """The elements of a list; empty ones are ignored (RFC 9110 section 5.6.1.2), quoted strings hold no separators."""
    for element in _QUOTED_STRING.sub('""', header).split(","):
        if element.strip():
            yield element


def _parse_weight(parameters: Sequence[str]) -> float | None:
    """The ``q`` among parameters, 1 where there is none, None where it is malformed. Others do not matter to us."""
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            return float(value) if _WEIGHT.fullmatch(value := value.strip()) is not None else None
    return 1.0
