"""Request targets to routes, as values. Pure.

Owns the shape of every address that Assay answers. Which view a target is for is said by its path as it was sent,
before anything is decoded, so that there is one way to write it; the rest is that view's as if it stood at ``/``. It is
taken apart while still encoded and each part is decoded once (pip sends ``%3A8080`` and ``%2B``); what does not fit any
route is `UnknownRoute`, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from http import HTTPStatus
from typing import ClassVar, TypeAlias
from urllib.parse import parse_qs, quote, unquote

from packaging.utils import canonicalize_name

from assay.simple.location import decode_location
from assay.simple.model import NormalizedName

_PROJECT_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]{0,254}[A-Z0-9])?", re.ASCII | re.IGNORECASE)
"""A project name (packaging specification, names and normalization), of a length that fits a record's key."""
_METADATA_SUFFIX = ".metadata"
_PROVENANCE_PATH_PARTS = 4
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD"})
"""Methods whose requests have no meaningful body (RFC 9110, 9.3); one that is sent is not read."""


class Permission(StrEnum):
    """What a user must be allowed to do."""

    READ = "read"


class RouteRules:
    """What `web.app` requires of a request before it answers; a route class overrides what differs."""

    __slots__ = ()
    label: ClassVar[str]
    """Name in metrics, traces and the audit trail."""
    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD")
    """Any other method is answered 405."""
    max_body_bytes: ClassVar[int] = 0
    """Limit on the body of a method other than GET and HEAD, whose bodies are not read."""
    permission: ClassVar[Permission | None] = Permission.READ
    """None: open to everybody, also where users must authenticate."""


class OperatorRoute(RouteRules):
    """A route of the whole proxy, which belongs to no view."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SimpleRoot(RouteRules):
    """``/simple/``."""

    label: ClassVar[str] = "root-list"

    format: str | None


@dataclass(frozen=True, slots=True)
class SimpleProject(RouteRules):
    """``/simple/{project}/``."""

    label: ClassVar[str] = "page"

    project: NormalizedName
    format: str | None


@dataclass(frozen=True, slots=True)
class CanonicalRedirect(RouteRules):
    """An address that should be written otherwise: unnormalised name, missing slash (301)."""

    label: ClassVar[str] = "moved"

    to: str
    """Relative to the request's own address, so that it holds behind any path prefix."""


@dataclass(frozen=True, slots=True)
class DistributionFile(RouteRules):
    """``/files/{host}/{path}``."""

    label: ClassVar[str] = "file"

    location: str


@dataclass(frozen=True, slots=True)
class DistributionMetadata(RouteRules):
    """``/files/{host}/{path}.metadata``."""

    label: ClassVar[str] = "metadata"

    location: str
    """Of the distribution itself."""


@dataclass(frozen=True, slots=True)
class FileProvenance(RouteRules):
    """``/integrity/{project}/{version}/{filename}/provenance``."""

    label: ClassVar[str] = "provenance"

    project: NormalizedName
    version: str
    filename: str


@dataclass(frozen=True, slots=True)
class HomePage(RouteRules):
    """``/``: what this is."""

    label: ClassVar[str] = "home"


@dataclass(frozen=True, slots=True)
class LivenessProbe(OperatorRoute):
    """``/healthz``."""

    label: ClassVar[str] = "healthz"
    # A kubelet has no name to give, and what the two probes answer is no secret.
    permission: ClassVar[Permission | None] = None


@dataclass(frozen=True, slots=True)
class ReadinessProbe(OperatorRoute):
    """``/readyz``."""

    label: ClassVar[str] = "readyz"
    permission: ClassVar[Permission | None] = None


@dataclass(frozen=True, slots=True)
class MetricsExposition(OperatorRoute):
    """``/metrics``."""

    label: ClassVar[str] = "metrics"


@dataclass(frozen=True, slots=True)
class ProjectPage(RouteRules):
    """``/project/{project}``: every file and its verdict, for people."""

    label: ClassVar[str] = "project"

    project: NormalizedName
    page: int
    """Of versions, from 1."""


@dataclass(frozen=True, slots=True)
class PolicyPage(RouteRules):
    """``/policy``: the policy in words."""

    label: ClassVar[str] = "policy"


@dataclass(frozen=True, slots=True)
class SearchRedirect(RouteRules):
    """``/search?name=…``: leads to a project's page."""

    label: ClassVar[str] = "search"

    to: str | None
    """Relative; None where what was typed is no name."""


@dataclass(frozen=True, slots=True)
class UnknownRoute(RouteRules):
    """Anything else."""

    label: ClassVar[str] = "nowhere"


Route: TypeAlias = (
    SimpleRoot
    | SimpleProject
    | CanonicalRedirect
    | DistributionFile
    | DistributionMetadata
    | FileProvenance
    | HomePage
    | LivenessProbe
    | ReadinessProbe
    | MetricsExposition
    | ProjectPage
    | PolicyPage
    | SearchRedirect
    | UnknownRoute
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTarget:
    """What a request target asks for."""

    prefix: str
    """Of the view: nothing for the one at ``/``, or ``/strict``."""
    route: Route
    root: str
    """The view's home page, relative to the target, so that it holds behind any further prefix."""


def find_broken_rule(route: Route, method: str, headers: Mapping[str, str]) -> HTTPStatus | None:
    """Return the status of a request that its route does not take, or None.

    Args:
        route: its route.
        method: its method.
        headers: case-insensitive; Content-Length is a number, as HTTP parsers require.
    """
    if method not in route.methods:
        return HTTPStatus.METHOD_NOT_ALLOWED
    if method in _METHODS_WITHOUT_BODY:
        return None
    if "Transfer-Encoding" in headers:
        return HTTPStatus.LENGTH_REQUIRED
    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE if int(headers.get("Content-Length", 0)) > route.max_body_bytes else None


_STATIC_ROUTES: dict[str, Route] = {
    "/": HomePage(),
    "/healthz": LivenessProbe(),
    "/readyz": ReadinessProbe(),
    "/metrics": MetricsExposition(),
    "/policy": PolicyPage(),
}


_MAX_CACHED_TARGET_CHARS = 512
"""Characters of a target up to which what it asks for is remembered."""


def resolve_target(target: str, prefixes: Iterable[str]) -> ResolvedTarget:
    """The view and route of a request target. No prefix begins another but the empty one, which is always there."""
    return (_resolve_target if len(target) <= _MAX_CACHED_TARGET_CHARS else _resolve_target.__wrapped__)(
        target, tuple(prefixes)
    )


@lru_cache(maxsize=4096)
def _resolve_target(target: str, prefixes: tuple[str, ...]) -> ResolvedTarget:
    path, _, query = target.partition("?")
    for prefix in filter(None, prefixes):
        if path == prefix:
            home = f"{prefix.rpartition('/')[2]}/"
            return ResolvedTarget(prefix=prefix, route=CanonicalRedirect(to=_append_query(home, query)), root=home)
        if path.startswith(f"{prefix}/"):
            route = match_route(target.removeprefix(prefix))
            # What operators ask is the whole proxy's.
            own = UnknownRoute() if isinstance(route, OperatorRoute) else route
            return ResolvedTarget(prefix=prefix, route=own, root="../" * (path.removeprefix(prefix).count("/") - 1))
    return ResolvedTarget(prefix="", route=match_route(target), root="../" * (path.count("/") - 1))


def match_route(target: str) -> Route:
    """The route of a request target in origin form (RFC 9112, 3.2.1), still percent-encoded."""
    path, _, query = target.partition("?")
    if path in _STATIC_ROUTES:
        return _STATIC_ROUTES[path]
    match path.split("/"):
        case ["", "search"]:
            return _match_search(query)
        case ["", "project", name] | ["", "project", name, ""]:
            return _match_project_page(name, query, slash=path.endswith("/"))
        case ["", "simple"]:
            return CanonicalRedirect(to=_append_query("simple/", query))
        case ["", "simple", ""]:
            return SimpleRoot(format=_get_format_parameter(query))
        case ["", "simple", name] | ["", "simple", name, ""]:
            return _match_simple_project(name, query, slash=path.endswith("/"))
        case ["", "files", _, *rest] if any(rest):
            return _match_distribution(path.removeprefix("/files/"))
        case ["", "integrity", *parts] if len(parts) == _PROVENANCE_PATH_PARTS and parts[-1] == "provenance":
            return _match_provenance(*map(unquote, parts[:-1]))
        case _:
            return UnknownRoute()


def _match_simple_project(raw: str, query: str, *, slash: bool) -> Route:
    name = unquote(raw)
    if not _PROJECT_NAME.fullmatch(name):
        return UnknownRoute()
    project = canonicalize_name(name)
    if name == project and slash:
        return SimpleProject(project=project, format=_get_format_parameter(query))
    return CanonicalRedirect(to=_append_query(f"../{project}/" if slash else f"{project}/", query))


def _match_project_page(raw: str, query: str, *, slash: bool) -> Route:
    name = unquote(raw)
    if not _PROJECT_NAME.fullmatch(name):
        return UnknownRoute()
    project = canonicalize_name(name)
    if name == project and not slash:
        page = _get_query_parameter(query, "page") or ""
        return ProjectPage(project=project, page=int(page) if re.fullmatch(r"[1-9]\d{0,5}", page, re.ASCII) else 1)
    return CanonicalRedirect(to=_append_query(f"../{project}" if slash else project, query))


def _match_search(query: str) -> SearchRedirect:
    name = (_get_query_parameter(query, "name") or "").strip()
    return SearchRedirect(to=f"project/{canonicalize_name(name)}" if _PROJECT_NAME.fullmatch(name) else None)


def _match_distribution(route: str) -> Route:
    location = decode_location(route)
    if location.endswith(_METADATA_SUFFIX):
        return DistributionMetadata(location=location.removesuffix(_METADATA_SUFFIX))
    return DistributionFile(location=location)


def _match_provenance(name: str, version: str, filename: str) -> Route:
    if not _PROJECT_NAME.fullmatch(name) or not version or not filename:
        return UnknownRoute()
    return FileProvenance(project=canonicalize_name(name), version=version, filename=filename)


def _append_query(path: str, query: str) -> str:
    # Re-quoted: a query may hold anything, a Location header may not.
    return f"{path}?{quote(query, safe='=&%+,.-_~', errors='replace')}" if query else path


def _get_format_parameter(query: str) -> str | None:
    """The ``format`` parameter (PEP 691, "URL Parameter")."""
    return _get_query_parameter(query, "format")


def _get_query_parameter(query: str, name: str) -> str | None:
    if not query:
        return None
    try:
        return parse_qs(query, max_num_fields=20).get(name, [None])[-1]
    except ValueError:
        return None
