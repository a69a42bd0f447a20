"""Search terms that lead to a project, and terms that lead to none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import is_normalized_name

from assay.simple.search import SearchTarget, find_search_target

PYPI, FILES = "https://pypi.org", "https://files.pythonhosted.org/packages/12/34/abcdef"


@pytest.mark.parametrize(
    ("text", "project", "version"),
    [
        ("Foo", "foo", None),
        ("  zope.interface ", "zope-interface", None),
        ("foo[extra]>=1", "foo", None),
        ("foo[a,b] >= 1, < 2 ; python_version < '3.12'", "foo", None),
        ("foo==1.0", "foo", "1.0"),
        ("foo == 1.0.0-RC1", "foo", "1.0.0rc1"),
        ("foo==1.*", "foo", None),
        ("foo==1.0,!=1.1", "foo", "1.0"),
        ("foo===1.0", "foo", "1.0"),
        ("foo==1.0 --hash=sha256:abc --hash=sha256:def", "foo", "1.0"),
        ("foo==1.0 \\", "foo", "1.0"),
        ("foo==1.0  # via bar", "foo", "1.0"),
        ("foo @ https://example.org/bar-1.0.tar.gz", "foo", None),
        ("foo_bar-1.0-py3-none-any.whl", "foo-bar", "1.0"),
        ("foo_bar-1.0-py3-none-any.whl.metadata", "foo-bar", "1.0"),
        ("foo-bar-1.0.tar.gz", "foo-bar", "1.0"),
        ("foo-1.0-1.tar.gz", "foo", "1.0.post1"),
        (f"{FILES}/foo-1.0.tar.gz#sha256=12", "foo", "1.0"),
        (f"{FILES}/foo-1.0%2Blocal-py3-none-any.whl", "foo", "1.0+local"),
        (f"{PYPI}/project/Foo/", "foo", None),
        (f"{PYPI}/project/foo/1.0/", "foo", "1.0"),
        (f"{PYPI}/project/foo/#files", "foo", None),
        (f"{PYPI}/simple/foo/", "foo", None),
        (f"{PYPI}/pypi/foo/json", "foo", None),
        (f"{PYPI}/pypi/foo/1.0/json", "foo", "1.0"),
        (f"{PYPI}/p/foo", "foo", None),
        (f"{PYPI}/integrity/foo/1.0/foo-1.0.tar.gz/provenance", "foo", "1.0"),
        ("http://localhost:8000/strict/project/foo?version=1.0#version-1.0", "foo", None),
        ("/files/files.pythonhosted.org/packages/foo-1.0.tar.gz", "foo", "1.0"),
        ("pypi.org/project/foo", "foo", None),
    ],
)
def test_a_term_leads_to_a_project(text: str, project: str, version: str | None) -> None:
    assert find_search_target(text) == SearchTarget(project=project, version=version)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-foo",
        "foo bar",
        "a" * 300,
        "<script>alert(1)</script>",
        "javascript://pypi.org/project/foo",
        "https://[",
        f"{PYPI}/project/",
        f"{PYPI}/project/%3Cb%3E/",
        f"{PYPI}/help/",
        ".whl",
        "-1.0.tar.gz",
        "fo\u202eo",
        "\u212aelvin",
    ],
)
def test_a_term_leads_to_no_project(text: str) -> None:
    assert find_search_target(text) is None


@given(
    st.text() | st.from_regex(r"https?://[a-z.]+/(project|simple|files)/.{0,40}") | st.from_regex(r"[a-z]+[<>=!~]=.*")
)
def test_no_term_is_an_error_and_every_target_is_a_name(text: str) -> None:
    found = find_search_target(text)
    if found is not None:
        assert is_normalized_name(found.project)
        assert len(found.project) <= 256
