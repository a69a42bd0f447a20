from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from packaging.utils import NormalizedName

from assay.evidence import Evidence, KeyStatement, Unattested, Unverifiable
from assay.policy.tombstones import Tombstone
from assay.policy.verdict import ReasonCode, Withheld, approve, state_reason
from assay.render import PageLinks, PageListing, render_project, render_root_head, render_root_line, render_root_tail
from assay.simple.coding import CONTENT_CODINGS, encode_content
from assay.simple.model import File, Project
from assay.simple.negotiate import PageFormat
from assay.simple.parse import parse_project
from assay.simple.root_list import RootListParser
from tests.unit.policy.factories import FORGED, attested

FOO = NormalizedName("foo")
HASH = "3427a8a5dd0c1e176da48a44efb410875b3973bd9843403a0997e4187c408dc1"
OTHER = "0ace7980f82c5815ede4cd7bf9f6693684cec2ae47b9b7ade9add533b8627c6b"
KEY_STATEMENT = KeyStatement(key="security", predicate_type="https://acme.example/review/v1")
LINKS = PageLinks(files_prefix="../../files/", integrity_base="https://proxy.example")
UPSTREAM: dict[str, Any] = {
    "meta": {"_last-serial": 25862117, "api-version": "1.4", "x-meta": [1]},
    "name": "foo",
    "project-status": {"status": "active", "x-status": {}},
    "versions": ["0.9", "1.0", "01.1", "2.0+a"],
    "alternate-locations": ["https://elsewhere.example/"],
    "files": [
        {
            "core-metadata": {"sha256": OTHER},
            "data-dist-info-metadata": {"sha256": OTHER},
            "filename": "foo-1.0-py3-none-any.whl",
            "hashes": {"sha256": HASH, "blake2b": "ab"},
            "provenance": "https://index.example/integrity/foo/1.0/foo-1.0-py3-none-any.whl/provenance",
            "requires-python": ">=3.9",
            "size": 4662,
            "upload-time": "2024-11-06T22:37:08.938180Z",
            "url": "https://files.example:8080/p/foo-1.0-py3-none-any.whl?sig=secret",
            "yanked": "bro<ken",
            "gpg-sig": False,
            "x-file": {"a": [1, None, "é"]},
        },
        {
            "core-metadata": False,
            "data-dist-info-metadata": False,
            "filename": "foo-2.0+a.tar.gz",
            "hashes": {"sha256": OTHER},
            "provenance": None,
            "requires-python": None,
            "size": 0,
            "upload-time": "2024-11-06T22:37:08.000000Z",
            "url": "https://files.example:8080/p/foo-2.0%2Ba.tar.gz",
            "yanked": False,
        },
    ],
}


def _project(page: dict[str, Any] = UPSTREAM) -> Project:
    return parse_project(json.dumps(page).encode(), PageFormat.JSON, "https://index.example/simple/foo/", FOO)


def _page(project: Project, **more: Any) -> PageListing:
    approved = tuple(approve(file, rule="everything else", evidence=None) for file in project.files)
    return PageListing(project=project, **{"approved": approved, **more})


def _json(page: PageListing, links: PageLinks = LINKS) -> Any:
    return json.loads(render_project(page, PageFormat.JSON, links))


def _html(page: PageListing, links: PageLinks = LINKS) -> str:
    return render_project(page, PageFormat.TEXT_HTML, links).decode()


def _withheld(file: File, message: str = "uploaded 1 day ago; allowed from 2026-11-24 14:00 UTC") -> Withheld:
    reason = state_reason(
        ReasonCode.TOO_YOUNG,
        "everything else",
        message,
        expected="3 days",
        found="1 day",
        until=datetime(2026, 11, 24, 14, tzinfo=UTC),
    )
    return Withheld(file=file, reasons=(reason,), enforced=False, rule="everything else")


class _Anchors(HTMLParser):
    """Parser of the page based on the standard library's HTML parser."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self.anchors.append(dict(attrs))


def test_a_page_in_html_fits_the_screen_of_a_phone() -> None:
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in _html(_page(_project()))


def test_json_has_every_key_that_pypi_sends() -> None:
    page = _json(_page(_project()))
    first, second = UPSTREAM["files"]
    assert page == {
        **UPSTREAM,
        "versions": ["1.0", "2.0+a"],
        "files": [
            {
                **first,
                "url": "../../files/files.example:8080/p/foo-1.0-py3-none-any.whl",
                "provenance": "https://proxy.example/integrity/foo/1.0/foo-1.0-py3-none-any.whl/provenance",
            },
            {**second, "url": "../../files/files.example:8080/p/foo-2.0%2Ba.tar.gz"},
        ],
        "_withheld": [],
    }


def test_html_has_every_attribute_that_pypi_sends() -> None:
    text = _html(_page(_project()))
    assert _Anchors(text).anchors == [
        {
            "href": f"../../files/files.example:8080/p/foo-1.0-py3-none-any.whl#sha256={HASH}",
            "data-requires-python": ">=3.9",
            "data-yanked": "bro<ken",
            "data-dist-info-metadata": f"sha256={OTHER}",
            "data-core-metadata": f"sha256={OTHER}",
            "data-provenance": "https://proxy.example/integrity/foo/1.0/foo-1.0-py3-none-any.whl/provenance",
        },
        {"href": f"../../files/files.example:8080/p/foo-2.0%2Ba.tar.gz#sha256={OTHER}"},
    ]
    assert '<meta name="pypi:repository-version" content="1.4">' in text
    assert '<meta name="pypi:project-status" content="active">' in text
    assert ">foo-2.0+a.tar.gz</a>" in text
    assert text.endswith("<!--SERIAL 25862117-->")


@pytest.mark.parametrize("form", list(PageFormat))
def test_the_query_of_an_upstream_url_never_reaches_a_client(form: PageFormat) -> None:
    assert b"secret" not in render_project(_page(_project()), form, LINKS)


@pytest.mark.parametrize("form", list(PageFormat))
def test_the_same_page_gives_the_same_bytes(form: PageFormat) -> None:
    assert render_project(_page(_project()), form, LINKS) == render_project(_page(_project()), form, LINKS)


def test_only_approved_files_are_listed_and_the_others_are_told() -> None:
    project = _project()
    page = _page(
        project,
        approved=(approve(project.files[0], rule="r", evidence=None),),
        withheld=(_withheld(project.files[1]),),
    )
    assert [file["filename"] for file in _json(page)["files"]] == ["foo-1.0-py3-none-any.whl"]
    assert _json(page)["versions"] == ["1.0"]
    assert _json(page)["_withheld"] == [
        {
            "filename": "foo-2.0+a.tar.gz",
            "sha256": OTHER,
            "reasons": [
                {
                    "code": "too-young",
                    "rule": "everything else",
                    "message": "uploaded 1 day ago; allowed from 2026-11-24 14:00 UTC",
                    "expected": "3 days",
                    "found": "1 day",
                    "until": "2026-11-24T14:00:00Z",
                }
            ],
        }
    ]
    text = _html(page)
    assert len(_Anchors(text).anchors) == 1
    assert "foo-2.0+a.tar.gz</code> too-young: uploaded 1 day ago; allowed from 2026-11-24 14:00 UTC" in text


def test_a_view_may_keep_silent_about_what_is_withheld() -> None:
    project = _project()
    page = PageListing(project=project, approved=(), withheld=tuple(map(_withheld, project.files)), show_withheld=False)
    assert "_withheld" not in _json(page)
    assert "foo-2.0+a" not in _html(page)
    assert _json(replace(page, show_withheld=True))["_withheld"]
    assert "foo-2.0+a" in _html(replace(page, show_withheld=True))


def test_a_page_with_nothing_approved_lists_nothing() -> None:
    project = _project()
    page = PageListing(project=project, approved=(), withheld=tuple(map(_withheld, project.files)))
    assert (_json(page)["files"], _json(page)["versions"], len(_json(page)["_withheld"])) == ([], [], 2)
    assert _Anchors(_html(page)).anchors == []


def test_a_tombstone_is_listed_as_yanked_and_offers_nothing_beside_itself() -> None:
    project = _project()
    stone = Tombstone(file=project.files[0], yanked='withheld: "too young"')
    page = PageListing(project=project, approved=(), withheld=(_withheld(project.files[0]),), tombstones=(stone,))
    (entry,) = _json(page)["files"]
    assert entry["yanked"] == 'withheld: "too young"'
    assert (entry["core-metadata"], entry["data-dist-info-metadata"], entry["provenance"]) == (False, False, None)
    assert entry["hashes"] == {"sha256": HASH, "blake2b": "ab"}
    assert entry["url"] == "../../files/files.example:8080/p/foo-1.0-py3-none-any.whl?withheld"
    upstream = UPSTREAM["files"][0]
    assert {key: entry[key] for key in ("filename", "requires-python", "size", "upload-time")} == {
        key: upstream[key] for key in ("filename", "requires-python", "size", "upload-time")
    }
    assert "x-file" not in entry
    assert _json(page)["versions"] == ["1.0"], "each version with a listed file (PEP 700)"
    (anchor,) = _Anchors(_html(page)).anchors
    assert anchor == {
        "href": f"../../files/files.example:8080/p/foo-1.0-py3-none-any.whl?withheld#sha256={HASH}",
        "data-requires-python": ">=3.9",
        "data-yanked": 'withheld: "too young"',
    }


def test_a_tombstone_that_is_not_yanked_is_listed_like_an_available_file() -> None:
    project = _project()
    stone = Tombstone(file=project.files[1], yanked=None)
    page = PageListing(project=project, approved=(), withheld=(_withheld(project.files[1]),), tombstones=(stone,))
    (entry,) = _json(page)["files"]
    assert entry["yanked"] is False
    (anchor,) = _Anchors(_html(page)).anchors
    assert anchor == {"href": f"../../files/files.example:8080/p/foo-2.0%2Ba.tar.gz?withheld#sha256={OTHER}"}
    without_reason = replace(page, tombstones=(Tombstone(file=project.files[1], yanked=""),))
    assert _json(without_reason)["files"][0]["yanked"] is True
    assert _Anchors(_html(without_reason)).anchors[0]["data-yanked"] == ""


def test_files_with_the_same_and_with_other_reasons_each_have_their_own() -> None:
    project = _project()
    first, second = project.files
    page = PageListing(project=project, approved=(), withheld=(_withheld(first), _withheld(second)))
    same = _json(page)["_withheld"]
    assert [each["filename"] for each in same] == [first.filename, second.filename]
    assert same[0]["reasons"] == same[1]["reasons"]
    nearer = replace(_withheld(second), nearest="0.9")
    other = _json(replace(page, withheld=(_withheld(first), nearer, _withheld(first, "another"))))["_withheld"]
    assert len({each["reasons"][0]["message"] for each in other}) == 3


@pytest.mark.parametrize("form", list(PageFormat))
@pytest.mark.parametrize("yanked", [None, 'withheld, unattested: ask for a waiver of "attestations" (rule: all)'])
def test_a_page_with_3742_tombstones_has_at_most_600_kb_compressed(form: PageFormat, yanked: str | None) -> None:
    """The number of files of boto3. Digests and addresses are random as on PyPI, so that they do not compress."""
    source, first = random.Random(1), UPSTREAM["files"][1]
    files = []
    for number in range(3742):
        name = f"boto3-1.{number // 120}.{number // 2 % 60}" + ("-py3-none-any.whl" if number % 2 else ".tar.gz")
        uploaded = datetime(2014, 11, 1, tzinfo=UTC) + timedelta(days=number, microseconds=source.randrange(10**11))
        path = source.randbytes(32).hex()
        files.append(
            first
            | {
                "filename": name,
                "url": f"https://files.example/packages/{path[:2]}/{path[2:4]}/{path[4:]}/{name}",
                "hashes": {"sha256": source.randbytes(32).hex()},
                "upload-time": uploaded.isoformat(timespec="microseconds").replace("+00:00", "Z"),
                "requires-python": ">=3.9",
                "size": source.randrange(90_000, 140_000),
            }
        )
    project = _project({**UPSTREAM, "files": files})
    message = 'the file has no attestation, but the rule requires one; ask for a waiver of "attestations"'
    page = PageListing(
        project=project,
        approved=(),
        withheld=tuple(_withheld(file, message) for file in project.files),
        tombstones=tuple(Tombstone(file=file, yanked=yanked) for file in project.files),
    )
    body = render_project(page, form, LINKS)
    assert body.count(b"?withheld") == 3742
    for coding in CONTENT_CODINGS:
        assert len(encode_content(body, coding)) <= 600_000


def test_a_listed_file_without_size_lowers_the_version_that_the_page_claims() -> None:
    first, second = UPSTREAM["files"]
    sizeless = {key: value for key, value in second.items() if key != "size"}
    project = _project({**UPSTREAM, "files": [first, sizeless]})
    assert _json(_page(project))["meta"]["api-version"] == "1.0"
    assert 'content="1.0"' in _html(_page(project))
    assert "size" not in _json(_page(project))["files"][1]
    only_sized = _page(project, approved=_page(project).approved[:1], withheld=(_withheld(project.files[1]),))
    assert _json(only_sized)["meta"]["api-version"] == "1.4"


def test_a_page_of_an_index_that_says_nothing_about_provenance_says_nothing() -> None:
    bare = [{key: value for key, value in each.items() if key != "provenance"} for each in UPSTREAM["files"]]
    page = _page(_project({**UPSTREAM, "files": bare}))
    assert ["provenance" in each for each in _json(page)["files"]] == [False, False]
    assert _json(page)["meta"]["api-version"] == "1.2"
    assert 'content="1.2"' in _html(page)
    stone = Tombstone(file=page.project.files[0], yanked="withheld")
    (entry,) = _json(PageListing(project=page.project, approved=(), tombstones=(stone,)))["files"]
    assert "provenance" not in entry
    stated = _page(_project({**UPSTREAM, "files": [{**each, "provenance": None} for each in bare]}))
    assert [each["provenance"] for each in _json(stated)["files"]] == [None, None]
    assert _json(stated)["meta"]["api-version"] == "1.4"
    assert 'content="1.4"' in _html(stated)


def test_an_html_page_without_sizes_still_says_that_no_file_has_provenance() -> None:
    sizeless = {key: value for key, value in UPSTREAM["files"][1].items() if key != "size"}
    page = _page(_project({**UPSTREAM, "files": [sizeless]}))
    assert _json(page)["meta"]["api-version"] == "1.0"
    assert 'content="1.4"' in _html(page)


def test_provenance_is_left_out_where_the_proxy_has_no_address_to_state() -> None:
    page, nowhere = _page(_project()), PageLinks(files_prefix="../../files/", integrity_base=None)
    assert _json(page, nowhere)["files"][0]["provenance"] is None
    assert "data-provenance" not in _html(page, nowhere)


@pytest.mark.parametrize("order", [("1.0", "1.0.0"), ("1.0.0", "1.0")])
def test_each_file_s_provenance_has_its_own_version_s_spelling(order: tuple[str, str]) -> None:
    """The versions are equal, but the cached URL part of one must not be used for the other."""
    names = [f"foo-{version}.tar.gz" for version in order]
    files = [{**UPSTREAM["files"][0], "filename": name, "url": f"https://files.example/{name}"} for name in names]
    listed = _json(_page(_project({**UPSTREAM, "files": files})))["files"]
    assert [each["provenance"].split("/")[5] for each in listed] == list(order)


def test_provenance_addresses_are_percent_encoded() -> None:
    first, _ = UPSTREAM["files"]
    entry = {**first, "filename": "foo-1!2.0+a.tar.gz", "url": "https://h/foo-1!2.0+a.tar.gz"}
    (listed,) = _json(_page(_project({"files": [entry]})))["files"]
    assert listed["provenance"] == "https://proxy.example/integrity/foo/1%212.0%2Ba/foo-1%212.0%2Ba.tar.gz/provenance"


def test_versions_that_the_index_forgot_follow_in_their_order() -> None:
    names = ["foo-1.10.zip", "foo-1.9.zip", "foo-1.0.zip", "foo-1.0.0.tar.gz", "foo-1.0.tar.gz"]
    files = [{"filename": name, "url": f"https://h/{name}", "hashes": {"sha256": HASH}} for name in names]
    assert _json(_page(_project({"files": files})))["versions"] == ["1.0", "1.9", "1.10"]
    known = {"files": files, "versions": ["1.9", "not-one", "1" * 5000, "1.0", "7"]}
    assert _json(_page(_project(known)))["versions"] == ["1.9", "1.0", "1.10"]


def test_yanked_and_metadata_without_reason_and_digest() -> None:
    first, _ = UPSTREAM["files"]
    page = _page(_project({"files": [{**first, "yanked": True, "core-metadata": True}]}))
    assert _json(page)["files"][0]["yanked"] is True
    assert _json(page)["files"][0]["core-metadata"] is True
    (anchor,) = _Anchors(_html(page)).anchors
    assert (anchor["data-yanked"], anchor["data-core-metadata"]) == ("", "true")


def test_an_index_cannot_speak_with_our_voice() -> None:
    first, _ = UPSTREAM["files"]
    lying = _project({"files": [first], "_withheld": ["nothing"], "x": 1})
    assert _json(_page(lying))["_withheld"] == []
    assert render_project(_page(lying), PageFormat.JSON, LINKS).count(b'"_withheld"') == 1
    silent = _json(_page(lying, show_withheld=False))
    assert "_withheld" not in silent
    assert silent["x"] == 1


def test_the_digest_listed_is_the_one_decided_on() -> None:
    first, _ = UPSTREAM["files"]
    (entry,) = _json(_page(_project({"files": [{**first, "hashes": {"sha256": HASH.upper()}}]})))["files"]
    assert entry["hashes"] == {"sha256": HASH}


@pytest.mark.parametrize(
    "crafted",
    [
        '"><a href="https://evil.example/foo-99-py3-none-any.whl">foo-99-py3-none-any.whl</a>',
        "'><a href='https://evil.example/foo-99-py3-none-any.whl'>",
        "--><a href=https://evil.example/foo-99-py3-none-any.whl>",
        "</title></script><a href=https://evil.example/x>",
        "&quot;&gt;&lt;a href=x&gt;",
        "\r\n\t\x0b\x0c \x85\u2028",
    ],
)
def test_no_value_breaks_out_of_its_place(crafted: str) -> None:
    first, _ = UPSTREAM["files"]
    entry = {**first, "yanked": crafted, "requires-python": crafted, "filename": crafted}
    status = {"status": crafted, "reason": crafted}
    project = _project({"files": [entry], "project-status": status, "x": crafted})
    page = _page(project, withheld=(_withheld(project.files[0], crafted),))
    parsed = _Anchors(_html(page))
    assert parsed.tags.count("a") == 1
    assert parsed.anchors[0]["data-yanked"] == crafted
    assert parsed.anchors[0]["data-requires-python"] == crafted
    listed = _json(page)
    assert (listed["files"][0]["yanked"], listed["files"][0]["filename"], listed["x"]) == (crafted, crafted, crafted)
    assert listed["project-status"] == status


def test_surrogates_and_nuls_do_not_break_the_page() -> None:
    first, _ = UPSTREAM["files"]
    project = _project({"files": [{**first, "yanked": "\ud800\0", "filename": "\udfff"}]})
    page = _page(project, withheld=(_withheld(project.files[0], "\ud800\0"),))
    assert _json(page)["files"][0]["yanked"] == "\ud800\0"
    assert _Anchors(_html(page)).anchors[0]["data-yanked"] == "?\ufffd"


@pytest.mark.parametrize("form", list(PageFormat))
def test_the_root_list_is_rendered_in_pieces_that_parse(form: PageFormat) -> None:
    names = ["Foo.Bar", "baz", "q"]
    lines = [render_root_line(name, form, is_first=place == 0) for place, name in enumerate(names)]
    for listed, body in ((names, lines), ([], [])):
        whole = render_root_head(form, serial=7) + b"".join(body) + render_root_tail(form)
        parser = RootListParser(form.content_type)
        assert parser.feed(whole) + parser.close() == listed
        if form is PageFormat.JSON:
            assert json.loads(whole) == {
                "meta": {"api-version": "1.4", "_last-serial": 7},
                "projects": [{"name": name} for name in listed],
            }


def test_root_links_lead_to_the_normalised_name_and_escape_the_displayed_one() -> None:
    assert render_root_line("Foo.Bar", PageFormat.HTML, is_first=True) == b'<a href="foo-bar/">Foo.Bar</a><br />\n'
    assert b"<x>" not in render_root_line('"><x>', PageFormat.TEXT_HTML, is_first=True)
    assert render_root_line('"<x>', PageFormat.JSON, is_first=True) == b'\n{"name":"\\"<x>"}'


@pytest.mark.parametrize(
    ("evidence", "is_linked"),
    [
        (attested(), True),
        (Unattested(key_statements=(KEY_STATEMENT,)), True),
        (Unverifiable(reason="x", key_statements=(KEY_STATEMENT,)), True),
        (Unattested(), False),
        (Unverifiable(reason="x"), False),
        (FORGED, False),
        (None, False),
    ],
)
def test_json_links_to_the_verified_attestations_of_a_file_that_has_some(
    evidence: Evidence | None, is_linked: bool
) -> None:
    project = _project()
    file = project.files[0]
    links = replace(LINKS, attestations_prefix="../../attestations/")
    page = PageListing(project=project, approved=(approve(file, rule="all", evidence=evidence),))
    [entry] = _json(page, links)["files"]
    assert entry.get("_attestations") == (f"../../attestations/{HASH}?project=foo" if is_linked else None)
    assert "attestations" not in _html(page, links)
    undecided = PageListing(project=project, approved=(), undecided=(file,))
    assert "_attestations" not in _json(undecided, links)["files"][0]


def test_a_link_to_attestations_of_an_index_is_dropped() -> None:
    first, second = UPSTREAM["files"]
    upstream = {**UPSTREAM, "files": [{**first, "_attestations": "../../attestations/other"}, second]}
    assert all("_attestations" not in entry for entry in _json(_page(_project(upstream)))["files"])
