"""Queries of the OSV API: what is accepted, and what gets 400."""

from __future__ import annotations

import json

import pytest
from packaging.utils import NormalizedName

from assay.advisories.model import Advisory
from assay.advisories.record import parse_record
from assay.web.osv.queries import (
    MAX_QUERIES,
    InvalidQueryError,
    PackageQuery,
    make_token,
    parse_batch,
    parse_query,
    select_covering,
)
from tests.world.advisories.records import make_affected, make_range, make_record

FOO = NormalizedName("foo-bar")
PACKAGE = {"name": "Foo_Bar", "ecosystem": "PyPI"}


def query(**keys: object) -> PackageQuery:
    return parse_query(json.dumps(keys).encode())


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"package": PACKAGE, "version": "1.0"}, ("foo-bar", "1.0", None)),
        ({"package": PACKAGE}, ("foo-bar", None, None)),
        ({"package": PACKAGE, "version": "", "page_token": "", "commit": ""}, ("foo-bar", None, None)),
        ({"package": {"purl": "pkg:pypi/foo-bar@1.0%2Blocal"}}, ("foo-bar", "1.0+local", None)),
        ({"package": {"purl": "pkg:pypi/foo-bar?x=1#y"}, "version": "2"}, ("foo-bar", "2", None)),
        ({"package": {"name": "no/name", "ecosystem": "PyPI"}}, (None, None, None)),
        ({"package": {"name": "n" * 300, "ecosystem": "PyPI"}}, (None, None, None)),
        ({"package": PACKAGE, "page_token": make_token("GHSA-1")}, ("foo-bar", None, "GHSA-1")),
        ({"package": PACKAGE, "page_token": make_token(None)}, ("foo-bar", None, None)),
        ({"package": PACKAGE, "more": {"a": 1}}, ("foo-bar", None, None)),
    ],
)
def test_a_query_names_a_package_and_perhaps_a_version(
    keys: dict[str, object], expected: tuple[str | None, str | None, str | None]
) -> None:
    found = query(**keys)
    assert (found.project, found.version, found.after) == expected


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Invalid query"),
        (b"[]", "Invalid query"),
        (b"\xff", "Invalid query"),
        (b'{"a":' + b"[" * 100_000, "Invalid query"),
        (b"{}", "no package"),
        (b'{"commit": "abc"}', "commit"),
        (b'{"package": {"name": "foo", "ecosystem": "npm"}}', "ecosystem PyPI"),
        (b'{"package": {"name": "foo", "ecosystem": "pypi"}}', "ecosystem PyPI"),
        (b'{"package": {"name": 1, "ecosystem": "PyPI"}}', "expected a name"),
        (b'{"package": {"name": "foo", "ecosystem": "PyPI"}, "version": 1}', "version"),
        (b'{"package": {"name": "foo", "ecosystem": "PyPI"}, "version": "' + b"1" * 300 + b'"}', "too long"),
        (b'{"package": {"purl": "pkg:npm/foo"}}', "pkg:pypi/"),
        (b'{"package": {"purl": "pkg:pypi/foo", "name": "foo"}}', "together"),
        (b'{"package": {"purl": "pkg:pypi/foo@1"}, "version": "1"}', "both"),
        (b'{"package": {"name": "foo", "ecosystem": "PyPI"}, "page_token": "%"}', "page token"),
        (b'{"package": {"name": "foo", "ecosystem": "PyPI"}, "page_token": 7}', "page token"),
    ],
)
def test_anything_else_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(InvalidQueryError, match=said):
        parse_query(body)


def test_a_batch_has_at_most_a_thousand_queries() -> None:
    queries = [{"package": PACKAGE}] * MAX_QUERIES
    assert len(parse_batch(json.dumps({"queries": queries}).encode())) == MAX_QUERIES
    assert parse_batch(b"{}") == ()
    with pytest.raises(InvalidQueryError, match="Too many"):
        parse_batch(json.dumps({"queries": [*queries, queries[0]]}).encode())
    with pytest.raises(InvalidQueryError, match="array"):
        parse_batch(b'{"queries": {}}')
    with pytest.raises(InvalidQueryError, match="object"):
        parse_batch(b'{"queries": [1]}')


def advisory(name: str, **affected: object) -> Advisory:
    found = parse_record(make_record(name, make_affected("foo-bar", **affected)))  # type: ignore[arg-type]
    assert found is not None
    return found


FIXED = advisory("GHSA-1", ranges=[make_range(("introduced", "0"), ("fixed", "2.0"))])
EVERY = advisory("MAL-2")
LISTED = advisory("MAL-1", versions=["2.0"])


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (None, ["MAL-1", "MAL-2", "GHSA-1"]),
        ("1.0", ["MAL-2", "GHSA-1"]),
        ("2", ["MAL-1", "MAL-2"]),
        ("3", ["MAL-2"]),
        ("no version", ["MAL-2"]),
    ],
)
def test_malware_comes_first(version: str | None, expected: list[str]) -> None:
    asked = PackageQuery(project=FOO, version=version, after=None)
    assert [each.id for each in select_covering(asked, [FIXED, EVERY, LISTED])] == expected
    for place, last in enumerate(expected):
        rest = PackageQuery(project=FOO, version=version, after=last)
        assert [each.id for each in select_covering(rest, [FIXED, EVERY, LISTED])] == expected[place + 1 :]


def test_no_record_answers_a_query_for_a_name_that_no_project_can_have() -> None:
    assert select_covering(PackageQuery(project=None, version=None, after=None), [EVERY]) == ()
