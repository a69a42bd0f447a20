from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from packaging.utils import NormalizedName
from packaging.version import Version

from proxy.errors import UpstreamNonsenseError
from proxy.simple.fields import LATEST
from proxy.simple.model import CoreMetadata, Distribution, File, Kind, Project, ProjectStatus
from proxy.simple.parse import PageLimits, is_json, parse_project, parse_sha256

FOO = NormalizedName("foo")
PAGE_URL = "https://index.example/simple/foo/"
JSON = "application/vnd.pypi.simple.v1+json"
HASH = "3427a8a5dd0c1e176da48a44efb410875b3973bd9843403a0997e4187c408dc1"
OTHER = "0ace7980f82c5815ede4cd7bf9f6693684cec2ae47b9b7ade9add533b8627c6b"
PROVENANCE = "https://index.example/integrity/foo/1.0/foo-1.0-py3-none-any.whl/provenance"

# As PyPI sends it (API 1.4), every key of it, and one that nobody knows yet in each place.
FILE: dict[str, Any] = {
    "core-metadata": {"sha256": OTHER},
    "data-dist-info-metadata": {"sha256": OTHER},
    "filename": "foo-1.0-py3-none-any.whl",
    "hashes": {"sha256": HASH},
    "provenance": PROVENANCE,
    "requires-python": ">=3.9",
    "size": 4662,
    "upload-time": "2024-11-06T22:37:08.938180Z",
    "url": "https://files.example/packages/d7/73/foo-1.0-py3-none-any.whl",
    "yanked": False,
    "x-file": {"a": [1, None, "é"]},
}
PAGE: dict[str, Any] = {
    "files": [FILE],
    "meta": {"_last-serial": 25862117, "api-version": "1.4", "x-meta": True},
    "name": "foo",
    "project-status": {"status": "archived", "reason": "moved", "x-status": 1},
    "versions": ["0.9", "1.0"],
    "x-page": [],
}


def _page(page: object, **more: Any) -> Project:
    return parse_project(json.dumps(page).encode(), JSON, PAGE_URL, FOO, **more)


def _file(**changed: object) -> File:
    return _page({**PAGE, "files": [{**FILE, **{key.replace("_", "-"): changed[key] for key in changed}}]}).files[0]


def _html(text: str, **more: Any) -> Project:
    return parse_project(text.encode(), "text/html; charset=UTF-8", PAGE_URL, FOO, **more)


def _link(attributes: str = "", fragment: str = f"#sha256={HASH}") -> File:
    (file,) = _html(f'<a href="https://files.example/foo-1.0.tar.gz{fragment}" {attributes}>x</a>').files
    return file


def test_every_key_of_a_pypi_page_is_read_or_kept() -> None:
    assert _page(PAGE) == Project(
        name=FOO,
        files=(
            File(
                filename="foo-1.0-py3-none-any.whl",
                url="https://files.example/packages/d7/73/foo-1.0-py3-none-any.whl",
                location="files.example/packages/d7/73/foo-1.0-py3-none-any.whl",
                route="files.example/packages/d7/73/foo-1.0-py3-none-any.whl",
                distribution=Distribution(project=FOO, version=Version("1.0"), kind=Kind.WHEEL),
                hashes=(("sha256", HASH),),
                sha256=parse_sha256(HASH),
                size=4662,
                upload_time=datetime(2024, 11, 6, 22, 37, 8, 938180, UTC),
                requires_python=">=3.9",
                yanked=None,
                core_metadata=CoreMetadata(sha256=parse_sha256(OTHER)),
                provenance=PROVENANCE,
                extra=(("x-file", '{"a": [1, null, "\\u00e9"]}'),),
            ),
        ),
        api_version=(1, 4),
        serial=25862117,
        status=ProjectStatus(status="archived", reason="moved", extra=(("x-status", "1"),)),
        versions=("0.9", "1.0"),
        extra=(("x-page", "[]"),),
        meta_extra=(("x-meta", "true"),),
    )


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (7, "page: expected an object, found 7"),
        ({"files": 7}, "files: expected a list, found 7"),
        ({}, "files: expected a list, found None"),
        ({"files": [7]}, "files[0]: expected an object, found 7"),
        ({"files": [FILE, {**FILE, "url": 7}]}, "files[1].url: expected a string, found 7"),
        ({"files": [{**FILE, "filename": None}]}, "files[0].filename: expected a string, found None"),
        ({"files": [{**FILE, "hashes": [HASH]}]}, "files[0].hashes: expected an object, found list"),
        ({"files": [{**FILE, "hashes": {"sha256": 1}}]}, "files[0].hashes.sha256: expected a string, found 1"),
        ({"files": [{**FILE, "size": -1}]}, "files[0].size: expected a number of bytes, found -1"),
        ({"files": [{**FILE, "size": True}]}, "files[0].size: expected a number of bytes, found True"),
        ({"files": [{**FILE, "size": 1.0}]}, "files[0].size: expected a number of bytes, found 1.0"),
        ({"files": [{**FILE, "size": 2**63}]}, "files[0].size: expected a number of bytes, found 9223372036854775808"),
        ({"files": [{**FILE, "yanked": 1}]}, "files[0].yanked: expected a boolean or a string, found 1"),
        ({"files": [{**FILE, "upload-time": 1}]}, "files[0].upload-time: expected a string, found 1"),
        ({"files": [{**FILE, "provenance": []}]}, "files[0].provenance: expected a string, found list"),
        ({"files": [{**FILE, "core-metadata": 1}]}, "files[0].core-metadata: expected a boolean or a dictionary"),
        ({"files": [], "meta": 1}, "meta: expected an object, found 1"),
        ({"files": [], "meta": {"api-version": "2.0"}}, "meta.api-version: expected an API version"),
        ({"files": [], "meta": {"api-version": "1"}}, "meta.api-version: expected an API version"),
        ({"files": [], "meta": {"api-version": 1.4}}, "meta.api-version: expected an API version"),
        ({"files": [], "meta": {"_last-serial": "x"}}, "meta._last-serial: expected a serial number, found 'x'"),
        ({"files": [], "meta": {"_last-serial": -1}}, "meta._last-serial: expected a serial number, found -1"),
        ({"files": [], "meta": {"_last-serial": True}}, "meta._last-serial: expected a serial number, found True"),
        ({"files": [], "name": "bar"}, "name: expected 'foo', found 'bar'"),
        ({"files": [], "versions": "1.0"}, "versions: expected a list, found '1.0'"),
        ({"files": [], "versions": [1]}, "versions[0]: expected a string, found 1"),
        ({"files": [], "project-status": "active"}, "project-status: expected an object, found 'active'"),
        ({"files": [], "project-status": {}}, "project-status.status: expected a string, found None"),
    ],
)
def test_a_value_of_the_wrong_type_is_nonsense_and_says_where(page: object, message: str) -> None:
    with pytest.raises(UpstreamNonsenseError) as caught:
        _page(page)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON at line 1"),
        (b"<html>", "not JSON at line 1"),
        (b'{"files": []', "not JSON"),
        (b'{"files": [], "x": NaN}', "NaN is no JSON number"),
        (b'{"files": [], "x": -Infinity}', "-Infinity is no JSON number"),
        (b'{"files": [], "x": 1e999}', "too large"),
        (b'{"files": [], "files": []}', "key 'files' stands twice"),
        (b'{"files": [], "x": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"files": [], "x": ' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper than 32"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        ('{"files": []}'.encode("utf-16"), "not UTF-8"),
        (b'{"files": [], "x": "\xff"}', "not UTF-8 at byte 20"),
    ],
)
def test_json_that_parsers_disagree_on_is_nonsense(body: bytes, message: str) -> None:
    with pytest.raises(UpstreamNonsenseError, match=message):
        parse_project(body, JSON, PAGE_URL, FOO)


def test_a_byte_order_mark_and_a_newer_minor_version_do_no_harm() -> None:
    body = b'\xef\xbb\xbf{"files": [], "meta": {"api-version": "1.99"}}'
    assert parse_project(body, JSON, PAGE_URL, FOO).api_version == (1, 99)


def test_nesting_up_to_the_limit_is_kept() -> None:
    assert _page({"files": [], "x": [[[1]]]}, limits=PageLimits(depth=4)).extra == (("x", "[[[1]]]"),)
    with pytest.raises(UpstreamNonsenseError, match="nested deeper than 2"):
        _page({"files": [], "x": [[[1]]]}, limits=PageLimits(depth=2))


def test_more_files_than_the_limit_are_nonsense() -> None:
    limits = PageLimits(files=2)
    assert len(_page({"files": [FILE] * 2}, limits=limits).files) == 2
    with pytest.raises(UpstreamNonsenseError, match="more than 2"):
        _page({"files": [FILE] * 3}, limits=limits)
    link = '<a href="foo-1.0.tar.gz">foo</a>'
    assert len(_html(link * 2, limits=limits).files) == 2
    with pytest.raises(UpstreamNonsenseError, match="more than 2"):
        _html(link * 3, limits=limits)
    with pytest.raises(UpstreamNonsenseError, match="elements"):
        _html("<p>" * 100, limits=limits)


def test_the_serial_comes_as_a_number_as_digits_or_from_the_header() -> None:
    assert _page({"files": [], "meta": {"_last-serial": 7}}, serial=5).serial == 7
    assert _page({"files": [], "meta": {"_last-serial": "25862117"}}).serial == 25862117
    assert _page({"files": []}, serial=5).serial == 5
    assert _page({"files": []}).serial is None
    assert _html("<p><!--SERIAL 8-->", serial=5).serial == 8
    assert _html("<p><!--SERIAL x-->", serial=5).serial == 5


@pytest.mark.parametrize(
    ("yanked", "expected"),
    [(False, None), (None, None), (True, ""), ("", ""), ("broken", "broken")],
)
def test_yanked_is_a_boolean_or_a_reason(yanked: object, expected: str | None) -> None:
    assert _file(yanked=yanked).yanked == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"core-metadata": True}, CoreMetadata(sha256=None)),
        ({"core-metadata": {}}, CoreMetadata(sha256=None)),
        ({"core-metadata": {"sha256": OTHER.upper()}}, CoreMetadata(sha256=parse_sha256(OTHER))),
        ({"data-dist-info-metadata": {"sha256": OTHER}}, CoreMetadata(sha256=parse_sha256(OTHER))),
        ({"core-metadata": False, "data-dist-info-metadata": {"sha256": OTHER}}, None),
        (
            {"core-metadata": {"sha256": OTHER}, "data-dist-info-metadata": False},
            CoreMetadata(sha256=parse_sha256(OTHER)),
        ),
        ({"core-metadata": {"sha256": "abc"}}, None),
        ({}, None),
    ],
)
def test_core_metadata_goes_before_its_older_name(entry: dict[str, object], expected: CoreMetadata | None) -> None:
    rest = {key: value for key, value in FILE.items() if "metadata" not in key}
    assert _page({"files": [{**rest, **entry}]}).files[0].core_metadata == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-11-06T22:37:08.938180Z", datetime(2024, 11, 6, 22, 37, 8, 938180, UTC)),
        ("2024-11-06T22:37:08Z", datetime(2024, 11, 6, 22, 37, 8, tzinfo=UTC)),
        ("2024-11-06 22:37:08", datetime(2024, 11, 6, 22, 37, 8, tzinfo=UTC)),
        ("2024-11-06T23:37:08+01:00", datetime(2024, 11, 6, 22, 37, 8, tzinfo=UTC)),
        ("2024-11-06", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("8999-12-31T23:59:59Z", datetime(8999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", LATEST),
        ("9999-12-31T23:59:59-12:00", LATEST),
        ("yesterday at noon", None),
        ("", None),
    ],
)
def test_upload_times_are_instants_or_nothing(text: str, expected: datetime | None) -> None:
    assert _file(upload_time=text).upload_time == expected
    assert _link(f'data-upload-time="{text}"').upload_time == expected


def test_a_digest_that_is_none_counts_as_missing() -> None:
    for hashes in ({}, {"md5": "0" * 32}, {"sha256": "abc"}, {"sha256": HASH + "0"}, {"sha256": "g" * 64}):
        assert _file(hashes=hashes).sha256 is None
    assert _file(hashes={"sha256": HASH.upper(), "md5": "0" * 32}).sha256 == HASH
    assert _file(hashes=None).hashes == ()
    assert parse_sha256("٣" * 64) is None


def test_a_file_that_cannot_be_served_is_still_a_value() -> None:
    for changed in (
        {"url": "file:///etc/passwd"},
        {"url": "https://h/a b"},
        {"filename": "../x"},
        {"filename": "\ud800"},
    ):
        file = _file(**changed)
        assert file.distribution is None
        assert file.refusal
    assert _file(filename="bar-1.0.tar.gz").owner == "bar"


def test_urls_are_resolved_against_the_page() -> None:
    assert _file(url="../../f/foo-1.0.tar.gz?sig=1#md5=2").url == "https://index.example/f/foo-1.0.tar.gz?sig=1"


# HTML


def test_html_and_json_of_the_same_page_are_the_same_project() -> None:
    text = f"""<!DOCTYPE html>
<html><head>
<meta name="pypi:repository-version" content="1.4">
<meta name="pypi:project-status" content="archived"><meta name="pypi:project-status-reason" content="moved">
<title>Links for foo</title></head><body><h1>Links for foo</h1>
<a href="{FILE["url"]}#sha256={HASH}" data-requires-python="&gt;=3.9"
 data-dist-info-metadata="sha256={OTHER}" data-core-metadata="sha256={OTHER}" data-provenance="{PROVENANCE}"
 data-size="4662" data-upload-time="2024-11-06T22:37:08.938180Z">foo-1.0-py3-none-any.whl</a><br />
</body></html>
<!--SERIAL 25862117-->"""
    entry = {key: value for key, value in FILE.items() if key != "x-file"}
    status = {"status": "archived", "reason": "moved"}
    meta = {"_last-serial": 25862117, "api-version": "1.4"}
    assert _html(text) == _page({"files": [entry], "meta": meta, "name": "foo", "project-status": status})


def test_a_legacy_page_without_doctype_or_attributes_is_read() -> None:
    page = _html("<h1>Links for Foo</h1><a href='../../packages/foo-1.0.tar.gz#md5=abc'>foo-1.0.tar.gz</a>")
    assert page.api_version == (1, 0)
    assert [(file.url, file.hashes, file.sha256) for file in page.files] == [
        ("https://index.example/packages/foo-1.0.tar.gz", (("md5", "abc"),), None)
    ]


@pytest.mark.parametrize(
    ("fragment", "hashes", "sha256"),
    [
        (f"#sha256={HASH}", (("sha256", HASH),), HASH),
        (f"#egg=foo&sha256={HASH.upper()}&subdirectory=x", (("sha256", HASH.upper()),), HASH),
        ("#sha256=abc", (("sha256", "abc"),), None),
        ("#md5=0", (("md5", "0"),), None),
        ("#egg=foo", (), None),
        ("", (), None),
    ],
)
def test_the_hash_stands_in_the_fragment(fragment: str, hashes: object, sha256: str | None) -> None:
    file = _link(fragment=fragment)
    assert (file.hashes, file.sha256, file.url) == (hashes, sha256, "https://files.example/foo-1.0.tar.gz")


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("", None),
        ('data-core-metadata="true"', CoreMetadata(sha256=None)),
        (f'data-core-metadata="sha256={OTHER}"', CoreMetadata(sha256=parse_sha256(OTHER))),
        (f'data-dist-info-metadata="sha256={OTHER}"', CoreMetadata(sha256=parse_sha256(OTHER))),
        (f'data-core-metadata="false" data-dist-info-metadata="sha256={OTHER}"', None),
        ('data-core-metadata="sha256=abc"', None),
        ('data-core-metadata="md5=abc"', CoreMetadata(sha256=None)),
    ],
)
def test_metadata_attributes_mean_what_the_json_keys_do(attribute: str, expected: CoreMetadata | None) -> None:
    assert _link(attribute).core_metadata == expected


def test_other_attributes_are_read_or_kept() -> None:
    file = _link("data-yanked data-gpg-sig='true' data-size=x data-url=evil data-filename=evil class=y")
    assert (file.yanked, file.size, file.extra) == ("", None, (("gpg-sig", '"true"'),))
    assert _link('data-yanked="a &quot;b&quot;"').yanked == 'a "b"'
    assert _link().yanked is None


def test_links_start_at_the_first_base() -> None:
    page = _html('<base target="_top"><base href="/a/"><base href="/b/"><a href="foo-1.0.tar.gz">x</a>')
    assert page.files[0].url == "https://index.example/a/foo-1.0.tar.gz"


def test_a_base_is_too_short_to_be_multiplied() -> None:
    (file,) = _html(f'<base href="/{"a" * 510}/"><a href="foo-1.0.tar.gz">x</a>').files
    assert len(file.url) > 512
    with pytest.raises(UpstreamNonsenseError, match="a <base> longer than 512 characters"):
        _html(f'<base href="/{"a" * 511}/"><a href="foo-1.0.tar.gz">x</a>')


def test_directory_listings_are_pages() -> None:
    page = _html(
        '<a href="?C=N;O=D">Name</a><a href="../">Parent</a><a name="x">y</a><a href="#top">top</a>'
        '<a href="foo-1.0.0.0-py3-none-any.whl">foo-1.0.0.0-py3-no..&gt;</a>'
    )
    assert [file.filename for file in page.files] == ["foo-1.0.0.0-py3-none-any.whl"]


def test_a_page_that_was_cut_off_is_nonsense() -> None:
    with pytest.raises(UpstreamNonsenseError, match="cut off"):
        _html('<a href="foo-1.0.tar.gz">x</a><a hre')


def test_a_login_form_is_no_empty_project() -> None:
    assert _html("<h1>Links for foo</h1><form><input type=text></form>").files == ()
    with pytest.raises(UpstreamNonsenseError, match="asks for a password"):
        _html("<form><input name=p type=Password></form>")


def test_another_major_version_is_refused_in_html_too() -> None:
    with pytest.raises(UpstreamNonsenseError, match=r"repository-version: expected an API version"):
        _html('<meta name="pypi:repository-version" content="2.0">')


# Content types


@pytest.mark.parametrize(
    ("content_type", "json_page"),
    [
        (JSON, True),
        ("Application/JSON; charset=utf-8", True),
        ("application/vnd.pypi.simple.latest+json", True),
        ("text/html", False),
        ("text/html; charset=UTF-8", False),
        ("application/vnd.pypi.simple.v1+html", False),
    ],
)
def test_the_content_types_of_the_simple_api_are_known(content_type: str, *, json_page: bool) -> None:
    assert is_json(content_type) is json_page


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/vnd.pypi.simple.v2+json", "image/png", "json"])
def test_other_content_types_are_nonsense(content_type: str) -> None:
    with pytest.raises(UpstreamNonsenseError, match="expected a content type of the Simple API"):
        parse_project(b'{"files": []}', content_type, PAGE_URL, FOO)


def test_html_has_few_encodings() -> None:
    link = '<a href="foo-1.0.tar.gz" data-yanked="é">x</a>'
    page = parse_project(link.encode("latin-1"), "text/html; charset=ISO-8859-1", PAGE_URL, FOO)
    assert page.files[0].yanked == "é"
    assert parse_project(link.encode("latin-1"), "text/html", PAGE_URL, FOO).files[0].yanked == "\ufffd"
    with pytest.raises(UpstreamNonsenseError, match="charset 'utf-7'"):
        parse_project(link.encode(), 'text/html; charset="utf-7"', PAGE_URL, FOO)
