from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from packaging.version import Version

from assay.errors import InvalidResponseError
from assay.simple.fields import MAX_UPLOAD_TIME
from assay.simple.model import CoreMetadata, Distribution, File, Kind, Project, ProjectStatus
from assay.simple.parse import PageLimits, parse_project, parse_sha256
from tests.unit.simple.factories import (
    FILE,
    FOO,
    HASH,
    JSON,
    OTHER,
    PAGE,
    PAGE_URL,
    PROVENANCE,
    a_page,
    html_page,
    the_file,
    the_link,
)


def test_every_key_of_a_pypi_page_is_read_or_kept() -> None:
    assert a_page(PAGE) == Project(
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
    with pytest.raises(InvalidResponseError) as caught:
        a_page(page)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, ": expected an object, found 7"),
        ({**FILE, "url": 7}, ".url: expected a string, found 7"),
        ({**FILE, "filename": None}, ".filename: expected a string, found None"),
        ({**FILE, "hashes": [HASH]}, ".hashes: expected an object, found list"),
        ({**FILE, "hashes": {"sha256": 1}}, ".hashes.sha256: expected a string, found 1"),
        ({**FILE, "size": -1}, ".size: expected a number of bytes, found -1"),
        ({**FILE, "size": True}, ".size: expected a number of bytes, found True"),
        ({**FILE, "size": 1.0}, ".size: expected a number of bytes, found 1.0"),
        ({**FILE, "size": 2**63}, ".size: expected a number of bytes, found 9223372036854775808"),
        ({**FILE, "yanked": 1}, ".yanked: expected a boolean or a string, found 1"),
        ({**FILE, "upload-time": 1}, ".upload-time: expected a string, found 1"),
        ({**FILE, "provenance": []}, ".provenance: expected a string, found list"),
        ({**FILE, "core-metadata": 1}, ".core-metadata: expected a boolean or a dictionary"),
        ({**FILE, "x": json.loads("[" * 40 + "]" * 40)}, ".'x': nested deeper than 32"),
    ],
)
def test_a_malformed_entry_concerns_its_file_alone_and_says_where(entry: object, message: str) -> None:
    good = {**FILE, "filename": "foo-2.0-py3-none-any.whl"}
    page = a_page({"files": [good, entry]})
    has_address = isinstance(entry, dict) and isinstance(entry["filename"], str) and isinstance(entry["url"], str)
    assert page.files[0] == a_page({"files": [good]}).files[0]
    assert (len(page.files), page.dropped_entries) == ((2, 0) if has_address else (1, 1))
    if has_address:
        found = page.files[1]
        assert (found.filename, found.sha256, found.extra) == (FILE["filename"], None, ())
        assert found.problem is not None
        assert found.problem.startswith(f"files[1]{message}")
    with pytest.raises(InvalidResponseError, match=r"^2 of 3 files are malformed; the first problem: files\[0\]"):
        a_page({"files": [entry, good, entry]})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON at line 1"),
        (b"<html>", "not JSON at line 1"),
        (b'{"files": []', "not JSON"),
        (b'{"files": [], "x": NaN}', "NaN is not a JSON number"),
        (b'{"files": [], "x": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"files": [], "x": 1e999}', "too large"),
        (b'{"files": [], "files": []}', "duplicate key 'files'"),
        (b'{"files": [], "x": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"files": [], "x": ' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper than 32"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        ('{"files": []}'.encode("utf-16"), "not UTF-8"),
        (b'{"files": [], "x": "\xff"}', "not UTF-8 at byte 20"),
    ],
)
def test_json_that_parsers_disagree_on_is_nonsense(body: bytes, message: str) -> None:
    with pytest.raises(InvalidResponseError, match=message):
        parse_project(body, JSON, PAGE_URL, FOO)


@pytest.mark.parametrize("version", ["1.1", "1.4"])
def test_a_page_without_the_key_says_nothing_about_provenance(version: str) -> None:
    bare = {key: value for key, value in FILE.items() if key != "provenance"}
    page = {"meta": {"api-version": version}, "files": [bare]}
    assert not a_page(page).states_provenance
    for entries in ([bare, {**bare, "provenance": None}], [FILE], []):
        assert a_page({**page, "files": entries}).states_provenance


def test_a_byte_order_mark_and_a_newer_minor_version_do_no_harm() -> None:
    body = b'\xef\xbb\xbf{"files": [], "meta": {"api-version": "1.99"}}'
    assert parse_project(body, JSON, PAGE_URL, FOO).api_version == (1, 99)


def test_nesting_up_to_the_limit_is_kept() -> None:
    assert a_page({"files": [], "x": [[[1]]]}, limits=PageLimits(max_depth=4)).extra == (("x", "[[[1]]]"),)
    with pytest.raises(InvalidResponseError, match="nested deeper than 2"):
        a_page({"files": [], "x": [[[1]]]}, limits=PageLimits(max_depth=2))


def test_more_files_than_the_limit_are_nonsense() -> None:
    limits = PageLimits(max_files=2)
    assert len(a_page({"files": [FILE] * 2}, limits=limits).files) == 2
    with pytest.raises(InvalidResponseError, match="more than 2"):
        a_page({"files": [FILE] * 3}, limits=limits)
    link = '<a href="foo-1.0.tar.gz">foo</a>'
    assert len(html_page(link * 2, limits=limits).files) == 2
    with pytest.raises(InvalidResponseError, match="more than 2"):
        html_page(link * 3, limits=limits)
    with pytest.raises(InvalidResponseError, match="elements"):
        html_page("<p>" * 100, limits=limits)


def test_the_serial_comes_as_a_number_as_digits_or_from_the_header() -> None:
    assert a_page({"files": [], "meta": {"_last-serial": 7}}, serial=5).serial == 7
    assert a_page({"files": [], "meta": {"_last-serial": "25862117"}}).serial == 25862117
    assert a_page({"files": []}, serial=5).serial == 5
    assert a_page({"files": []}).serial is None
    assert html_page("<p><!--SERIAL 8-->", serial=5).serial == 8
    assert html_page("<h1>Links for foo</h1><!--SERIAL x-->", serial=5).serial == 5


@pytest.mark.parametrize(
    ("yanked", "expected"),
    [(False, None), (None, None), (True, ""), ("", ""), ("broken", "broken")],
)
def test_yanked_is_a_boolean_or_a_reason(yanked: object, expected: str | None) -> None:
    assert the_file(yanked=yanked).yanked == expected


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
    assert a_page({"files": [{**rest, **entry}]}).files[0].core_metadata == expected


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
        ("9999-12-31T23:59:59.999999Z", MAX_UPLOAD_TIME),
        ("9999-12-31T23:59:59-12:00", MAX_UPLOAD_TIME),
        ("yesterday at noon", None),
        ("", None),
    ],
)
def test_upload_times_are_instants_or_nothing(text: str, expected: datetime | None) -> None:
    assert the_file(upload_time=text).upload_time == expected
    assert the_link(f'data-upload-time="{text}"').upload_time == expected


def test_a_digest_that_is_none_counts_as_missing() -> None:
    for hashes in ({}, {"md5": "0" * 32}, {"sha256": "abc"}, {"sha256": HASH + "0"}, {"sha256": "g" * 64}):
        assert the_file(hashes=hashes).sha256 is None
    assert the_file(hashes={"sha256": HASH.upper(), "md5": "0" * 32}).sha256 == HASH
    assert the_file(hashes=None).hashes == ()
    assert parse_sha256("٣" * 64) is None


def test_a_file_that_cannot_be_served_is_still_a_value() -> None:
    for changed in (
        {"url": "file:///etc/passwd"},
        {"url": "https://h/a b"},
        {"filename": "../x"},
        {"filename": "\ud800"},
    ):
        file = the_file(**changed)
        assert file.distribution is None
        assert file.refusal
    assert the_file(filename="bar-1.0.tar.gz").owner == "bar"


def test_urls_are_resolved_against_the_page() -> None:
    assert the_file(url="../../f/foo-1.0.tar.gz?sig=1#md5=2").url == "https://index.example/f/foo-1.0.tar.gz?sig=1"


@pytest.mark.parametrize("value", ["x", "é", "\\u0041"])
def test_one_enormous_string_in_json_is_refused_before_the_page_is_decoded(value: str) -> None:
    entry = f'{{"meta": {{"api-version": "1.0"}}, "name": "foo", "files": [], "_x": "{value * 200_000}"}}'
    with pytest.raises(InvalidResponseError, match="a string longer than 65536 bytes"):
        parse_project(entry.encode(), JSON, PAGE_URL, FOO)


def test_a_string_of_ordinary_length_is_kept() -> None:
    value = "x" * 60_000
    entry = f'{{"meta": {{"api-version": "1.0"}}, "name": "foo", "files": [], "_x": "{value}"}}'
    assert parse_project(entry.encode(), JSON, PAGE_URL, FOO).files == ()
