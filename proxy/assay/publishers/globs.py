"""Globs for claims, compiled to predicates. Pure.

Globs know paths: ``*`` does not cross ``/``, ``**`` does, ``?`` is one character other than ``/``; nothing else is
special.
"""

from __future__ import annotations

import re
from collections.abc import Callable

StringPredicate = Callable[[str], bool]

_WILDCARD = re.compile(r"\*\*|\*|\?")
_REGEX_BY_WILDCARD = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


def compile_glob(pattern: str, *, ignore_case: bool = False) -> StringPredicate:
    """Whether a claim is covered by a glob; with `ignore_case`, letters of either case are the same."""
    pattern = pattern.lower() if ignore_case else pattern
    if not _WILDCARD.search(pattern):
        return (lambda claim: claim.lower() == pattern) if ignore_case else pattern.__eq__
    parts, end = "", 0
    for wild in _WILDCARD.finditer(pattern):
        parts += re.escape(pattern[end : wild.start()]) + _REGEX_BY_WILDCARD[wild[0]]
        end = wild.end()
    compiled = re.compile(parts + re.escape(pattern[end:]), re.DOTALL).fullmatch
    if ignore_case:
        return lambda claim: compiled(claim.lower()) is not None
    return lambda claim: compiled(claim) is not None


def compile_builder_pattern(pattern: str) -> StringPredicate:
    """Whether a Build Signer URI is covered; a pattern without ``@`` takes it at any ref."""
    matches = compile_glob(pattern)
    return matches if "@" in pattern else lambda uri: matches(uri.partition("@")[0])
