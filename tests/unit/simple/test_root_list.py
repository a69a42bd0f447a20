from __future__ import annotations

import json

import pytest

from assay.errors import InvalidResponseError
from assay.simple.root_list import MAX_JSON_ELEMENT_CHARACTERS, RootListParser

JSON = "application/vnd.pypi.simple.v1+json"
PAGE = {
    "meta": {"api-version": "1.4", "_last-serial": 5},
    "projects": [{"name": "Foo.Bar", "_last-serial": 12345}, {"name": "baz"}, {"x": [{}], "name": "ü"}, {"name": "q"}],
}
NAMES = ["Foo.Bar", "baz", "q"]
LIST = """<!DOCTYPE html><html><head><title>Simple index</title><script>'<a href="no/">no</a>'</script></head><body>
<!-- <a href="no/">no</a> -->
<a href="foo-bar/">Foo.Bar</a><br/>
<a href="/simple/baz/"> baz </a><a>no</a><a href="../">Parent</a>
<a href="a-very-long-name/">a-very-lo..&gt;</a> <a href="%62ar/">bar/</a>
<a href="<x>/">&lt;x&gt;</a><a href="?C=N">N</a>
</body></html>"""


def _read(body: bytes, content_type: str, size: int = 1 << 20) -> list[str]:
    parser = RootListParser(content_type)
    names = [name for place in range(0, len(body), size) for name in parser.feed(body[place : place + size])]
    return names + parser.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
def test_names_come_whatever_the_pieces_are(size: int) -> None:
    for text in (json.dumps(PAGE), json.dumps(PAGE, indent=2), json.dumps(PAGE, ensure_ascii=False)):
        assert _read(text.encode(), JSON, size) == NAMES
    assert _read(LIST.encode(), "text/html", size) == ["Foo.Bar", "baz", "a-very-long-name", "bar"]


@pytest.mark.parametrize(
    "text",
    [
        '{"projects": []}',
        '{"projects": [], "meta": {}}',
        '{"x": 12, "y": 1.5e3, "z": null, "projects": [ ] }\n',
        '\ufeff{"projects": []}',
    ],
)
def test_an_empty_list_is_a_list(text: str) -> None:
    for size in (1, 100):
        assert _read(text.encode(), JSON, size) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "truncated"),
        ("{", "truncated"),
        ("{}", r"root list: projects: expected a list"),
        ("[]", "not JSON"),
        ('{"projects": {}}', "expected one list"),
        ('{"projects": [], "projects": []}', "expected one list"),
        ('{"projects": [] "x": 1}', "not JSON"),
        ('{"projects": [],}', "not JSON"),
        ('{"projects" []}', "not JSON"),
        ('{"projects": [7]}', "not JSON"),
        ('{"projects": [{"name": 7}]}', r"projects\[\].name: expected a string, found 7"),
        ('{"projects": [{}]}', r"projects\[\].name: expected a string, found None"),
        ('{"projects": [{"name": "a"}, 7]}', r"projects\[\].name: expected a string, found 7"),
        ('{"projects": [{"name": "a"} {"name": "b"}]}', "not JSON"),
        ('{"projects": [{"name": "a"}', "truncated"),
        ('{"projects": [{"name": "a"}]', "truncated"),
        ('{"projects": []} x', "not JSON"),
        ('{"meta": {"api-version": "2.0"}, "projects": []}', "expected an API version"),
        ('{"projects": [{"name": "' + "a" * MAX_JSON_ELEMENT_CHARACTERS + '"}]}' + " " * 10, "longer than|too"),
        ('{"projects": [' + "[" * 100_000, "not JSON"),
        ('{"projects": [{"name": ' + "[" * 100_000, "deep|longer"),
        ('{"x": ' + "[" * 100_000, "deep|longer"),
    ],
)
def test_what_is_no_root_list_is_nonsense(text: str, message: str) -> None:
    if "aaaa" in text:
        text = text.replace('"}]}', "")
    with pytest.raises(InvalidResponseError, match=message):
        _read(text.encode(), JSON)


@pytest.mark.parametrize("text", ["", "busy", "<!-- x -->", '<a href="foo/">fo', '<html><a href="foo/', "<html><!--"])
def test_html_that_is_cut_off_or_is_none_is_nonsense(text: str) -> None:
    with pytest.raises(InvalidResponseError):
        _read(text.encode(), "text/html")


def test_html_of_another_major_version_is_nonsense() -> None:
    meta = '<html><meta name="pypi:repository-version" content="{}"><a href="a/">a</a>'
    assert _read(meta.format("1.4").encode(), "text/html") == ["a"]
    with pytest.raises(InvalidResponseError, match="API version"):
        _read(meta.format("2.0").encode(), "text/html")


def test_bytes_that_are_no_utf_8_are_nonsense_in_json() -> None:
    with pytest.raises(InvalidResponseError, match="not UTF-8"):
        _read(b'{"projects": [{"name": "\xff"}]}', JSON)


def test_another_content_type_is_nonsense() -> None:
    with pytest.raises(InvalidResponseError):
        RootListParser("text/plain")


def test_a_link_with_markup_in_its_text_is_known_by_where_it_leads() -> None:
    assert _read(
        b'<html><a href="foo/"><b>Foo</b></a>' + b'<a href="bar/">' + b" " * 5000 + b"Bar</a>", "text/html"
    ) == [
        "foo",
        "bar",
    ]


def test_more_projects_than_there_can_be_are_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.simple.root_list.MAX_PROJECTS", 2)
    projects = [{"name": name} for name in "abc"]
    assert _read(json.dumps({"projects": projects[:2]}).encode(), JSON) == ["a", "b"]
    with pytest.raises(InvalidResponseError, match="more than 2"):
        _read(json.dumps({"projects": projects}).encode(), JSON)


def test_no_more_is_held_than_one_element() -> None:
    parser = RootListParser(JSON)
    parser.feed(b'{"projects": [')
    with pytest.raises(InvalidResponseError, match="longer than"):
        parser.feed(b'{"name": "' + b"a" * (MAX_JSON_ELEMENT_CHARACTERS + 1))
