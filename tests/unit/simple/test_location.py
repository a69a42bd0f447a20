from __future__ import annotations

import pytest

from assay.simple.location import basename, decode_location, resolve_address

PAGE = "https://index.example/simple/foo/"


@pytest.mark.parametrize(
    ("reference", "url", "location", "route"),
    [
        ("https://h.example/a/f.whl#sha256=0", "https://h.example/a/f.whl", "h.example/a/f.whl", "h.example/a/f.whl"),
        ("https://H.Example:8080/a", "https://H.Example:8080/a", "h.example:8080/a", "h.example:8080/a"),
        ("../../f/x.whl", "https://index.example/f/x.whl", "index.example/f/x.whl", "index.example/f/x.whl"),
        ("/f/x.whl", "https://index.example/f/x.whl", "index.example/f/x.whl", "index.example/f/x.whl"),
        ("//h/x.whl", "https://h/x.whl", "h/x.whl", "h/x.whl"),
        ("https://h/x%2B1.whl?sig=a%2Fb", "https://h/x%2B1.whl?sig=a%2Fb", "h/x+1.whl", "h/x%2B1.whl"),
        ("https://h/x+1.whl", "https://h/x+1.whl", "h/x+1.whl", "h/x+1.whl"),
        ("https://h/a%252Fb", "https://h/a%252Fb", "h/a%2Fb", "h/a%252Fb"),
        ("https://[::1]:80/x", "https://[::1]:80/x", "[::1]:80/x", "[::1]:80/x"),
        ("https://u:p@h/x", "https://u:p@h/x", "h/x", "h/x"),
        ("https://h", "https://h", "h", "h"),
        ("https://h?q=/x", "https://h?q=/x", "h", "h"),
        ("https://h/%ff", "https://h/%ff", "h/\ufffd", "h/%ff"),
        ("https://h/a;b=1/(x)", "https://h/a;b=1/(x)", "h/a;b=1/(x)", "h/a;b=1/(x)"),
        ("https://h/a//x.whl", "https://h/a//x.whl", "h/a//x.whl", "h/a/%2Fx.whl"),
        ("https://h/a/.x/..y/z.", "https://h/a/.x/..y/z.", "h/a/.x/..y/z.", "h/a/.x/..y/z."),
        ('https://h/"a"', 'https://h/"a"', 'h/"a"', "h/%22a%22"),
    ],
)
def test_a_url_is_matched_decoded_once_and_given_out_encoded(
    reference: str, url: str, location: str, route: str
) -> None:
    assert resolve_address(reference, PAGE) == (url, location, route, None)
    assert decode_location(route) == location


@pytest.mark.parametrize(
    "reference",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "mailto:a@b.example",
        "https:///x.whl",
        "https://user@/x.whl",
        "https://h/a b.whl",
        "https://h\\@evil.example/x",
        "https://h/\x00x",
        "https://h/a\tb",
        "https://h/caf\xe9",
        "https://h/\udc80",
        "//[bad/x",
        "https:x.whl",
        "https://h/a/../x.whl",
        "https://%2F/x.whl",
        "https://%68/x.whl",
        "https://h/./x.whl",
        "https://h/a/%2e%2E/x.whl",
        "https://h/a/..",
    ],
)
def test_a_url_that_leads_nowhere_has_a_location_that_no_request_has(reference: str) -> None:
    place = resolve_address(reference, PAGE)
    assert place.refusal is not None
    assert place.location.startswith("/")
    assert place.route.startswith("/")
    assert place.route.isascii()


def test_a_location_ends_with_the_filename() -> None:
    assert basename("h/a/foo-1.0.zip") == "foo-1.0.zip"
    assert basename("h/a/") == basename("h") == ""
