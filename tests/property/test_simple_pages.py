"""Laws of the way in: whatever is sent, the answer is a value or `InvalidResponseError`, never another exception."""

from __future__ import annotations

import json
from contextlib import suppress
from html.parser import HTMLParser
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    is_normalized_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from assay.errors import InvalidResponseError
from assay.simple.filename import MAX_CANDIDATE_PROJECTS, parse_filename, possible_projects
from assay.simple.location import decode_location, resolve_address
from assay.simple.markup import HtmlScanner, Tag, parse_attributes
from assay.simple.model import Project
from assay.simple.negotiate import PageFormat, etag_matches, negotiate, negotiate_coding
from assay.simple.parse import parse_project
from assay.simple.root_list import RootListParser
from tests.property.fuzzing import examples

FOO = NormalizedName("foo")
BASE = "https://index.example/simple/foo/"
JSON = PageFormat.JSON.value

anything = st.text(st.characters(), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    [
        *("filename", "url", "hashes", "requires-python", "size", "upload-time", "yanked", "provenance", "x"),
        *("core-metadata", "data-dist-info-metadata"),
    ]
)
entries = st.dictionaries(keys, json_values, max_size=8).map(
    lambda entry: {"filename": "foo-1.0.zip", "url": "https://h/foo-1.0.zip"} | entry
)
pages = st.fixed_dictionaries(
    {"files": st.lists(entries, max_size=3) | json_values},
    optional={
        "meta": json_values | st.dictionaries(st.sampled_from(["api-version", "_last-serial", "x"]), json_values),
        "name": json_values | st.just("foo"),
        "versions": json_values,
        "project-status": json_values,
        "x": json_values,
    },
)
names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
versions = st.from_regex(
    r"([0-9]!)?[0-9]{1,2}(\.[0-9]{1,2}){0,2}((a|b|rc)[0-9])?(\.post[0-9])?(\+[a-z]{1,3})?", fullmatch=True
)
endings = st.sampled_from(
    [".tar.gz", ".zip", "-py3-none-any.whl", "-1-cp311-cp311-win32.whl", ".egg", ".exe", ".deb", ".tgz"]
)
filenames = st.builds(
    lambda name, sep, version, end: name + sep + version + end, names, st.sampled_from("-_"), versions, endings
)
# Parts of HTML pages, in any order.
fragments = st.lists(
    st.sampled_from(
        [
            *("<a ", "<a>", "</a>", "<!--", "-->", "<!", ">", "<", "/", "=", '"', "'", "href", "href=", " ", "\n", "&"),
            *("&amp;", "&#x", ";", "<script>", "</script>", "<base href='", "foo-1.0.zip", "#sha256=", "data-yanked"),
            *("<?", "x", "\0"),
        ]
    ),
    max_size=40,
).map("".join)


def _parse(body: bytes, content_type: str) -> Project | None:
    with suppress(InvalidResponseError):
        return parse_project(body, content_type, BASE, FOO)
    return None


@settings(max_examples=examples(100))
@given(
    st.binary(max_size=200) | anything.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([*PageFormat]),
)
def test_any_bytes_are_a_page_or_nonsense(body: bytes, form: PageFormat) -> None:
    _parse(body, form.content_type)


@settings(max_examples=examples(200))
@given(pages)
@example({"files": [{"filename": "foo-1.0.zip", "url": "//["}]})
def test_any_json_is_a_page_or_nonsense(page: dict[str, Any]) -> None:
    project = _parse(json.dumps(page).encode(), JSON)
    if project is not None:
        assert len(project.files) + project.dropped_entries == len(page["files"])
        for file in project.files:
            assert (file.distribution is None) == (file.refusal is not None)
            assert file.distribution is None or file.distribution.project == FOO
            assert all(json.dumps(json.loads(value)) == value for _, value in file.extra)


@settings(max_examples=examples(300))
@given(fragments)
def test_any_html_is_a_page_or_nonsense(text: str) -> None:
    _parse(text.encode(), "text/html")


@settings(max_examples=examples(200))
@given(fragments, st.integers(1, 7))
def test_the_scanner_sees_the_same_in_any_pieces(text: str, size: int) -> None:
    whole, pieces = HtmlScanner(), HtmlScanner()
    expected = list(whole.feed(text))
    assert [token for at in range(0, len(text), size) for token in pieces.feed(text[at : at + size])] == expected
    assert pieces.is_unfinished == whole.is_unfinished


class _Reference(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[dict[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.anchors.append({name: value or "" for name, value in reversed(attrs)})


_values = st.text(st.sampled_from("ab<>&;=#/ \n'-!?."), max_size=8)
_quoted = st.tuples(_values, st.sampled_from("\"'")).map(
    lambda pair: pair[1] + pair[0].replace(pair[1], "").replace("&", "&amp;") + pair[1]
)
_attribute = st.builds(
    lambda name, equals, value: f" {name}{equals}{value}",
    st.sampled_from(["href", "data-yanked", "data-requires-python", "CLASS"]),
    st.sampled_from(["=", " = ", "=\n"]),
    _quoted,
)
_anchor = st.builds(
    lambda attrs, text: f"<a{''.join(attrs)}>{text}</a>",
    st.lists(_attribute, max_size=4),
    st.sampled_from(["foo", "a < b", "1 &gt; 0", ""]),
)
_between = st.sampled_from(
    ["", "\n", "<br/>", "<!-- <a href=x> -->", "<p class='>'>", "<script>'<a>'</script>", "<!DOCTYPE x>"]
)


@settings(max_examples=examples(200))
@given(st.lists(st.tuples(_anchor, _between), max_size=5))
def test_links_are_those_that_the_standard_library_sees(pieces: list[tuple[str, str]]) -> None:
    text = "".join(anchor + between for anchor, between in pieces)
    mine = [
        parse_attributes(tag.source)
        for tag in HtmlScanner().feed(text)
        if isinstance(tag, Tag) and tag.name == "a" and not tag.closing
    ]
    assert mine == _Reference(text).anchors


@settings(max_examples=examples(200))
@given(filenames)
def test_what_packaging_parses_is_parsed_alike(filename: str) -> None:
    try:
        name, version = (
            parse_wheel_filename(filename)[:2] if filename.endswith(".whl") else parse_sdist_filename(filename)
        )
    except (InvalidSdistFilename, InvalidWheelFilename):
        return
    if is_normalized_name(name):
        parsed = parse_filename(filename, name)
        assert parsed.distribution is not None
        assert parsed.distribution.version == version


@settings(max_examples=examples(200))
@given(filenames, names)
def test_a_file_is_looked_for_on_the_page_that_would_take_it(filename: str, other: str) -> None:
    candidates = possible_projects(filename)
    assert len(candidates) <= MAX_CANDIDATE_PROJECTS
    for split in range(1, len(filename)):
        name = canonicalize_name(filename[:split])
        if is_normalized_name(name) and parse_filename(filename, name).distribution is not None:
            assert name in candidates
    parsed = parse_filename(filename, canonicalize_name(other))
    assert parsed.owner is None or parsed.owner in candidates


@settings(max_examples=examples(100))
@given(anything, anything)
def test_any_filename_and_page_give_words_or_a_distribution(filename: str, project: str) -> None:
    parsed = parse_filename(filename, NormalizedName(project))
    assert (parsed.distribution is None) == (parsed.refusal is not None)
    assert all(is_normalized_name(name) for name in possible_projects(filename))


@settings(max_examples=examples(200))
@given(anything | st.text("ab:/?#@[]%2e2F\\. ", max_size=30))
@example("https://h/%25%32%46")
@example("%2F")
def test_what_clients_are_given_leads_back_to_the_location(reference: str) -> None:
    for text in (reference, f"https://{reference}", f"../{reference}"):
        place = resolve_address(text, BASE)
        assert place.route.isascii()
        assert "?" not in place.route
        assert "#" not in place.route
        if place.refusal is None:
            assert decode_location(place.route) == place.location
            assert not place.location.startswith("/")
        else:
            assert place.location.startswith("/")


@settings(max_examples=examples(200))
@given(st.text("abjson/html*;,=q0.15 \"+'application", max_size=60) | anything, st.none() | anything)
def test_negotiation_never_fails(header: str, asked: str | None) -> None:
    assert negotiate(header, asked) in set(PageFormat)
    assert negotiate_coding(header, ["br", "gzip"]) in {"br", "gzip", "identity"}
    etag_matches(header, '"abc"')


_weights = st.sampled_from(["0", "0.001", "0.5", "0.999", "1"])


@settings(max_examples=examples(100))
@given(st.dictionaries(st.sampled_from([*PageFormat]), _weights, min_size=1))
def test_the_heaviest_format_is_served(weights: dict[PageFormat, str]) -> None:
    chosen = negotiate(", ".join(f"{form.value};q={weight}" for form, weight in weights.items()))
    heaviest = max(float(weight) for weight in weights.values())
    assert float(weights.get(chosen, "0")) == heaviest or (heaviest == 0 and chosen is PageFormat.TEXT_HTML)


@settings(max_examples=examples(150))
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | names, max_size=6),
    st.integers(1, 40),
    st.booleans(),
)
def test_root_lists_are_read_alike_in_any_pieces(listed: list[str], size: int, escaped: bool) -> None:
    page = {"meta": {"api-version": "1.0", "x": listed}, "projects": [{"name": name, "x": [name]} for name in listed]}
    body = json.dumps(page, ensure_ascii=escaped).encode()
    whole, pieces = RootListParser(JSON), RootListParser(JSON)
    expected = whole.feed(body) + whole.close()
    found = [name for at in range(0, len(body), size) for name in pieces.feed(body[at : at + size])]
    assert found + pieces.close() == expected
    assert expected == [
        name for name in listed if is_normalized_name(canonicalize_name(name)) and name.isascii() and _valid(name)
    ]


def _valid(name: str) -> bool:
    """Return whether the core metadata specification permits the project name."""
    return name[0].isalnum() and name[-1].isalnum() and all(each.isalnum() or each in "._-" for each in name)


@settings(max_examples=examples(200))
@given(
    st.lists(
        st.sampled_from(
            ['{"projects"', ":", "[", "{", "}", "]", ",", '"name"', '"a"', "1", "1e", "-", " ", '"', "\\", "x"]
        ),
        max_size=20,
    ),
    st.booleans(),
)
def test_any_root_list_is_names_or_nonsense(pieces: list[str], html: bool) -> None:
    parser = RootListParser("text/html" if html else JSON)
    with suppress(InvalidResponseError):
        for piece in pieces:
            parser.feed(piece.encode())
        parser.close()
        if not html:
            json.loads("".join(pieces))
