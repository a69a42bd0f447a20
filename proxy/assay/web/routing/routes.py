"""Routes as values, with the rules that a request must meet. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import ClassVar, TypeAlias

from assay.simple.model import NormalizedName
from assay.simple.search import SearchTarget

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
