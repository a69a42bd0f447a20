"""Search terms: a name, a requirement, a filename or a URL leads to a project. Pure.

Users paste what they have: a line of a requirements file, a filename from an error message, the address of a
page on PyPI, or an address of this proxy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name

from assay.simple.fields import parse_version
from assay.simple.filename import has_distribution_ending, parse_filename, possible_projects

MAX_SEARCH_CHARS: Final = 512
_NAME: Final = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]{0,254}[A-Z0-9])?", re.ASCII | re.IGNORECASE)
_OPTIONS: Final = re.compile(r"\s+(?:--?[a-z]|#|\\).*", re.ASCII | re.DOTALL)
"""End of a line in a requirements file: options such as ``--hash``, a comment, or a continued line."""
_MARKERS: Final = frozenset({"project", "simple", "pypi", "p", "integrity"})
"""Path segments of PyPI and of this proxy that come directly before the name of a project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTarget:
    """Project, and possibly a version, to which a search leads."""

    project: NormalizedName
    version: str | None = None
    """Version in its normal form (PEP 440), if the search names one."""


def find_search_target(text: str) -> SearchTarget | None:
    """Return the project that a search term names, or None if it names no project. No term raises an error."""
    name, at, _ = text.partition(" @ ")  # PEP 508: the name, and the address of a file
    text = (name if at else text).strip()[:MAX_SEARCH_CHARS]
    if "://" in text:
        return _find_in_url(text)
    if "/" in text or has_distribution_ending(text.removesuffix(".metadata")):
        return _find_in_path(text.split("/"))
    return _find_in_requirement(_OPTIONS.sub("", text))


def _find_in_url(text: str) -> SearchTarget | None:
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return _find_in_path(parts.path.split("/")) if parts.scheme in {"http", "https"} else None


def _find_in_path(segments: Sequence[str]) -> SearchTarget | None:
    named = [unquote(each) for each in segments if each]
    if named and has_distribution_ending(named[-1].removesuffix(".metadata")):
        return _find_in_filename(named[-1].removesuffix(".metadata"))
    for place, segment in enumerate(named[:-1]):
        if segment in _MARKERS and _NAME.fullmatch(named[place + 1]):
            version = named[place + 2] if place + 2 < len(named) else ""
            return _make_target(named[place + 1], version)
    return None


def _find_in_filename(filename: str) -> SearchTarget | None:
    for project in possible_projects(filename):
        distribution = parse_filename(filename, project).distribution
        return SearchTarget(project=project, version=None if distribution is None else str(distribution.version))
    return None


def _find_in_requirement(text: str) -> SearchTarget | None:
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, ValueError, RecursionError):
        return None
    pinned = [each.version for each in requirement.specifier if each.operator in {"==", "==="}]
    return _make_target(requirement.name, pinned[0] if len(pinned) == 1 else "")


def _make_target(name: str, version: str) -> SearchTarget | None:
    if not _NAME.fullmatch(name):
        return None
    parsed = parse_version(version)
    return SearchTarget(project=canonicalize_name(name), version=None if parsed is None else str(parsed))
