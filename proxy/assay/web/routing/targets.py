"""Resolution of request targets to views and routes. Pure.

This module defines the form of all URLs that Assay answers.

- The beginning of the path selects the view. The path is compared before any decoding, so each view has exactly one
  spelling.
- The rest of the path is resolved as if the view were at ``/``. It is split first, and then each part is decoded once.
  pip sends ``%3A8080`` and ``%2B``.
- A target that matches no route is `UnknownRoute`, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs, quote, unquote

from packaging.utils import canonicalize_name

from assay.advisories.model import is_advisory_id
from assay.policy.tombstones import TOMBSTONE_QUERY
from assay.simple.location import decode_location
from assay.simple.search import MAX_SEARCH_CHARS, find_search_target
from assay.web.routing.routes import (
    CanonicalRedirect,
    DistributionFile,
    DistributionMetadata,
    Favicon,
    FileAttestations,
    FileProvenance,
    HomePage,
    HostedChange,
    HostedProjects,
    LivenessProbe,
    MetricsExposition,
    OperatorRoute,
    OsvBatch,
    OsvQuery,
    OsvRecord,
    OverviewPage,
    PolicyPage,
    ProjectPage,
    ReadinessProbe,
    RefusalsPage,
    Route,
    Search,
    SimpleProject,
    SimpleRoot,
    UnknownRoute,
    UploadFile,
)

_PROJECT_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]{0,254}[A-Z0-9])?", re.ASCII | re.IGNORECASE)
"""Valid project name (packaging specification, "Names and normalization"). The maximum of 256 characters keeps the key
of a cache record short."""
_INDEX_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_VERSION_CHARS = 256
_METADATA_SUFFIX = ".metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTarget:
    """View and route of a request target."""

    prefix: str
    """Path prefix of the view, for example ``/strict``; empty for the view at ``/``."""
    route: Route
    root: str
    """URL of the view's home page, relative to the target. It is therefore correct if a proxy in front adds a path
    prefix."""


_ABSOLUTE_FORM = re.compile(r"https?://([^/?#]*)(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)


def split_absolute_form(target: str) -> tuple[str, str] | None:
    """Split a request target in absolute form into its authority and the target in origin form; None for other forms.

    "A server MUST accept the absolute-form in requests" (RFC 9112, 3.2.2).
    """
    match = None if target.startswith("/") else _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        return None
    return match[1], match[2] if match[2].startswith("/") else f"/{match[2]}"


_STATIC_ROUTES: dict[str, Route] = {
    "/": HomePage(),
    "/healthz": LivenessProbe(),
    "/readyz": ReadinessProbe(),
    "/metrics": MetricsExposition(),
    "/policy": PolicyPage(),
    "/overview": OverviewPage(),
    "/favicon.svg": Favicon(),
    "/favicon.ico": Favicon(),
    "/osv/v1/query": OsvQuery(),
    "/osv/v1/querybatch": OsvBatch(),
}


_MAX_CACHED_TARGET_CHARS = 512
"""Maximum length of a target whose resolution is cached, in characters. It limits the memory of the cache."""


def resolve_target(target: str, prefixes: Iterable[str]) -> ResolvedTarget:
    """Return the view and the route of a request target.

    Args:
        target: request target in origin form (RFC 9112, section 3.2.1), still percent-encoded.
        prefixes: path prefixes of all views, for example ``/strict``. The prefix of the view at ``/`` is empty. No
            other prefix may be the beginning of another prefix.
    """
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
            # Routes for operators have no view prefix.
            view_route = UnknownRoute() if isinstance(route, OperatorRoute) else route
            return ResolvedTarget(
                prefix=prefix, route=view_route, root="../" * (path.removeprefix(prefix).count("/") - 1)
            )
    return ResolvedTarget(prefix="", route=match_route(target), root="../" * (path.count("/") - 1))


def match_route(target: str) -> Route:
    """Return the route of a request target.

    Args:
        target: request target in origin form (RFC 9112, section 3.2.1), still percent-encoded, without the prefix of a
            view.
    """
    path, _, query = target.partition("?")
    if path in _STATIC_ROUTES:
        return _STATIC_ROUTES[path]
    match path.split("/"):
        case ["", "refusals" | "search" as name]:
            return RefusalsPage(query) if name == "refusals" else _match_search(query)
        case ["", "project", name] | ["", "project", name, ""]:
            return _match_project_page(name, query, slash=path.endswith("/"))
        case ["", "simple"] | ["", "simple", ""]:
            return _match_simple_root(query, slash=path.endswith("/"))
        case ["", "simple", name] | ["", "simple", name, ""]:
            return _match_simple_project(name, query, slash=path.endswith("/"))
        case ["", "files", _, *rest] if any(rest):
            return _match_distribution(path.removeprefix("/files/"), query)
        case ["", ("upload" | "hosted") as area, index, *rest]:
            return _match_hosted(area, unquote(index), rest)
        case ["", ("integrity" | "attestations") as area, *parts]:
            return _match_evidence(area, parts, query)
        case ["", "osv", "v1", "vulns", name] if is_advisory_id(unquote(name)):
            return OsvRecord(id=unquote(name))
        case _:
            return UnknownRoute()


def _match_simple_root(query: str, *, slash: bool) -> Route:
    if slash:
        return SimpleRoot(format=_get_format_parameter(query))
    return CanonicalRedirect(to=_append_query("simple/", query))


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
        page, version = get_query_parameter(query, "page") or "", get_query_parameter(query, "version")
        return ProjectPage(
            project=project,
            page=int(page) if re.fullmatch(r"[1-9]\d{0,5}", page, re.ASCII) else 1,
            version=version if version is not None and len(version) <= _MAX_VERSION_CHARS else None,
            only_withheld=get_query_parameter(query, "only") == "withheld",
        )
    return CanonicalRedirect(to=_append_query(f"../{project}" if slash else project, query))


def _match_search(query: str) -> Search:
    text = (get_query_parameter(query, "name") or "").strip()
    return Search(text=text[:MAX_SEARCH_CHARS], target=find_search_target(text))


def _match_distribution(route: str, query: str) -> Route:
    location = decode_location(route)
    if location.endswith(_METADATA_SUFFIX):
        return DistributionMetadata(location=location.removesuffix(_METADATA_SUFFIX))
    return DistributionFile(location=location, is_tombstone=query == TOMBSTONE_QUERY)


def _match_hosted(area: str, index: str, rest: list[str]) -> Route:
    if not _INDEX_NAME.fullmatch(index):
        return UnknownRoute()
    if area == "upload":
        return UploadFile(index=index) if rest in ([], [""]) else UnknownRoute()
    match rest:
        case [] | [""]:
            return HostedProjects(index=index)
        case [name, ("yank" | "unyank" | "status") as action] if _PROJECT_NAME.fullmatch(unquote(name)):
            return HostedChange(index=index, project=canonicalize_name(unquote(name)), action=action)
        case _:
            return UnknownRoute()


def _match_evidence(area: str, parts: list[str], query: str) -> Route:
    match [area, *map(unquote, parts)]:
        case ["integrity", name, version, filename, "provenance"] if _PROJECT_NAME.fullmatch(name):
            is_complete = version and filename and parts[-1] == "provenance"
            return FileProvenance(canonicalize_name(name), version, filename) if is_complete else UnknownRoute()
        case ["attestations", sha256] if _SHA256.fullmatch(sha256):
            name = get_query_parameter(query, "project") or ""
            project = canonicalize_name(name) if _PROJECT_NAME.fullmatch(name) else None
            return FileAttestations(sha256, project)
        case _:
            return UnknownRoute()


def _append_query(path: str, query: str) -> str:
    # Quoted again, because a query may contain characters that a Location header must not contain.
    return f"{path}?{quote(query, safe='=&%+,.-_~', errors='replace')}" if query else path


def _get_format_parameter(query: str) -> str | None:
    """Return the ``format`` parameter of a query (PEP 691, "URL Parameter"), or None."""
    return get_query_parameter(query, "format")


def get_query_parameter(query: str, name: str) -> str | None:
    """Return the last value of a parameter of a query; None if the query lacks it or is invalid."""
    if not query:
        return None
    try:
        return parse_qs(query, max_num_fields=20).get(name, [None])[-1]
    except ValueError:
        return None
