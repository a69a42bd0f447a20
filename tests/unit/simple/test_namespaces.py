"""Tests of namespaces (PEP 752): read from JSON pages, and passed on unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assay.render import PageLinks, PageListing, render_project
from assay.simple.model import NormalizedName
from assay.simple.namespaces import Namespace, read_namespaces
from assay.simple.negotiate import PageFormat
from assay.simple.parse import parse_project

GRANTS = [{"name": "acme", "owned": True, "more": 1}, {"name": "acme-tools", "owned": False}]


def parse(**keys: Any) -> Any:
    body = {"meta": {"api-version": "1.5"}, "name": "acme-widget", "files": [], **keys}
    return parse_project(
        json.dumps(body).encode(),
        "application/vnd.pypi.simple.v1+json",
        "https://pypi.org/simple/acme-widget/",
        NormalizedName("acme-widget"),
    )


def test_the_namespaces_of_a_page_are_read() -> None:
    assert read_namespaces(parse(namespaces=GRANTS)) == (
        Namespace(name="acme", is_owned=True),
        Namespace(name="acme-tools", is_owned=False),
    )
    assert [each.describe() for each in read_namespaces(parse(namespaces=GRANTS))] == [
        "acme (owned)",
        "acme-tools (not owned)",
    ]


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "acme",
        [],
        ["acme"],
        [{}],
        [{"name": 1}],
        [{"name": ""}],
        [{"name": "a\nb"}],
        [{"name": "x" * 300}],
        [None, {"owned": True}],
    ],
)
def test_a_malformed_value_is_no_namespace(value: object) -> None:
    assert read_namespaces(parse(namespaces=value)) == ()
    assert read_namespaces(parse()) == ()


def test_only_true_means_owned_and_the_number_is_limited() -> None:
    listed = [{"name": f"n{number}", "owned": "true"} for number in range(30)]
    found = read_namespaces(parse(namespaces=listed))
    assert len(found) == 20
    assert not any(each.is_owned for each in found)


def test_the_key_is_passed_on_unchanged() -> None:
    links = PageLinks(files_prefix="../../files/", integrity_base=None)
    for value in (GRANTS, None):
        page = render_project(PageListing(project=parse(namespaces=value), approved=()), PageFormat.JSON, links)
        assert json.loads(page)["namespaces"] == value
