"""Resolution of request targets to routes: each part is decoded once, and no target raises an error."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from assay.simple.model import NormalizedName
from assay.simple.search import SearchTarget
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
    OsvBatch,
    OsvQuery,
    OsvRecord,
    OverviewPage,
    Permission,
    PolicyPage,
    ProjectPage,
    ReadinessProbe,
    RefusalsPage,
    Route,
    RouteRules,
    Search,
    SimpleProject,
    SimpleRoot,
    UnknownRoute,
    UploadFile,
    find_broken_rule,
)
from assay.web.routing.targets import ResolvedTarget, match_route, resolve_target, split_absolute_form

FOO = NormalizedName("foo")
SHA256 = "a1" * 32
PREFIXES = ("", "/strict", "/teams/a")


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/", HomePage()),
        ("/favicon.svg", Favicon()),
        ("/favicon.ico", Favicon()),
        ("/healthz", LivenessProbe()),
        ("/readyz", ReadinessProbe()),
        ("/metrics", MetricsExposition()),
        ("/policy", PolicyPage()),
        ("/project/foo", ProjectPage(FOO, 1)),
        ("/project/foo?page=12", ProjectPage(FOO, 12)),
        ("/project/foo?version=1.0%2Bcpu", ProjectPage(FOO, 1, "1.0+cpu")),
        ("/project/foo?page=2&version=x", ProjectPage(FOO, 2, "x")),
        (f"/project/foo?version={'1' * 256}", ProjectPage(FOO, 1, "1" * 256)),
        (f"/project/foo?version={'1' * 257}", ProjectPage(FOO, 1)),
        ("/project/foo?page=0", ProjectPage(FOO, 1)),
        ("/project/foo?page=-1", ProjectPage(FOO, 1)),
        ("/project/foo?page=9999999", ProjectPage(FOO, 1)),
        ("/project/foo?page=%D9%A1", ProjectPage(FOO, 1)),
        ("/project/Foo", CanonicalRedirect(to="foo")),
        ("/project/Foo/", CanonicalRedirect(to="../foo")),
        ("/project/", UnknownRoute()),
        ("/project/a%2Fb", UnknownRoute()),
        ("/search?name=Foo", Search(text="Foo", target=SearchTarget(project=FOO))),
        ("/overview", OverviewPage()),
        ("/overview?x=1", OverviewPage()),
        ("/refusals", RefusalsPage("")),
        ("/refusals?project=Foo&before=12", RefusalsPage("project=Foo&before=12")),
        ("/search?name=a%0D%0Ab", Search(text="a\r\nb", target=None)),
        ("/search?name=" + "a" * 600, Search(text="a" * 512, target=None)),
        ("/simple", CanonicalRedirect(to="simple/")),
        ("/simple/", SimpleRoot(format=None)),
        ("/simple/?format=application/vnd.pypi.simple.v1%2Bjson", SimpleRoot("application/vnd.pypi.simple.v1+json")),
        ("/simple/foo/", SimpleProject(FOO, None)),
        ("/simple/foo", CanonicalRedirect(to="foo/")),
        ("/simple/Foo_Bar/", CanonicalRedirect(to="../foo-bar/")),
        ("/simple/Foo.Bar?a=1", CanonicalRedirect(to="foo-bar/?a=1")),
        ("/simple/Foo?\udcff=\ud800", CanonicalRedirect(to="foo/?%3F=%3F")),
        ("/simple/f%6fo/", SimpleProject(FOO, None)),
        ("/files/h.example/packages/a/foo-1.0.tar.gz", DistributionFile("h.example/packages/a/foo-1.0.tar.gz")),
        ("/files/127.0.0.1%3A8080/foo-1.0%2Blocal.tar.gz", DistributionFile("127.0.0.1:8080/foo-1.0+local.tar.gz")),
        ("/files/h/a%252Fb.whl", DistributionFile("h/a%2Fb.whl")),
        ("/files/h/foo.whl.metadata", DistributionMetadata("h/foo.whl")),
        ("/files/h/foo.whl?sig=1", DistributionFile("h/foo.whl")),
        ("/files/h/foo.whl?withheld", DistributionFile("h/foo.whl", is_tombstone=True)),
        ("/files/h/foo.whl%3Fwithheld", DistributionFile("h/foo.whl?withheld")),
        ("/integrity/Foo/1.0/foo-1.0.tar.gz/provenance", FileProvenance(FOO, "1.0", "foo-1.0.tar.gz")),
        (f"/attestations/{SHA256}", FileAttestations(SHA256)),
        (f"/attestations/{SHA256}?project=Foo", FileAttestations(SHA256, FOO)),
        (f"/attestations/{SHA256}?project=a%2Fb", FileAttestations(SHA256)),
        ("/osv/v1/query", OsvQuery()),
        ("/osv/v1/querybatch", OsvBatch()),
        ("/osv/v1/vulns/GHSA-1", OsvRecord("GHSA-1")),
        ("/osv/v1/vulns/GHSA%2d1", OsvRecord("GHSA-1")),
        ("/osv/v1/vulns/a%2Fb", UnknownRoute()),
        ("/osv/v1/query/", UnknownRoute()),
    ],
)
def test_an_address_of_ours_has_its_route(target: str, route: Route) -> None:
    assert match_route(target) == route


@pytest.mark.parametrize(
    "target",
    [
        "/simple/-foo/",
        "/simple/foo/bar/",
        "/simple/f%00o/",
        "/simple/..%2ffoo/",
        "/simple//",
        "/files/",
        "/files/h/",
        "/integrity/foo/1.0/foo-1.0.tar.gz/provenance/",
        "/integrity/foo//x/provenance",
        "/attestations/",
        f"/attestations/{SHA256}/",
        f"/attestations/{SHA256[1:]}",
        f"/attestations/{SHA256.upper()}",
        "/pypi/foo/json",
        "http://elsewhere.example/simple/foo/",
        "*",
        "",
        "/simple/" + "a" * 300 + "/",
    ],
)
def test_any_other_address_is_nowhere(target: str) -> None:
    assert match_route(target) == UnknownRoute()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://pypi.acme.example/simple/foo/", ("pypi.acme.example", "/simple/foo/")),
        ("HTTPS://h:8443/files/a%2Fb?x=http://y/", ("h:8443", "/files/a%2Fb?x=http://y/")),
        ("http://h", ("h", "/")),
        ("http://h?format=x", ("h", "/?format=x")),
        ("http:///simple/", ("", "/simple/")),
        ("/simple/foo/", None),
        ("//h/simple/", None),
        ("/http://h/simple/", None),
        ("ftp://h/simple/", None),
        ("h:443", None),
        ("*", None),
        ("", None),
    ],
)
def test_a_target_in_absolute_form_has_an_authority_and_an_origin_form(
    target: str, expected: tuple[str, str] | None
) -> None:
    assert split_absolute_form(target) == expected


@given(st.text())
def test_no_target_is_an_error_and_each_has_a_label(target: str) -> None:
    assert match_route(target).label


@given(st.text(), st.text())
def test_a_redirect_never_leaves_the_proxy_nor_writes_a_header(name: str, query: str) -> None:
    match match_route(f"/simple/{name}?{query}"):
        case CanonicalRedirect(to=to):
            assert to.isascii()
            assert to.isprintable()
            assert "//" not in to.partition("?")[0]
            assert canonicalize_name(to.partition("?")[0].removeprefix("../").rstrip("/")) in to or to.startswith(
                "simple/"
            )
        case _:
            pass


@given(st.text(), st.text())
def test_a_search_leads_to_a_project_or_to_nothing(name: str, more: str) -> None:
    for target in (f"/search?name={name}&{more}", f"/search?{more}&name={name}"):
        route = match_route(target)
        if isinstance(route, Search) and route.target is not None:
            project = route.target.project
            assert match_route(f"/project/{project}") == ProjectPage(project, 1)


@pytest.mark.parametrize(
    ("target", "prefix", "route", "root"),
    [
        ("/", "", HomePage(), ""),
        ("/simple/foo/", "", SimpleProject(FOO, None), "../../"),
        ("/strict/", "/strict", HomePage(), ""),
        ("/strict", "/strict", CanonicalRedirect(to="strict/"), "strict/"),
        ("/strict?a=b", "/strict", CanonicalRedirect(to="strict/?a=b"), "strict/"),
        ("/teams/a", "/teams/a", CanonicalRedirect(to="a/"), "a/"),
        ("/teams/a/simple", "/teams/a", CanonicalRedirect(to="simple/"), ""),
        ("/strict/simple/foo/", "/strict", SimpleProject(FOO, None), "../../"),
        ("/strict/simple/Foo", "/strict", CanonicalRedirect(to="foo/"), "../"),
        ("/strict/policy", "/strict", PolicyPage(), ""),
        ("/teams/a/files/h/foo-1.0.tar.gz", "/teams/a", DistributionFile("h/foo-1.0.tar.gz"), "../../"),
        ("/strict/files/h/f%2Boo.whl.metadata", "/strict", DistributionMetadata("h/f+oo.whl"), "../../"),
        ("/strict/integrity/foo/1/f/provenance", "/strict", FileProvenance(FOO, "1", "f"), "../../../../"),
    ],
)
def test_a_view_is_found_by_its_path_and_answers_as_if_it_stood_at_the_root(
    target: str, prefix: str, route: Route, root: str
) -> None:
    assert resolve_target(target, PREFIXES) == ResolvedTarget(prefix=prefix, route=route, root=root)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_what_operators_ask_is_at_the_root_alone(path: str) -> None:
    assert resolve_target(path, PREFIXES).route != UnknownRoute()
    assert resolve_target(f"/strict{path}", PREFIXES) == ResolvedTarget(prefix="/strict", route=UnknownRoute(), root="")


OTHERWISE = [
    "/%73trict/",
    "/STRICT/",
    "//strict/",
    "/./strict/",
    "/x/../strict/",
    "/strict%2f",
    "/strict;/",
    "/strictly/",
]


@pytest.mark.parametrize("prefix", OTHERWISE)
@pytest.mark.parametrize("rest", ["simple/foo/", "simple/", "", "files/h/foo-1.0.tar.gz"])
def test_a_view_has_one_way_to_be_written(prefix: str, rest: str) -> None:
    asked = resolve_target(prefix + rest, PREFIXES)
    assert (asked.prefix, asked.route) == ("", UnknownRoute())


@given(
    st.sampled_from(["/strict", "/strict/..", "/strict/../teams/a", "/teams/a/../../strict", "/strict//"]), st.text()
)
def test_whatever_follows_a_views_path_stays_within_the_view(start: str, rest: str) -> None:
    target = f"{start}/{rest}"
    asked = resolve_target(target, PREFIXES)
    assert asked.prefix == ("/teams/a" if start.startswith("/teams") else "/strict")
    assert asked.route == match_route(target.removeprefix(asked.prefix)) or asked.route == UnknownRoute()
    assert asked.route.label


class Upload(RouteRules):
    """Route with a request body, such as a later version may add."""

    label = "upload"
    methods = ("PUT", "POST")
    max_body_bytes = 10


@pytest.mark.parametrize(
    ("route", "method", "headers", "status"),
    [
        (SimpleProject, "GET", {}, None),
        (SimpleProject, "HEAD", {}, None),
        (SimpleProject, "GET", {"Content-Length": "3"}, None),
        (SimpleProject, "POST", {}, 405),
        (SimpleProject, "get", {}, 405),
        (Upload, "GET", {}, 405),
        (Upload, "PUT", {}, None),
        (Upload, "PUT", {"Content-Length": "10"}, None),
        (Upload, "PUT", {"Content-Length": "11"}, 413),
        (Upload, "POST", {"Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_a_request_that_breaks_a_rule_of_its_route_has_a_status(
    route: Any, method: str, headers: dict[str, str], status: int | None
) -> None:
    assert find_broken_rule(route, method, headers) == status


def test_every_route_but_the_probes_and_the_icon_needs_a_permission() -> None:
    routes = get_args(Route)
    assert {each for each in routes if each.permission is None} == {LivenessProbe, ReadinessProbe, Favicon}
    assert {each for each in routes if each.permission is Permission.UPLOAD} == {UploadFile}
    assert {each for each in routes if each.permission is Permission.MANAGE} == {HostedProjects, HostedChange}
    takes_a_body = {each for each in routes if each.methods == ("POST",)}
    assert takes_a_body == {OsvQuery, OsvBatch, UploadFile, HostedChange}
    assert {(each.methods, each.max_body_bytes) for each in set(routes) - takes_a_body} == {(("GET", "HEAD"), 0)}
    assert len({each.label for each in routes}) == len(routes)


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/upload/internal/", UploadFile(index="internal")),
        ("/upload/internal", UploadFile(index="internal")),
        ("/upload/internal/more", UnknownRoute()),
        ("/upload/Internal/", UnknownRoute()),
        ("/upload/", UnknownRoute()),
        ("/hosted/internal/", HostedProjects(index="internal")),
        (
            "/hosted/internal/Acme_App/yank",
            HostedChange(index="internal", project=canonicalize_name("acme-app"), action="yank"),
        ),
        ("/hosted/internal/acme/delete", UnknownRoute()),
        ("/hosted/internal/-acme/yank", UnknownRoute()),
    ],
)
def test_routes_of_hosted_indexes(target: str, route: Route) -> None:
    assert match_route(target) == route
    below_a_view = resolve_target(f"/strict{target}", ["", "/strict"]).route
    assert below_a_view == UnknownRoute()
