"""Globs for claims, compiled to predicates. Pure.

``*`` matches any number of characters except ``/``. ``**`` matches any number of characters. ``?`` matches one
character except ``/``. Every other character matches itself.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable

StringPredicate = Callable[[str], bool]

_LOWER_ASCII = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_WILDCARD = re.compile(r"\*\*|\*|\?")
_REGEX_BY_WILDCARD = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


def lower_ascii(text: str) -> str:
    """Return text with A to Z in lower case, and all other letters unchanged.

    `str.lower` would also change other letters. It maps the Kelvin sign U+212A to ``k``, for example.
    """
    return text.lower() if text.isascii() else text.translate(_LOWER_ASCII)


def compile_glob(pattern: str, *, ignore_case: bool = False) -> StringPredicate:
    """Compile a glob to a predicate for claims. With `ignore_case`, A to Z match a to z."""
    pattern = lower_ascii(pattern) if ignore_case else pattern
    if not _WILDCARD.search(pattern):
        return (lambda claim: lower_ascii(claim) == pattern) if ignore_case else pattern.__eq__
    parts, end = "", 0
    for wild in _WILDCARD.finditer(pattern):
        parts += re.escape(pattern[end : wild.start()]) + _REGEX_BY_WILDCARD[wild[0]]
        end = wild.end()
    compiled = re.compile(parts + re.escape(pattern[end:]), re.DOTALL).fullmatch
    if ignore_case:
        return lambda claim: compiled(lower_ascii(claim)) is not None
    return lambda claim: compiled(claim) is not None


def compile_builder_pattern(pattern: str) -> StringPredicate:
    """Compile a glob to a predicate for Build Signer URIs. A glob without ``@`` matches the URI at any ref."""
    matches = compile_glob(pattern)
    return matches if "@" in pattern else lambda uri: matches(uri.partition("@")[0])
