"""Patterns for project names and for claims, compiled to predicates. Pure.

Project patterns are fnmatch's, after the normalisation of names (PEP 503). Globs in claims know paths: ``*`` does not
cross ``/``, ``**`` does, ``?`` is one character other than ``/``; nothing else is special.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable

StringPredicate = Callable[[str], bool]

_NAME_PATTERN = re.compile(r"[A-Za-z0-9._*?\[\]!-]+", re.ASCII)
_WILDCARD = re.compile(r"\*\*|\*|\?")
_REGEX_BY_WILDCARD = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


def normalize_name_pattern(text: str) -> str:
    """A pattern for project names in its normalised spelling: ``Acme_*`` is ``acme-*``.

    Raises:
        ValueError: it holds what no project's name and no pattern can.
    """
    if not _NAME_PATTERN.fullmatch(text):
        raise ValueError('a project\'s name or a pattern such as "acme-*"')
    return re.sub(r"[-_.]+", "-", text).lower()


def compile_name_patterns(patterns: Iterable[str]) -> StringPredicate:
    """Whether a normalised name is covered by any of these normalised patterns."""
    literal = frozenset(pattern for pattern in patterns if not set(pattern) & set("*?["))
    wild = [re.compile(fnmatch.translate(pattern)).match for pattern in patterns if pattern not in literal]
    return lambda name: name in literal or any(match(name) for match in wild)


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
