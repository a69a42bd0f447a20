"""Routes as values, and the resolution of request targets to routes. Pure.

This module defines the form of all URLs that Assay answers.

- The beginning of the path selects the view. The path is compared before any decoding, so each view has exactly one
  spelling.
- The rest of the path is resolved as if the view were at ``/``. It is split first, and then each part is decoded once.
  pip sends ``%3A8080`` and ``%2B``.
- A target that matches no route is `UnknownRoute`, never an error.
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

from assay.advisories.model import is_advisory_id
from assay.policy.tombstones import TOMBSTONE_QUERY
from assay.simple.location import decode_location
from assay.simple.model import NormalizedName
from assay.simple.search import MAX_SEARCH_CHARS, SearchTarget, find_search_target

_PROJECT_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]{0,254}[A-Z0-9])?", re.ASCII | re.IGNORECASE)
"""Valid project name (packaging specification, "Names and normalization"). The maximum of 256 characters keeps the key
of a cache record short."""
_INDEX_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_VERSION_CHARS = 256
_METADATA_SUFFIX = ".metadata"
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD"})
"""Methods whose requests have no meaningful body (RFC 9110, section 9.3). If a client sends a body, it is not read."""


class Permission(StrEnum):
    """Permission that a route requires of a user."""

    READ = "read"
    UPLOAD = "upload"
    """Upload files to a hosted index. The index names its uploaders."""
    MANAGE = "manage"
    """Yank files of a hosted index, and set the status of its projects. The index names its managers."""


class RouteRules:
    """Base class of all routes: the rules that `web.app` checks before it answers a request.

    The class of a route overrides the rules in which it differs.
    """

    __slots__ = ()
    label: ClassVar[str]
    """Name of the route in metrics, traces and the audit trail."""
    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD")
    """Permitted methods. A request with any other method gets 405."""
    max_body_bytes: ClassVar[int] = 0
    """Maximum size of a request body in bytes. It does not apply to GET and HEAD, whose bodies are not read."""
    permission: ClassVar[Permission | None] = Permission.READ
    """Permission that the user needs; None: open to all clients, even if authentication is configured."""
    takes_body: ClassVar[bool] = False
    """True if a request has a body that matters. The proxy reads such a body to its end before it answers, so that the
    client reads the answer instead of failing to send."""
    is_of_one_file: ClassVar[bool] = False
    """True if the route serves one file, its METADATA or its provenance. Such a request may get 424 instead of 502 or
    503 (see `web.errors`), because installers repeat it after 502 or 503."""


class OperatorRoute(RouteRules):
    """Base class of the routes for operators. They concern the whole proxy and belong to no view."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SimpleRoot(RouteRules):
    """Route ``/simple/``: the list of all projects (PEP 503, PEP 691)."""

    label: ClassVar[str] = "root-list"

    format: str | None
    """Value of the ``format`` query parameter."""


@dataclass(frozen=True, slots=True)
class SimpleProject(RouteRules):
    """Route ``/simple/{project}/``: the page of a project (PEP 503, PEP 691)."""

    label: ClassVar[str] = "page"

    project: NormalizedName
    format: str | None
    """Value of the ``format`` query parameter."""


@dataclass(frozen=True, slots=True)
class CanonicalRedirect(RouteRules):
    """Redirect (301) to the canonical URL. The requested URL has an unnormalized name or lacks a slash."""

    label: ClassVar[str] = "moved"

    to: str
    """Canonical URL, relative to the requested URL. It is therefore correct if a proxy in front adds a path prefix."""


@dataclass(frozen=True, slots=True)
class DistributionFile(RouteRules):
    """Route ``/files/{host}/{path}``: a distribution file."""

    label: ClassVar[str] = "file"
    is_of_one_file: ClassVar[bool] = True

    location: str
    """Location of the file on the index: ``host/path``, percent-decoded once."""
    is_tombstone: bool = False
    """True if the requested URL is the one under which a page lists the file while it is withheld."""


@dataclass(frozen=True, slots=True)
class DistributionMetadata(RouteRules):
    """Route ``/files/{host}/{path}.metadata``: the METADATA of a distribution file (PEP 658)."""

    label: ClassVar[str] = "metadata"
    is_of_one_file: ClassVar[bool] = True

    location: str
    """Location of the distribution file, without ``.metadata``."""


@dataclass(frozen=True, slots=True)
class FileProvenance(RouteRules):
    """Route ``/integrity/{project}/{version}/{filename}/provenance``: the provenance document of a file (PEP 740)."""

    label: ClassVar[str] = "provenance"
    is_of_one_file: ClassVar[bool] = True

    project: NormalizedName
    version: str
    filename: str


@dataclass(frozen=True, slots=True)
class FileAttestations(RouteRules):
    """Route ``/attestations/{sha256}?project={project}``: the verified attestations of a file, as Sigstore bundles."""

    label: ClassVar[str] = "attestations"
    is_of_one_file: ClassVar[bool] = True

    sha256: str
    project: NormalizedName | None = None
    """Project of the file; None to look for the digest on the pages in memory."""


@dataclass(frozen=True, slots=True)
class HomePage(RouteRules):
    """Route ``/``: the HTML home page of a view."""

    label: ClassVar[str] = "home"


@dataclass(frozen=True, slots=True)
class LivenessProbe(OperatorRoute):
    """Route ``/healthz``: the liveness probe."""

    label: ClassVar[str] = "healthz"
    # A kubelet has no credentials, and the responses of the two probes contain no secrets.
    permission: ClassVar[Permission | None] = None


@dataclass(frozen=True, slots=True)
class ReadinessProbe(OperatorRoute):
    """Route ``/readyz``: the readiness probe."""

    label: ClassVar[str] = "readyz"
    permission: ClassVar[Permission | None] = None


@dataclass(frozen=True, slots=True)
class MetricsExposition(OperatorRoute):
    """Route ``/metrics``: metrics for Prometheus."""

    label: ClassVar[str] = "metrics"


@dataclass(frozen=True, slots=True)
class ProjectPage(RouteRules):
    """Route ``/project/{project}``: the HTML page with all files of a project and their verdicts."""

    label: ClassVar[str] = "project"

    project: NormalizedName
    page: int
    """Number of the HTML page, from 1. A project with many versions has several pages."""
    version: str | None = None
    """Version to show, which selects the HTML page; None to select it by `page`."""
    only_withheld: bool = False
    """True to show only withheld files (``?only=withheld``)."""


@dataclass(frozen=True, slots=True)
class PolicyPage(RouteRules):
    """Route ``/policy``: the HTML page that states the policy in words."""

    label: ClassVar[str] = "policy"


@dataclass(frozen=True, slots=True)
class Favicon(RouteRules):
    """Routes ``/favicon.svg``, to which the pages refer, and ``/favicon.ico``, which browsers request unasked."""

    label: ClassVar[str] = "favicon"
    permission: ClassVar[Permission | None] = None


@dataclass(frozen=True, slots=True)
class OverviewPage(RouteRules):
    """Route ``/overview``: provenance of the used projects, refusals, waivers and advisories, as HTML or JSON."""

    label: ClassVar[str] = "overview"


@dataclass(frozen=True, slots=True)
class RefusalsPage(RouteRules):
    """Route ``/refusals``: the recorded refusals, as HTML or JSON."""

    label: ClassVar[str] = "refusals"

    query: str
    """Query of the target, with the filter, still percent-encoded."""


@dataclass(frozen=True, slots=True)
class Search(RouteRules):
    """Route ``/search?name=…``: a redirect to the HTML page of a project, or a page with suggestions."""

    label: ClassVar[str] = "search"

    text: str
    """Text that the user entered, shortened."""
    target: SearchTarget | None
    """Project that the text names; None if it names no project."""


class OsvRoute(RouteRules):
    """Base class of the routes of the OSV API, which tools such as ``uv audit`` and pip-audit use."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class OsvQuery(OsvRoute):
    """Route ``/osv/v1/query``: the advisories about one package."""

    label: ClassVar[str] = "osv-query"
    methods: ClassVar[tuple[str, ...]] = ("POST",)
    max_body_bytes: ClassVar[int] = 16 * 2**10


@dataclass(frozen=True, slots=True)
class OsvBatch(OsvRoute):
    """Route ``/osv/v1/querybatch``: the ids of the advisories about many packages."""

    label: ClassVar[str] = "osv-batch"
    methods: ClassVar[tuple[str, ...]] = ("POST",)
    max_body_bytes: ClassVar[int] = 2**20


@dataclass(frozen=True, slots=True)
class OsvRecord(OsvRoute):
    """Route ``/osv/v1/vulns/{id}``: one advisory."""

    label: ClassVar[str] = "osv-record"

    id: str


@dataclass(frozen=True, slots=True)
class UploadFile(OperatorRoute):
    """Route ``/upload/{index}/``: PyPI's legacy upload API for a hosted index."""

    label: ClassVar[str] = "upload"
    methods: ClassVar[tuple[str, ...]] = ("POST",)
    max_body_bytes: ClassVar[int] = 2**40  # the responder applies the limit of the index
    permission: ClassVar[Permission | None] = Permission.UPLOAD
    takes_body: ClassVar[bool] = True

    index: str
    """Name of the hosted index."""


@dataclass(frozen=True, slots=True)
class HostedProjects(OperatorRoute):
    """Route ``/hosted/{index}/``: the projects of a hosted index as JSON, for its managers."""

    label: ClassVar[str] = "hosted-projects"
    permission: ClassVar[Permission | None] = Permission.MANAGE

    index: str


@dataclass(frozen=True, slots=True)
class HostedChange(OperatorRoute):
    """Route ``/hosted/{index}/{project}/{action}``: a change by a manager of a hosted index."""

    label: ClassVar[str] = "hosted-change"
    methods: ClassVar[tuple[str, ...]] = ("POST",)
    max_body_bytes: ClassVar[int] = 64 * 1024
    permission: ClassVar[Permission | None] = Permission.MANAGE
    takes_body: ClassVar[bool] = True

    index: str
    project: NormalizedName
    action: str
    """``yank``, ``unyank`` or ``status``."""


@dataclass(frozen=True, slots=True)
class UnknownRoute(RouteRules):
    """Route of a target that matches no other route. The response is 404."""

    label: ClassVar[str] = "nowhere"


Route: TypeAlias = (
    SimpleRoot
    | SimpleProject
    | CanonicalRedirect
    | DistributionFile
    | DistributionMetadata
    | FileProvenance
    | FileAttestations
    | HomePage
    | LivenessProbe
    | ReadinessProbe
    | MetricsExposition
    | ProjectPage
    | PolicyPage
    | Favicon
    | OverviewPage
    | RefusalsPage
    | Search
    | OsvQuery
    | OsvBatch
    | OsvRecord
    | UploadFile
    | HostedProjects
    | HostedChange
    | UnknownRoute
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTarget:
    """View and route of a request target."""

    prefix: str
    """Path prefix of the view, for example ``/strict``; empty for the view at ``/``."""
    route: Route
    root: str
    """URL of the view's home page, relative to the target. It is therefore correct if a proxy in front adds a path
    prefix."""


def find_broken_rule(route: Route, method: str, headers: Mapping[str, str]) -> HTTPStatus | None:
    """Return the error status (405, 411 or 413) if a request breaks a rule of its route, else None.

    Args:
        route: route of the request.
        method: method of the request.
        headers: header fields, by case-insensitive name. The HTTP parser has checked that Content-Length is a number.
    """
    if method not in route.methods:
        return HTTPStatus.METHOD_NOT_ALLOWED
    if method in _METHODS_WITHOUT_BODY:
        return None
    if "Transfer-Encoding" in headers:
        return HTTPStatus.LENGTH_REQUIRED
    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE if int(headers.get("Content-Length", 0)) > route.max_body_bytes else None


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
