from __future__ import annotations

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
    with pytest.raises(InvalidResponseError) as caught:
        a_page(page)
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
    with pytest.raises(InvalidResponseError, match=message):
        parse_project(body, JSON, PAGE_URL, FOO)


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
    assert html_page("<p><!--SERIAL x-->", serial=5).serial == 5


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
