"""Patterns for project names, compiled to predicates. Pure.

They are fnmatch's, after the normalisation of names (PEP 503). Globs for claims are `publishers.globs`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from assay.publishers.globs import StringPredicate

_NAME_PATTERN = re.compile(r"[A-Za-z0-9._*?\[\]!-]+", re.ASCII)


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
