from __future__ import annotations

import pytest

from assay.simple.negotiate import PageFormat, etag_matches, negotiate, negotiate_coding

JSON, HTML, TEXT = PageFormat.JSON, PageFormat.HTML, PageFormat.TEXT_HTML
V1 = "application/vnd.pypi.simple.v1"
LATEST = "application/vnd.pypi.simple.latest"
PIP = f"{V1}+json, {V1}+html; q=0.1, text/html; q=0.01"
UV = f"application/vnd.pyx.simple.v1+msgpack, {V1}+json, {V1}+html;q=0.2, text/html;q=0.01"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, TEXT),
        ("", TEXT),
        (PIP, JSON),
        (UV, JSON),
        ("*/*", TEXT),
        ("text/html", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
        (f"{V1}+json", JSON),
        (f"{V1}+JSON;Q=0.5", JSON),
        (f"{V1}+html", HTML),
        (f"{LATEST}+json", JSON),
        (f"{LATEST}+html, */*;q=0.1", HTML),
        (f"{V1}+json;q=0.5, {V1}+html;q=0.6", HTML),
        (f"{V1}+json, {V1}+html, text/html;q=0.01", JSON),  # pypi-simple, "JSON preferred"
        (f"{V1}+html, {V1}+json, text/html;q=0.01", JSON),
        (f"text/html, {V1}+html, {V1}+json", JSON),
        (f"text/html;q=0.5, {V1}+html;q=0.5", HTML),
        (f"{V1}+html, {V1}+json;q=0.9", HTML),
        (f"{LATEST}+json, text/html", JSON),
        (f"{V1}+json, */*", JSON),
        (f"{V1}+html, */*", HTML),
        ("text/html, */*", TEXT),
        ("application/*", HTML),
        (f"{V1}+json;q=0, */*", TEXT),
        (f"{V1}+json;q=0", TEXT),
        ("text/html;q=0, */*", HTML),
        ("text/*;q=0, application/*;q=0.1", HTML),
        (f"application/*, {V1}+html;q=0.1", JSON),
        (f"*/*;q=0.1, {V1}+json;q=0.2", JSON),
        (f"{V1}+json;q=0.000, text/html;q=0.001", TEXT),
        (f"{V1}+json;q=1.000, text/html;q=0.999", JSON),
        (f",, {V1}+json ,", JSON),
        (f'{V1}+json;x="a,b;q=0"', JSON),
        ("image/png", TEXT),
        (f"{V2}+json" if (V2 := "application/vnd.pypi.simple.v2") else "", TEXT),
    ],
)
def test_a_client_gets_what_it_likes_best(accept: str | None, expected: PageFormat) -> None:
    assert negotiate(accept, None) is expected


@pytest.mark.parametrize(
    "accept",
    [
        f"{V1}+json;q=abc",
        f"{V1}+json;q=",
        f"{V1}+json;q=2",
        f"{V1}+json;q=-1",
        f"{V1}+json;q=0.1234",
        f"{V1}+json;q=1.1",
        f"{V1}+json;q=nan",
        f"{V1}+json;q=\u0660",
        f"{V1}+json, text",
        f"{V1}+json, a/b/c",
        f"{V1}+json, \x00",
        f'{V1}+json;x="',
        f"{V1}+json," * 1000,
        "/",
        ";q=1",
    ],
)
def test_a_malformed_accept_is_served_html_and_never_an_error(accept: str) -> None:
    assert negotiate(accept, None) in {TEXT, JSON}
    if '"' not in accept:
        assert negotiate(accept, None) is TEXT


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (f"{V1}+json", JSON),
        (f"{V1} json", JSON),
        (f"{V1}+HTML", HTML),
        (f"{LATEST}+json", JSON),
        ("text/html", TEXT),
        ("json", HTML),
        ("", HTML),
        (None, HTML),
    ],
)
def test_the_format_parameter_goes_before_accept_where_it_is_known(asked: str | None, expected: PageFormat) -> None:
    assert negotiate(f"{V1}+html", asked) is expected


def test_a_format_says_its_content_type() -> None:
    assert [kind.content_type for kind in (JSON, HTML, TEXT)] == [
        f"{V1}+json",
        f"{V1}+html; charset=utf-8",
        "text/html; charset=utf-8",
    ]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "identity"),
        ("", "identity"),
        ("identity", "identity"),
        ("gzip", "gzip"),
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, br", "br"),
        ("x-gzip", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("gzip;q=0", "identity"),
        ("*", "gzip"),
        ("br, *", "br"),
        ("gzip;q=0, *", "identity"),
        ("*;q=0", "identity"),
        ("br;q=0, *", "gzip"),
        ("gzip;q=1, br;q=0.5", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("zstd", "identity"),
        ("gzip;q=x", "identity"),
        ("gzip deflate", "identity"),
    ],
)
def test_a_coding_is_chosen_from_those_offered(accept: str | None, expected: str) -> None:
    assert negotiate_coding(accept, ["br", "gzip"]) == expected


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (None, False),
        ("", False),
        ('"abc"', True),
        ('W/"abc"', True),
        ("*", True),
        (" * ", True),
        ('"x", "abc"', True),
        ('"x" ,, W/"abc" , ', True),
        ('"x,"abc"', False),
        ('"abc', False),
        ("abc", False),
        ('"ABC"', False),
        ('"abc" "x"', False),
        ('"x,y", "abc"', True),
        ('"x y", "abc"', False),
        ('*, "abc"', False),
        ('w/"abc"', False),
        ('"abc",' * 2000, False),
    ],
)
def test_if_none_match_is_compared_weakly(header: str | None, *, matches: bool) -> None:
    assert etag_matches(header, '"abc"') is matches
    assert etag_matches(header, 'W/"abc"') is matches
    assert not etag_matches(header, '"other"') or header in {"*", " * "}
