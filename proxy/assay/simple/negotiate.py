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

__all__ = ["Format", "etag_matches", "negotiate", "negotiate_coding"]


class Format(StrEnum):
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
        return self.value if self is Format.JSON else f"{self.value}; charset=utf-8"


# "latest" is answered with the version that it means, said in Content-Type (PEP 691, "Version + Format Selection").
_LATEST = {
    "application/vnd.pypi.simple.latest+json": Format.JSON.value,
    "application/vnd.pypi.simple.latest+html": Format.HTML.value,
}
_LONGEST_HEADER = 8192
_REMEMBERED = 512
"""Characters of a header up to which its outcome is remembered: the clients of one kind all send the same few."""
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_RANGE = re.compile(rf"(\*/\*|{_WORD}/\*|{_WORD}/{_WORD})", re.ASCII)
_CODING = re.compile(rf"({_WORD})", re.ASCII)
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?", re.ASCII)
_ENTITY_TAGS = re.compile(r'(?:[ \t]*(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"[ \t]*(?:,|\Z)|[ \t]*,)+')
_ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")')


def negotiate(accept: str | None, format_param: str | None = None) -> Format:
    """The representation for a request.

    Args:
        accept: the ``Accept`` header, several of them joined by commas; None where there is none.
        format_param: the decoded value of ``?format=``, which goes before ``Accept``; an unknown one is ignored.
    """
    short = len(accept or "") + len(format_param or "") <= _REMEMBERED
    return (_negotiated if short else _negotiated.__wrapped__)(accept, format_param)


@lru_cache(maxsize=512)
def _negotiated(accept: str | None, format_param: str | None) -> Format:
    if format_param is not None:
        # An unencoded "+" in a query arrives as a space.
        asked = format_param.strip().lower().replace(" ", "+")
        asked = _LATEST.get(asked, asked)
        if asked in set(Format):
            return Format(asked)
    weights = _weights(accept, _RANGE)
    if not weights:
        return Format.TEXT_HTML
    ranges: dict[str, float] = {}
    for name, weight in weights.items():
        kind = _LATEST.get(name, name)
        ranges[kind] = max(weight, ranges.get(kind, 0.0))
    best = max(Format, key=lambda offer: _weight_of(offer, ranges))
    return best if _weight_of(best, ranges) > 0 else Format.TEXT_HTML


def _weight_of(offer: Format, ranges: dict[str, float]) -> float:
    """RFC 9110 section 12.5.1: the most specific range counts: the type itself, then ``type/*``, then ``*/*``."""
    kind = offer.value.partition("/")[0]
    for name in (offer.value, f"{kind}/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0


def negotiate_coding(accept_encoding: str | None, offered: Sequence[str]) -> str:
    """The content coding for an answer: one of `offered`, the server's favourite first, or ``identity``.

    ``*`` stands for the last one, which all understand.


    No header means identity: RFC 9110 section 12.5.3 would allow any, but whoever sends none may understand none.
    """
    chosen = _coding if len(accept_encoding or "") <= _REMEMBERED else _coding.__wrapped__
    return chosen(accept_encoding, tuple(offered))


@lru_cache(maxsize=512)
def _coding(accept_encoding: str | None, offered: tuple[str, ...]) -> str:
    weights = _weights(accept_encoding, _CODING)
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
    if if_none_match is None or len(if_none_match) > _LONGEST_HEADER:
        return False
    if if_none_match == etag:
        return True
    if if_none_match.strip() == "*":
        return True
    if _ENTITY_TAGS.fullmatch(if_none_match.strip()) is None:
        return False
    return etag.removeprefix("W/") in _ENTITY_TAG.findall(if_none_match)


def _weights(header: str | None, name: re.Pattern[str]) -> dict[str, float]:
    """Each range of a header with its weight; empty where there is no header or one part of it is malformed."""
    if header is None or len(header) > _LONGEST_HEADER:
        return {}
    weights: dict[str, float] = {}
    for element in _elements(header):
        first, *parameters = element.split(";")
        match = name.fullmatch(first.strip())
        weight = _weight(parameters)
        if match is None or weight is None:
            return {}
        kind = match[1].lower()
        weights[kind] = max(weight, weights.get(kind, 0.0))
    return weights


def _elements(header: str) -> Iterator[str]:
    """The elements of a list; empty ones are ignored (RFC 9110 section 5.6.1.2), quoted strings hold no separators."""
    for element in _QUOTED.sub('""', header).split(","):
        if element.strip():
            yield element


def _weight(parameters: Sequence[str]) -> float | None:
    """The ``q`` among parameters, 1 where there is none, None where it is malformed. Others do not matter to us."""
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            return float(value) if _WEIGHT.fullmatch(value := value.strip()) is not None else None
    return 1.0
