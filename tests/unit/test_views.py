"""Tests of the settings of views: distinct paths and names, and access restricted only by `users`."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from assay.errors import ConfigurationError
from assay.policy.language.model import Showing
from assay.users import Authentication, User
from assay.views import RESERVED_SEGMENTS
from assay.web.routing.routes import Route, UnknownRoute
from assay.web.routing.targets import match_route
from tests.unit.config_text import load

AUTH = '[server.auth]\ntokens = "tokens"\n'


def view(name: str, path: str, more: str = "") -> str:
    return f'[[views]]\nname = "{name}"\npath = "{path}"\n{more}\n'


def test_without_tables_there_is_one_view_with_the_policy_of_the_top_level(tmp_path: Path) -> None:
    (only,) = load(tmp_path, 'policy = "p.toml"').all_views
    assert (only.name, only.path, only.prefix) == ("default", "/", "")
    assert (only.policy, only.users) == (tmp_path / "p.toml", None)


def test_tables_stand_beside_the_view_at_the_root_and_their_policies_start_at_the_file(tmp_path: Path) -> None:
    text = 'policy = "p.toml"\n' + view("strict", "/strict/", 'policy = "s.toml"') + view("dev", "/dev/")
    root, strict, dev = load(tmp_path, text).all_views
    assert (root.name, root.policy) == ("default", tmp_path / "p.toml")
    assert (strict.name, strict.path, strict.prefix) == ("strict", "/strict/", "/strict")
    assert strict.policy == tmp_path / "s.toml"
    assert dev.policy is None, "the built-in policy, never that of another view"


def test_a_view_may_set_withheld_to_each_value_of_the_language(tmp_path: Path) -> None:
    tables = [view(each.value, f"/{each.value}/", f'withheld = "{each.value}"') for each in Showing]
    root, *views = load(tmp_path, "".join(tables)).all_views
    assert root.withheld is None, "as its policy says"
    assert [each.withheld for each in views] == list(Showing)
    with pytest.raises(ConfigurationError, match=r"views\[0\]\.withheld"):
        load(tmp_path, view("strict", "/strict/", 'withheld = "show"'))


def test_a_table_may_be_the_view_at_the_root(tmp_path: Path) -> None:
    text = AUTH + view("dev", "/dev/") + view("people", "/", 'policy = "p.toml"\nusers = ["alice"]')
    root, dev = load(tmp_path, text).all_views
    assert (root.name, root.path, root.policy, root.users) == ("people", "/", tmp_path / "p.toml", ("alice",))
    assert dev.name == "dev"
    alice, other, bob = (User(name, Authentication.TOKEN) for name in ("alice", "Alice", "bob"))
    assert [root.admits(alice), root.admits(other), root.admits(None)] == [True, False, False]
    assert [dev.admits(bob), dev.admits(None)] == [True, True]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("strict", "/strict/"),
        ("/strict", "/strict/"),
        ("strict/", "/strict/"),
        ("/a/b-1.x_~", "/a/b-1.x_~/"),
        ("/", "/"),
    ],
)
def test_slashes_at_the_ends_need_not_be_written(tmp_path: Path, written: str, meant: str) -> None:
    [found] = load(tmp_path, view("v", written)).views
    assert found.path == meant


@pytest.mark.parametrize(
    "path",
    [
        *("", "//", "//strict/", "/strict//", "/a//b/", "/Strict/", "/str%69ct/", "/a b/", "/ä/", "/..", "/a/../b/"),
        *("/./a/", "/a?b/", "/a#b/", "/a:b/", "/" + "a" * 300 + "/"),
    ],
)
def test_a_path_that_could_be_written_otherwise_or_means_something_else_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r'proxy\.toml:3: views\[0\]\.path: expected a path such as "/strict/"'
    ):
        load(tmp_path, view("v", path))


@pytest.mark.parametrize("segment", sorted(RESERVED_SEGMENTS))
def test_no_view_takes_an_address_of_the_view_at_the_root(tmp_path: Path, segment: str) -> None:
    said = f"a path that does not begin with /{segment}, which the view at / uses"
    with pytest.raises(ConfigurationError, match=said):
        load(tmp_path, view("v", f"/{segment}/more/"))
    assert load(tmp_path, view("v", f"/more/{segment}/")).views


def test_every_route_begins_with_what_no_view_may_begin_with() -> None:
    targets = ["/simple/", "/simple/a/", "/simple/A", "/files/h/a.whl", "/files/h/a.whl.metadata", "/", "/healthz"]
    targets += [
        "/integrity/a/1/f/provenance",
        f"/attestations/{'0' * 64}",
        "/readyz",
        "/metrics",
        "/project/a",
        "/policy",
        "/search",
    ]
    targets += ["/favicon.svg", "/favicon.ico", "/overview", "/refusals"]
    targets += ["/osv/v1/query", "/osv/v1/querybatch", "/osv/v1/vulns/GHSA-1"]
    targets += ["/upload/a/", "/hosted/a/", "/hosted/a/b/yank"]
    assert {type(match_route(target)) for target in targets} | {UnknownRoute} == set(get_args(Route)), "all routes"
    assert {target.split("/")[1] for target in targets} - {""} == RESERVED_SEGMENTS


MANY = [view(f"v{number}", f"/v{number}/") for number in range(33)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (view("a", "/a/") + view("b", "/a/"), ": views[1].path: expected a path that does not begin with /a/"),
        (view("a", "/a/") + view("b", "/a/b/"), ": views[1].path: expected a path that does not begin with /a/"),
        (view("b", "/a/b/") + view("a", "/a/"), ":3: views[0].path: expected a path that does not begin with /a/"),
        (view("a", "/a/") + view("a", "/b/"), ": views[1].name: expected a name that no other view has"),
        (view("default", "/a/"), ":2: views[0].name: expected another name, because this one is reserved"),
        (view("A B", "/a/"), ":2: views[0].name: "),
        (view("a", "/a/", 'users = ["x"]'), ":4: views[0].users: expected a [server.auth] table"),
        (AUTH + view("a", "/a/", "users = []"), ":6: views[0].users: expected at least 1 element"),
        (view("a", "/a/", 'polcy = "x"'), 'did you mean "policy"?'),
        ('policy = "x"\n' + view("a", "/"), ":1: policy: expected no value here or in ASSAY_POLICY, because views[0]"),
        ("".join(MANY), "views: expected at most 32 views"),
    ],
)
def test_what_is_wrong_among_views_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        view("a", "/a/") + view("b", "/ab/"),
        view("a", "/a/b/") + view("b", "/a/c/"),
        view("a", "/") + view("b", "/b/"),
        view("default", "/"),
        AUTH + view("a", "/a/", 'users = ["x"]'),
        "".join(MANY[:32]),
    ],
)
def test_the_twins_are_good(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).views


def test_a_policy_from_the_environment_counts_as_the_top_levels(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no value here or in ASSAY_POLICY"):
        load(tmp_path, view("a", "/"), ASSAY_POLICY="/p.toml")
    assert load(tmp_path, view("a", "/a/"), ASSAY_POLICY="/p.toml").all_views[0].policy == Path("/p.toml")
