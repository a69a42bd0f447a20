"""Property tests of rendering: a parsed page equals the approved files, whatever values the index sent."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.utils import NormalizedName

from assay.policy.verdict import ReasonCode, Withheld, approve, state_reason
from assay.render import PageLinks, PageListing, render_project
from assay.simple.model import File, Project
from assay.simple.negotiate import PageFormat
from assay.simple.parse import parse_project
from tests.property.fuzzing import examples

FOO = NormalizedName("foo")
LINKS = PageLinks(files_prefix="../../files/", integrity_base="https://proxy.example")
OURS = "https://proxy.example/simple/foo/"

# All characters of JSON except lone surrogates and NUL, which an HTML document cannot contain.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.text(
    st.sampled_from("<>\"'&;=-!/\r\n\t\\ a#%"), max_size=16
)
hexadecimal = st.text("0123456789abcdef", min_size=64, max_size=64)
filenames = st.sampled_from(["foo-1.0-py3-none-any.whl", "foo-1.0.tar.gz", "foo-2!1.0+a.zip", "foo-1.0.win32.exe"]) | (
    text.filter(lambda name: name.strip(".") != "" and "/" not in name)
)
metadata = st.booleans() | st.builds(lambda digest: {"sha256": digest}, hexadecimal)
extra = st.dictionaries(
    text.map("x-".__add__), st.recursive(st.none() | st.integers() | text, st.lists, max_leaves=4), max_size=2
)


def _entry(filename: str, directory: str, more: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
    url = f"https://files.example/p/{quote(directory, safe='')}/{quote(filename, safe='')}"
    return {"filename": filename, "url": url, **unknown, **more}


entries = st.builds(
    _entry,
    filenames,
    text.filter(lambda directory: directory.strip(".") != ""),
    st.fixed_dictionaries(
        {"hashes": st.builds(lambda digest: {"sha256": digest, "md5": "0"}, hexadecimal)},
        optional={
            "requires-python": text | st.none(),
            "size": st.integers(0, 2**40),
            "upload-time": st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z"),
            "yanked": st.booleans() | text.filter(bool),
            "core-metadata": metadata,
            "provenance": text | st.none(),
        },
    ),
    extra,
)
pages = st.fixed_dictionaries(
    {"files": st.lists(entries, max_size=4)},
    optional={
        "meta": st.fixed_dictionaries({"_last-serial": st.integers(0, 2**40)}),
        "project-status": st.fixed_dictionaries({"status": text}, optional={"reason": text}),
        "x": text,
    },
)


def _read(page: dict[str, Any]) -> Project:
    return parse_project(json.dumps(page).encode(), PageFormat.JSON, "https://index.example/simple/foo/", FOO)


def _approved(project: Project) -> PageListing:
    return PageListing(
        project=project, approved=tuple(approve(file, rule="r", evidence=None) for file in project.files)
    )


def _relocated(file: File) -> File:
    """Return the file as a client of the proxy sees it."""
    parts = ("foo", str(file.distribution.version), file.filename) if file.distribution is not None else ()
    listed = file.provenance is not None and file.distribution is not None
    route = "/".join(quote(part, safe="") for part in parts)
    return replace(
        file,
        url=f"https://proxy.example/files/{file.route}",
        location=f"proxy.example/files/{file.location}",
        route=f"proxy.example/files/{file.route}",
        provenance=f"https://proxy.example/integrity/{route}/provenance" if listed else None,
        hashes=tuple(sorted(file.hashes)),
    )


@settings(max_examples=examples(150))
@given(pages)
def test_json_is_read_back_as_what_was_approved(page: dict[str, Any]) -> None:
    project = _read(page)
    body = render_project(_approved(project), PageFormat.JSON, LINKS)
    again = parse_project(body, PageFormat.JSON, OURS, FOO)
    assert [replace(file, hashes=tuple(sorted(file.hashes))) for file in again.files] == [
        _relocated(file) for file in project.files
    ]
    assert (again.serial, again.status) == (project.serial, project.status)
    assert again.extra == (*project.extra, ("_withheld", "[]"))


@settings(max_examples=examples(150))
@given(pages)
def test_html_is_read_back_as_what_was_approved_but_for_what_it_cannot_carry(page: dict[str, Any]) -> None:
    project = _read(page)
    body = render_project(_approved(project), PageFormat.HTML, LINKS)
    again = parse_project(body, PageFormat.HTML.content_type, OURS, FOO)
    assert list(again.files) == [
        replace(_relocated(file), size=None, upload_time=None, extra=(), hashes=(("sha256", str(file.sha256)),))
        for file in project.files
    ]
    assert (again.serial, again.status) == (project.serial, project.status)


class _Anchors(HTMLParser):
    """Parser of a page based on the standard library's HTML parser."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.tags: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "a":
            self.found.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found and self.lasttag == "a":
            self.found[-1] = (self.found[-1][0], self.found[-1][1] + data)


@settings(max_examples=examples(150))
@given(pages, text)
def test_html_has_one_link_for_each_approved_file_and_none_besides(page: dict[str, Any], reason: str) -> None:
    project = _read(page)
    withheld = tuple(
        Withheld(
            file=file,
            reasons=(state_reason(ReasonCode.DENIED, reason, reason, found=reason),),
            enforced=True,
        )
        for file in project.files
    )
    listed = replace(_approved(project), withheld=withheld)
    seen = _Anchors(render_project(listed, PageFormat.TEXT_HTML, LINKS).decode())
    assert [attrs["href"] for attrs, _ in seen.found] == [
        f"../../files/{file.route}#sha256={file.sha256}" for file in project.files
    ]
    for file, (attrs, _) in zip(project.files, seen.found, strict=True):
        assert attrs.get("data-yanked") == file.yanked
        assert attrs.get("data-requires-python") == file.requires_python
    assert seen.tags <= {"html", "head", "meta", "title", "body", "h1", "h2", "a", "br", "ul", "li", "code"}
    nothing = render_project(replace(listed, approved=()), PageFormat.TEXT_HTML, LINKS).decode()
    assert _Anchors(nothing).found == []
    assert json.loads(render_project(replace(listed, approved=()), PageFormat.JSON, LINKS))["files"] == []


@settings(max_examples=examples(60))
@given(st.lists(entries.filter(lambda entry: entry["filename"].startswith("foo-")), max_size=3))
def test_pip_sees_the_same_files_in_json_and_html(listed: list[dict[str, Any]]) -> None:
    collector = pytest.importorskip("pip._internal.index.collector")
    project = _read({"files": listed})
    page = _approved(project)
    for form in (PageFormat.JSON, PageFormat.HTML):
        content = collector.IndexContent(
            render_project(page, form, LINKS), form.content_type, encoding=None, url=OURS, cache_link_parsing=False
        )
        links = list(collector.parse_links(content))
        assert [link.filename for link in links] == [file.filename for file in project.files]
        assert [link.hash for link in links] == [file.sha256 for file in project.files]
        assert [link.yanked_reason for link in links] == [file.yanked for file in project.files]
        assert [link.requires_python for link in links] == [file.requires_python or None for file in project.files]
        assert all(link.url_without_fragment.startswith("https://proxy.example/files/") for link in links)
