"""Request targets to routes, as values. Pure.

Owns the shape of every address that Assay answers. Which view a target is for is said by its path as it was sent,
before anything is decoded, so that there is one way to write it; the rest is that view's as if it stood at ``/``. It is
taken apart while still encoded and each part is decoded once (pip sends ``%3A8080`` and ``%2B``); what does not fit any
route is `Nowhere`, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import parse_qs, quote, unquote

from packaging.utils import canonicalize_name

from assay.simple.location import location_of
from assay.simple.model import NormalizedName

_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]{0,254}[A-Z0-9])?", re.ASCII | re.IGNORECASE)
"""A project name (packaging specification, names and normalization), of a length that fits a record's key."""
_METADATA = ".metadata"
_PROVENANCE_PARTS = 4


@dataclass(frozen=True, slots=True)
class RootList:
    """``/simple/``."""

    format: str | None


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """``/simple/{project}/``."""

    project: NormalizedName
    format: str | None


@dataclass(frozen=True, slots=True)
class Moved:
    """An address that should be written otherwise: unnormalised name, missing slash (301)."""

    to: str
    """Relative to the request's own address, so that it holds behind any path prefix."""


@dataclass(frozen=True, slots=True)
class DistributionFile:
    """``/files/{host}/{path}``."""

    location: str


@dataclass(frozen=True, slots=True)
class DistributionMetadata:
    """``/files/{host}/{path}.metadata``."""

    location: str
    """Of the distribution itself."""


@dataclass(frozen=True, slots=True)
class FileProvenance:
    """``/integrity/{project}/{version}/{filename}/provenance``."""

    project: NormalizedName
    version: str
    filename: str


@dataclass(frozen=True, slots=True)
class Home:
    """``/``: what this is."""


@dataclass(frozen=True, slots=True)
class Alive:
    """``/healthz``."""


@dataclass(frozen=True, slots=True)
class Ready:
    """``/readyz``."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """``/metrics``."""


@dataclass(frozen=True, slots=True)
class ProjectStory:
    """``/project/{project}``: every file and its verdict, for people."""

    project: NormalizedName
    page: int
    """Of versions, from 1."""


@dataclass(frozen=True, slots=True)
class PolicyStory:
    """``/policy``: the policy in words."""


@dataclass(frozen=True, slots=True)
class Search:
    """``/search?name=…``: leads to a project's page."""

    to: str | None
    """Relative; None where what was typed is no name."""


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Anything else."""


Route: TypeAlias = (
    RootList
    | ProjectPage
    | Moved
    | DistributionFile
    | DistributionMetadata
    | FileProvenance
    | Home
    | Alive
    | Ready
    | Metrics
    | ProjectStory
    | PolicyStory
    | Search
    | Nowhere
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request target asks for."""

    prefix: str
    """Of the view: nothing for the one at ``/``, or ``/strict``."""
    route: Route
    root: str
    """The view's home page, relative to the target, so that it holds behind any further prefix."""


_FIXED: dict[str, Route] = {
    "/": Home(),
    "/healthz": Alive(),
    "/readyz": Ready(),
    "/metrics": Metrics(),
    "/policy": PolicyStory(),
}


_REMEMBERED = 512
"""Characters of a target up to which what it asks for is remembered."""


def asked_of(target: str, prefixes: Iterable[str]) -> Asked:
    """The view and route of a request target. No prefix begins another but the empty one, which is always there."""
    return (_asked_of if len(target) <= _REMEMBERED else _asked_of.__wrapped__)(target, tuple(prefixes))


@lru_cache(maxsize=4096)
def _asked_of(target: str, prefixes: tuple[str, ...]) -> Asked:
    path, _, query = target.partition("?")
    for prefix in filter(None, prefixes):
        if path == prefix:
            home = f"{prefix.rpartition('/')[2]}/"
            return Asked(prefix=prefix, route=Moved(to=_with_query(home, query)), root=home)
        if path.startswith(f"{prefix}/"):
            route = route_of(target.removeprefix(prefix))
            # What operators ask is the whole proxy's.
            own = Nowhere() if isinstance(route, Alive | Ready | Metrics) else route
            return Asked(prefix=prefix, route=own, root="../" * (path.removeprefix(prefix).count("/") - 1))
    return Asked(prefix="", route=route_of(target), root="../" * (path.count("/") - 1))


def route_of(target: str) -> Route:
    """The route of a request target in origin form (RFC 9112, 3.2.1), still percent-encoded."""
    path, _, query = target.partition("?")
    if path in _FIXED:
        return _FIXED[path]
    match path.split("/"):
        case ["", "search"]:
            return _search(query)
        case ["", "project", name] | ["", "project", name, ""]:
            return _story(name, query, slash=path.endswith("/"))
        case ["", "simple"]:
            return Moved(to=_with_query("simple/", query))
        case ["", "simple", ""]:
            return RootList(format=_format(query))
        case ["", "simple", name] | ["", "simple", name, ""]:
            return _project(name, query, slash=path.endswith("/"))
        case ["", "files", _, *rest] if any(rest):
            return _distribution(path.removeprefix("/files/"))
        case ["", "integrity", *parts] if len(parts) == _PROVENANCE_PARTS and parts[-1] == "provenance":
            return _provenance(*map(unquote, parts[:-1]))
        case _:
            return Nowhere()


def _project(raw: str, query: str, *, slash: bool) -> Route:
    name = unquote(raw)
    if not _NAME.fullmatch(name):
        return Nowhere()
    project = canonicalize_name(name)
    if name == project and slash:
        return ProjectPage(project=project, format=_format(query))
    return Moved(to=_with_query(f"../{project}/" if slash else f"{project}/", query))


def _story(raw: str, query: str, *, slash: bool) -> Route:
    name = unquote(raw)
    if not _NAME.fullmatch(name):
        return Nowhere()
    project = canonicalize_name(name)
    if name == project and not slash:
        page = _parameter(query, "page") or ""
        return ProjectStory(project=project, page=int(page) if re.fullmatch(r"[1-9]\d{0,5}", page, re.ASCII) else 1)
    return Moved(to=_with_query(f"../{project}" if slash else project, query))


def _search(query: str) -> Search:
    name = (_parameter(query, "name") or "").strip()
    return Search(to=f"project/{canonicalize_name(name)}" if _NAME.fullmatch(name) else None)


def _distribution(route: str) -> Route:
    location = location_of(route)
    if location.endswith(_METADATA):
        return DistributionMetadata(location=location.removesuffix(_METADATA))
    return DistributionFile(location=location)


def _provenance(name: str, version: str, filename: str) -> Route:
    if not _NAME.fullmatch(name) or not version or not filename:
        return Nowhere()
    return FileProvenance(project=canonicalize_name(name), version=version, filename=filename)


def _with_query(path: str, query: str) -> str:
    # Re-quoted: a query may hold anything, a Location header may not.
    return f"{path}?{quote(query, safe='=&%+,.-_~', errors='replace')}" if query else path


def _format(query: str) -> str | None:
    """The ``format`` parameter (PEP 691, "URL Parameter")."""
    return _parameter(query, "format")


def _parameter(query: str, name: str) -> str | None:
    if not query:
        return None
    try:
        return parse_qs(query, max_num_fields=20).get(name, [None])[-1]
    except ValueError:
        return None


_LABELS: dict[type[Route], str] = {
    RootList: "root-list",
    ProjectPage: "page",
    Moved: "moved",
    DistributionFile: "file",
    DistributionMetadata: "metadata",
    FileProvenance: "provenance",
    Home: "home",
    Alive: "healthz",
    Ready: "readyz",
    Metrics: "metrics",
    ProjectStory: "project",
    PolicyStory: "policy",
    Search: "search",
    Nowhere: "nowhere",
}


def label_of(route: Route) -> str:
    """A route's name in metrics and in the audit trail."""
    return _LABELS[type(route)]
