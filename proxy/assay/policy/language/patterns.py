"""Patterns for project names, compiled to predicates. Pure.

In a pattern, ``*`` matches any number of characters and ``?`` matches one character of a normalised name (PEP 503). The
globs for claims have other rules (`publishers.globs`).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from assay.publishers.globs import StringPredicate

_NAME_PATTERN = re.compile(r"[a-z0-9*?](?:[a-z0-9*?-]*[a-z0-9*?])?", re.ASCII)


def normalize_name_pattern(text: str) -> str:
    """Return a pattern for project names in normalised form: ``Acme_*`` becomes ``acme-*``.

    Raises:
        ValueError: the text cannot match a project name. It contains a character that is not permitted in a name or
            pattern, or it begins or ends with a separator.
    """
    normalized = re.sub(r"[-_.]+", "-", text).lower() if text.isascii() else ""
    if not _NAME_PATTERN.fullmatch(normalized):
        raise ValueError('a project name or a pattern such as "acme-*"')
    return normalized


def covers_pattern(wider: str, pattern: str) -> bool:
    """Return True only if the normalised pattern `wider` matches every name that the normalised `pattern` matches.

    A wildcard of `pattern` is covered by a wildcard of `wider`: ``*`` only by ``*``. False may be returned for two
    patterns that match the same names in different spellings, such as ``?*`` and ``*?``.
    """
    positions = _skip_stars(wider, {0})
    for character in pattern:
        after = {each for each in positions if wider[each : each + 1] == "*"}
        after |= {
            each + 1
            for each in positions
            if (wider[each : each + 1] == "?" and character != "*")
            or (wider[each : each + 1] == character and character not in "*?")
        }
        positions = _skip_stars(wider, after)
    return len(wider) in positions


def _skip_stars(pattern: str, positions: set[int]) -> set[int]:
    """Return the positions in `pattern`, with those after each ``*`` at a position, which may match nothing."""
    found = set(positions)
    for position in range(min(positions, default=len(pattern)), len(pattern)):
        if position in found and pattern[position] == "*":
            found.add(position + 1)
    return found


def compile_name_patterns(patterns: Iterable[str]) -> StringPredicate:
    """Return a predicate that is true for each normalised name that one of the normalised patterns matches."""
    literal = frozenset(pattern for pattern in patterns if not set(pattern) & set("*?"))
    wild = [re.compile(fnmatch.translate(pattern)).match for pattern in patterns if pattern not in literal]
    return lambda name: name in literal or any(match(name) for match in wild)
