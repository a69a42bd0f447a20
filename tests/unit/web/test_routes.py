"""Targets to routes: decoded once, never an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from proxy.simple.model import NormalizedName
from proxy.web.routes import (
    Alive,
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
    label_of,
    route_of,
)

FOO = NormalizedName("foo")


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
