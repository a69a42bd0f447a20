"""Page parsers on damaged pages: they raise no other errors, use bounded time and memory, and are stable.

Each input is a page like PyPI's with a short list of changes: values replaced, keys removed, duplicated or nested,
elements moved, tokens inserted, bytes flipped, the end removed. ``make fuzz`` is the long form.
"""

from __future__ import annotations

import copy
import json
import re
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.utils import NormalizedName, is_normalized_name
from yarl import URL

from assay.errors import InvalidResponseError
from assay.policy.verdict import approve
from assay.render import PageLinks, PageListing, render_project
from assay.simple.location import basename, decode_location
from assay.simple.model import Project
from assay.simple.negotiate import PageFormat
from assay.simple.parse import parse_project, possible_projects
from assay.simple.root_list import RootListParser
from tests.property.fuzzing import examples

FOO = NormalizedName("foo")
BASE = "https://index.example/simple/foo/"
LINKS = PageLinks(files_prefix="../../files/", integrity_base="https://proxy.example")
OURS = "https://proxy.example/simple/foo/"
JSON, HTML = PageFormat.JSON.content_type, PageFormat.TEXT_HTML.content_type
WHEEL = "foo-1.0-py3-none-any.whl"
SHA = "3ac7b9d95c7e2b26a4b5cf0c5ecd5e0f6ba8d3a2b3b34e6ac4c8c4d5a6bfe777"


def _listed(filename: str, **more: object) -> dict[str, Any]:
    return {
        "core-metadata": {"sha256": SHA},
        "data-dist-info-metadata": {"sha256": SHA},
        "filename": filename,
        "hashes": {"sha256": SHA},
        "provenance": f"https://pypi.example/integrity/foo/1.0/{filename}/provenance",
        "requires-python": ">=3.9",
        "size": 6227,
        "upload-time": "2024-11-06T22:37:05.493160Z",
        "url": f"https://files.example/packages/1a/2b/3c/{filename}",
        "yanked": False,
        **more,
    }


PAGE: dict[str, Any] = {
    "alternate-locations": [],
    "files": [
        _listed(WHEEL),
        _listed("foo-1.0.tar.gz", yanked="a secret got in", provenance=None, **{"core-metadata": False}),
        _listed("foo-1.1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
        _listed("Foo-2!1.0+local.1-1.zip", url="../../packages/Foo-2%211.0%2Blocal.1-1.zip?sig=a%2Fb#sha256=x"),
    ],
    "meta": {"_last-serial": 25802913, "api-version": "1.4"},
    "name": "foo",
    "project-status": {"status": "active"},
    "versions": ["1.0", "1.1"],
}
TEXT = f"""<!DOCTYPE html>
<html>
  <head>
    <meta name="pypi:repository-version" content="1.4">
    <meta name="pypi:project-status" content="archived">
    <base href="https://files.example/simple/foo/">
    <title>Links for foo</title>
  </head>
  <body>
    <h1>Links for foo</h1>
<a href="https://files.example/packages/foo-1.0-py3-none-any.whl#sha256={SHA}" data-requires-python="&gt;=3.9" data-dist-info-metadata="sha256={SHA}" data-core-metadata="sha256={SHA}" data-provenance="https://pypi.example/integrity/foo/1.0/foo-1.0-py3-none-any.whl/provenance">foo-1.0-py3-none-any.whl</a><br />
<a href='../../packages/foo-1.0.tar.gz#md5=9f1e' data-yanked="a &quot;secret&quot; got in" data-size=6227 data-upload-time='2024-11-06T22:37:05Z'>foo-1.0.tar.gz</a><br />
<a href="foo-1.1.zip?a=1&amp;region=x">foo-1.1.zip</a>
<script>if (1 < 2) document.write("<a href=x-1.0.zip>")</script>
</body>
</html>
<!--SERIAL 25802913-->"""  # noqa: E501 - as indexes send it
ROOT: dict[str, Any] = {
    "meta": {"_last-serial": 31873455, "api-version": "1.4"},
    "projects": [{"_last-serial": 3075854, "name": name} for name in ("0", "foo", "Foo.Bar", "zope-interface", "z_1")],
}
ROOT_TEXT = "<!DOCTYPE html>\n<html><head><title>Simple index</title></head><body>\n" + "".join(
    f'<a href="/simple/{name.lower()}/">{name}</a>\n' for name in ("0", "foo", "Foo-Bar", "zope-interface")
)

hostile: list[Any] = [
    *(f"https://h/a//{WHEEL}", f"https://h//{WHEEL}", f"https://h/../{WHEEL}", f"https://h/a/%2E./{WHEEL}"),
    *(f"/./{WHEEL}", f"//h/{WHEEL}", "https://h/%66oo-1.0-py3-none-any.whl", f"https://h/a%2F{WHEEL}"),
    *(f"https://h/{WHEEL};a", f"HTTPS://H/{WHEEL}?a"),
    *("", "\0", "\r\n", "\ud800", "\u212a", "\ufeff", "a" * 300, "/" * 300, "../" * 40),
    *("%2e%2e/", "%00", "%", "//", "//["),
    *("foo-1.0.zip", "bar-1.0.zip", "foo-1.0-1.tar.gz", ".", "..", "-", "foo-1.0.zip\n"),
    *("file:///etc/passwd", "javascript:1"),
    *("https://", "https://@h/", "http://[::1", "https://h:99999999/a-1.0.zip"),
    *("https://h\\@i/a-1.0.zip", "http:h", "?#"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2024-13-01T00:00:00Z"),
    *("20240101T000000Z", "1.99", "2.0"),
    *("sha256", SHA.upper(), SHA + "\n", "&#x110000;", "&amp;lt;", "<a href=x>"),
    *('"><a href="foo-9.zip">', "-->", "]]>"),
    *(0, -1, 2**63, 10**30, 1.5, 1e308, True, False, None, [], {}, [[]], {"": ""}),
    *({"sha256": 1}, {"sha256": SHA}, ["1.0"]),
]  # fmt: skip
nested = st.integers(1, 60).map(lambda depth: json.loads("[" * depth + "]" * depth))
tokens = st.sampled_from(
    [
        *("{", "}", "[", "]", ",", ":", '"', "\\", "\\u", "\\ud83d", "\\x", "null", "NaN"),
        *("-Infinity", "1e999", "-", "0" * 5000),
        *("<", ">", "<a ", "</a>", "<!--", "-->", "--!>", "<!", "<?", "</", "='", '="', "'", "="),
        *("&", "&#", "&#x", "&ampamp;", "/"),
        *("<script>", "</script", "<title>", "<base href=//x>", "<base href='https://h/"),
        *("<input type=password>", "\0", "\x0c", "\r"),
        *('<meta name="pypi:repository-version" content="2.0">', "<!--SERIAL 9-->", "\ufeff"),
        *("\ud800", "\u2028", "é", "<a href>"),
        *("[" * 2000, "<a " * 300, "<!--" * 300, "&" * 300, "<a href='" + "../" * 400 + "'>"),
        *('"files":[],', '"name":"foo",'),
    ]
)  # fmt: skip
place = st.integers(0, 2**16)
value = st.sampled_from(hostile) | nested | st.text(max_size=8) | st.integers()
structural = st.lists(
    st.tuples(st.sampled_from(["replace", "lose", "double", "rename", "swap", "nest"]), place, place, value), max_size=4
)
textual = st.lists(
    st.tuples(st.sampled_from(["put", "cut", "cross", "flip", "repeat", "end"]), place, place, tokens), max_size=3
)
Structural = list[tuple[str, int, int, Any]]
Textual = list[tuple[str, int, int, str]]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Yield each container of a document with each of its keys."""
    found = []
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += [(value, key), *_places(inner)]
    return found


def damaged(document: Any, script: Structural) -> Any:
    """Return the document after all steps, each at some place in it."""
    document = copy.deepcopy(document)
    for step, first, second, new in script:
        places = _places(document)
        if not places:
            return document
        (holder, key), (other, beside) = places[first % len(places)], places[second % len(places)]
        match step:
            case "replace":
                holder[key] = copy.deepcopy(new)
            case "lose":
                del holder[key]
            case "double" if isinstance(holder, list):
                holder.insert(key, copy.deepcopy(holder[key]))
            case "rename" if isinstance(holder, dict):
                holder[new if isinstance(new, str) else f"{key}!"] = holder.pop(key)
            case "swap":
                holder[key], other[beside] = copy.deepcopy(other[beside]), copy.deepcopy(holder[key])
            case "nest":
                holder[key] = [copy.deepcopy(holder[key])]
            case _:
                pass
    return document


def spoiled(text: str, script: Textual) -> bytes:
    """Return the encoded text after all steps; characters that cannot be encoded become invalid UTF-8."""
    for step, first, second, token in script:
        at, to = sorted((first % (len(text) + 1), second % (len(text) + 1)))
        match step:
            case "put":
                text = text[:at] + token + text[at:]
            case "cut":
                text = text[:at] + text[to:]
            case "cross":
                text = text[:to] + text[at:]
            case "flip":
                text = text[:at] + chr(second % 256) + text[at + 1 :]
            case "repeat":
                text = text[:at] + text[at:to] * 3 + text[to:]
            case _:
                text = text[:at]
    return text[: 2**17].encode("utf-8", "surrogatepass")


def read(body: bytes, content_type: str, base: str = BASE) -> Project | None:
    with suppress(InvalidResponseError):
        return parse_project(body, content_type, base, FOO)
    return None


def servable(project: Project) -> PageListing:
    """Return the files that a policy could approve: files of the project with a digest, named like their URL."""
    files = (
        file
        for file in project.files
        if file.distribution is not None and file.sha256 is not None and file.filename == basename(file.location)
    )
    return PageListing(project=project, approved=tuple(approve(file, rule="r", evidence=None) for file in files))


def check(project: Project | None) -> None:
    """Check the properties that every parsed page has."""
    if project is None:
        return
    for file in project.files:
        assert (file.distribution is None) == (file.refusal is not None)
        if file.distribution is None:
            continue
        assert file.distribution.project == FOO
        assert FOO in possible_projects(file.filename), "a request for it would not find it"
        assert decode_location(file.route) == file.location
        assert re.fullmatch(r"[!-~]+", file.url)
        assert "?" not in file.route
        assert "#" not in file.route
        assert not file.location.startswith("/")
        assert urljoin(OURS, f"../../files/{file.route}") == f"https://proxy.example/files/{file.route}"
        assert str(URL(OURS).join(URL(f"../../files/{file.route}", encoded=True))).endswith(f"/files/{file.route}")
    stable(project)


def stable(project: Project) -> None:
    """Check that a rendered page is parsed to the approved files, and rendered again to the same bytes."""
    page = servable(project)
    for form in (PageFormat.JSON, PageFormat.HTML):
        body = render_project(page, form, LINKS)
        again = read(body, form.content_type, OURS)
        assert again is not None
        assert len(again.files) == len(page.approved)
        for was, now in zip(page.approved, again.files, strict=True):
            assert (now.filename, now.sha256, now.distribution) == (
                was.file.filename,
                was.file.sha256,
                was.file.distribution,
            )
            assert now.url == f"https://proxy.example/files/{was.file.route}"
            assert (now.yanked is None) == (was.file.yanked is None)
            assert now.core_metadata == was.file.core_metadata
        third = read(render_project(servable(_moved_back(again, page)), form, LINKS), form.content_type, OURS)
        assert third is not None
        # HTML has no sizes, so its page states the API version without sizes.
        assert (third if form is PageFormat.JSON else replace(third, api_version=again.api_version)) == again


def _moved_back(again: Project, page: PageListing) -> Project:
    """Return `again` with the addresses of the index, as a second proxy in the place of the first would read it."""
    files = tuple(
        replace(now, url=was.file.url, location=was.file.location, route=was.file.route, provenance=was.file.provenance)
        for now, was in zip(again.files, page.approved, strict=True)
    )
    known = tuple((key, value) for key, value in again.extra if key != "_withheld")
    return replace(again, files=files, extra=known)


@settings(max_examples=examples(300))
@given(structural, textual)
@example([("replace", 1, 0, "\ud800")], [])
def test_a_damaged_json_page_is_a_page_or_nonsense(structure: Structural, script: Textual) -> None:
    check(read(spoiled(json.dumps(damaged(PAGE, structure), ensure_ascii=False), script), JSON))


@settings(max_examples=examples(300))
@given(textual, st.sampled_from(["", "; charset=latin-1", "; charset=windows-1252", '; charset="utf-8"']))
def test_a_damaged_html_page_is_a_page_or_nonsense(script: Textual, charset: str) -> None:
    check(read(spoiled(TEXT, script), f"text/html{charset}"))


def names_in(body: bytes, content_type: str, size: int) -> list[str] | None:
    parser, names = RootListParser(content_type), list[str]()
    try:
        for at in range(0, len(body), size):
            names += parser.feed(body[at : at + size])
        return names + parser.close()
    except InvalidResponseError:
        return None


@settings(max_examples=examples(300))
@given(structural, textual, st.integers(1, 50), st.booleans())
def test_a_damaged_root_list_is_names_or_nonsense_in_any_pieces(
    structure: Structural, script: Textual, size: int, html: bool
) -> None:
    text = ROOT_TEXT if html else json.dumps(damaged(ROOT, structure), ensure_ascii=False)
    body, content_type = spoiled(text, script), HTML if html else JSON
    names = names_in(body, content_type, len(body) + 1)
    assert names_in(body, content_type, size) == names
    for name in names or ():
        assert is_normalized_name(re.sub(r"[-_.]+", "-", name).lower())


units = st.lists(
    tokens | st.sampled_from([json.dumps(PAGE["files"][0]), TEXT[400:900], "a", " "]), min_size=1, max_size=3
)


@settings(max_examples=examples(30, share=0.02))
@given(units, units, st.sampled_from([JSON, HTML]), st.sampled_from(["page", "root list"]))
@example(['{"files":['], ["[" * 2000], JSON, "page")
@example(["<base href='//h/" + "a" * 9000 + "/'>"], ["<a href=x-1.zip>"], HTML, "page")
@example(["<!--"], ["<!--" * 300], HTML, "page")
@example(["<a x='"], ["& "], HTML, "root list")
@example(['{"projects":['], ['{"name":"a"},'], JSON, "root list")
@example(['{"files":['], ['{"filename":"foo-1.zip","url":"//h/foo-1.zip"},'], JSON, "page")
def test_what_is_repeated_costs_no_more_than_its_length(
    first: list[str], again: list[str], kind: str, what: str
) -> None:
    head, unit = "".join(first), "".join(again)
    body = (head + unit * (2**17 // len(unit) + 1))[: 2**17].encode("utf-8", "surrogatepass")
    feed: Callable[[], object] = (lambda: read(body, kind)) if what == "page" else (lambda: names_in(body, kind, 2**14))
    began = time.process_time()
    feed()
    assert time.process_time() - began < 5, "a second for a megabyte would be slow"
    tracemalloc.start()
    try:
        feed()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * len(body), "of a hundred times its size nobody could keep 128 MiB"
