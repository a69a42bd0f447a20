"""Targets to routes: decoded once, never an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from assay.simple.model import NormalizedName
from assay.web.routes import (
    Alive,
    Asked,
    DistributionFile,
    DistributionMetadata,
    FileProvenance,
    Home,
    Metrics,
    Moved,
    Nowhere,
    PolicyStory,
    ProjectPage,
    ProjectStory,
    Ready,
    RootList,
    Route,
    Search,
    asked_of,
    label_of,
    route_of,
)

FOO = NormalizedName("foo")
PREFIXES = ("", "/strict", "/teams/a")


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/", Home()),
        ("/healthz", Alive()),
        ("/readyz", Ready()),
        ("/metrics", Metrics()),
        ("/policy", PolicyStory()),
        ("/project/foo", ProjectStory(FOO, 1)),
        ("/project/foo?page=12", ProjectStory(FOO, 12)),
        ("/project/foo?page=0", ProjectStory(FOO, 1)),
        ("/project/foo?page=-1", ProjectStory(FOO, 1)),
        ("/project/foo?page=9999999", ProjectStory(FOO, 1)),
        ("/project/foo?page=%D9%A1", ProjectStory(FOO, 1)),
        ("/project/Foo", Moved(to="foo")),
        ("/project/Foo/", Moved(to="../foo")),
        ("/project/", Nowhere()),
        ("/project/a%2Fb", Nowhere()),
        ("/search?name=Foo", Search(to="project/foo")),
        ("/search?name=a%0D%0Ab", Search(to=None)),
        ("/search?name=" + "a" * 300, Search(to=None)),
        ("/simple", Moved(to="simple/")),
        ("/simple/", RootList(format=None)),
        ("/simple/?format=application/vnd.pypi.simple.v1%2Bjson", RootList("application/vnd.pypi.simple.v1+json")),
        ("/simple/foo/", ProjectPage(FOO, None)),
        ("/simple/foo", Moved(to="foo/")),
        ("/simple/Foo_Bar/", Moved(to="../foo-bar/")),
        ("/simple/Foo.Bar?a=1", Moved(to="foo-bar/?a=1")),
        ("/simple/Foo?\udcff=\ud800", Moved(to="foo/?%3F=%3F")),
        ("/simple/f%6fo/", ProjectPage(FOO, None)),
        ("/files/h.example/packages/a/foo-1.0.tar.gz", DistributionFile("h.example/packages/a/foo-1.0.tar.gz")),
        ("/files/127.0.0.1%3A8080/foo-1.0%2Blocal.tar.gz", DistributionFile("127.0.0.1:8080/foo-1.0+local.tar.gz")),
        ("/files/h/a%252Fb.whl", DistributionFile("h/a%2Fb.whl")),
        ("/files/h/foo.whl.metadata", DistributionMetadata("h/foo.whl")),
        ("/files/h/foo.whl?sig=1", DistributionFile("h/foo.whl")),
        ("/integrity/Foo/1.0/foo-1.0.tar.gz/provenance", FileProvenance(FOO, "1.0", "foo-1.0.tar.gz")),
    ],
)
def test_an_address_of_ours_has_its_route(target: str, route: Route) -> None:
    assert route_of(target) == route


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
        "/pypi/foo/json",
        "http://elsewhere.example/simple/foo/",
        "*",
        "",
        "/simple/" + "a" * 300 + "/",
    ],
)
def test_any_other_address_is_nowhere(target: str) -> None:
    assert route_of(target) == Nowhere()


@given(st.text())
def test_no_target_is_an_error_and_each_has_a_label(target: str) -> None:
    assert label_of(route_of(target))


@given(st.text(), st.text())
def test_a_redirect_never_leaves_the_proxy_nor_writes_a_header(name: str, query: str) -> None:
    match route_of(f"/simple/{name}?{query}"):
        case Moved(to=to):
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
        route = route_of(target)
        if isinstance(route, Search) and route.to is not None:
            assert route_of(f"/{route.to}") == ProjectStory(NormalizedName(route.to.removeprefix("project/")), 1)


@pytest.mark.parametrize(
    ("target", "prefix", "route", "root"),
    [
        ("/", "", Home(), ""),
        ("/simple/foo/", "", ProjectPage(FOO, None), "../../"),
        ("/strict/", "/strict", Home(), ""),
        ("/strict", "/strict", Moved(to="strict/"), "strict/"),
        ("/strict?a=b", "/strict", Moved(to="strict/?a=b"), "strict/"),
        ("/teams/a", "/teams/a", Moved(to="a/"), "a/"),
        ("/teams/a/simple", "/teams/a", Moved(to="simple/"), ""),
        ("/strict/simple/foo/", "/strict", ProjectPage(FOO, None), "../../"),
        ("/strict/simple/Foo", "/strict", Moved(to="foo/"), "../"),
        ("/strict/policy", "/strict", PolicyStory(), ""),
        ("/teams/a/files/h/foo-1.0.tar.gz", "/teams/a", DistributionFile("h/foo-1.0.tar.gz"), "../../"),
        ("/strict/files/h/f%2Boo.whl.metadata", "/strict", DistributionMetadata("h/f+oo.whl"), "../../"),
        ("/strict/integrity/foo/1/f/provenance", "/strict", FileProvenance(FOO, "1", "f"), "../../../../"),
    ],
)
def test_a_view_is_found_by_its_path_and_answers_as_if_it_stood_at_the_root(
    target: str, prefix: str, route: Route, root: str
) -> None:
    assert asked_of(target, PREFIXES) == Asked(prefix=prefix, route=route, root=root)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_what_operators_ask_is_at_the_root_alone(path: str) -> None:
    assert asked_of(path, PREFIXES).route != Nowhere()
    assert asked_of(f"/strict{path}", PREFIXES) == Asked(prefix="/strict", route=Nowhere(), root="")


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
    asked = asked_of(prefix + rest, PREFIXES)
    assert (asked.prefix, asked.route) == ("", Nowhere())


@given(
    st.sampled_from(["/strict", "/strict/..", "/strict/../teams/a", "/teams/a/../../strict", "/strict//"]), st.text()
)
def test_whatever_follows_a_views_path_stays_within_the_view(start: str, rest: str) -> None:
    target = f"{start}/{rest}"
    asked = asked_of(target, PREFIXES)
    assert asked.prefix == ("/teams/a" if start.startswith("/teams") else "/strict")
    assert asked.route == route_of(target.removeprefix(asked.prefix)) or asked.route == Nowhere()
    assert label_of(asked.route)
