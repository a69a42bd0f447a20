"""Hostile and broken OSV records."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName
from packaging.version import Version

from assay.advisories.record import BrokenRecordError, parse_record, read_json_object
from tests.world.advisories.records import make_affected, make_range, make_record


def _nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{",
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        _nested(33),
        _nested(500_000),
        b"[" * 1_000_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"a": "' + b"x" * (2 << 20) + b'"}',
    ],
    ids=lambda raw: f"{raw[:8]!r} {len(raw)}",
)
def test_other_bytes_than_a_small_flat_object_are_refused(raw: bytes) -> None:
    with pytest.raises(BrokenRecordError):
        read_json_object(raw)


def test_the_deepest_object_is_accepted() -> None:
    assert read_json_object(_nested(32))


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": 7},
        {"id": "MAL-1\n"},
        {"id": "../etc"},
        {"id": "M" * 101},
        {"modified": None},
        {"modified": "yesterday"},
        {"modified": 7},
        {"withdrawn": "yes"},
        {"affected": {}},
        {"affected": ["foo"]},
        {"affected": [{"package": "foo"}]},
        {"affected": [make_affected("foo"), make_affected("no name")]},
        {"affected": [make_affected("\u212aelvin")]},
        {"affected": [make_affected("foo", versions=["1"] * 20_001)]},
        {"affected": [make_affected("foo", versions=[1])]},  # type: ignore[list-item]  # that is the mistake
        {"affected": [make_affected("foo", ranges=[make_range(*[("fixed", "1")] * 2_001)])]},
        {"affected": [make_affected("foo", ranges=[{"type": "ECOSYSTEM", "events": ["1"]}])]},
        {"affected": [make_affected("foo", ranges=[{"type": "ECOSYSTEM", "events": [{"fixed": 1}]}])]},
        {"affected": [make_affected("foo")] * 1_001},
        {"summary": []},
        {"references": "https://example.org"},
    ],
    ids=lambda change: json.dumps(change)[:60],
)
def test_a_record_with_a_wrong_value_is_broken_as_a_whole(change: dict[str, Any]) -> None:
    record = make_record("MAL-1", make_affected("foo"))
    assert parse_record(record) is not None
    with pytest.raises(BrokenRecordError):
        parse_record(record | change)


def test_texts_and_lists_are_shortened() -> None:
    references = [
        {"type": "WEB", "url": url} for url in ("javascript:alert(1)", "https://a b", "https://example.org/x")
    ]
    advisory = parse_record(
        make_record("MAL-1", make_affected("foo"))
        | {
            "summary": "s" * 10_000,
            "details": "d" * 10_000,
            "aliases": ["GHSA-1", "a b", 7, *["CVE-1"] * 100],
            "references": references * 5,
        }
    )
    assert advisory is not None
    assert (len(advisory.summary), len(advisory.details)) == (500, 4_000)
    assert advisory.aliases == ("GHSA-1", *["CVE-1"] * 47)
    assert advisory.references == ("https://example.org/x",) * 5


def test_times_have_any_precision() -> None:
    advisory = parse_record(make_record("MAL-1", make_affected("foo"), modified="2026-11-20T10:00:00.123456789Z"))
    assert advisory is not None
    assert advisory.modified.isoformat() == "2026-11-20T10:00:00.123456+00:00"


_JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
_VERSIONS = st.one_of(st.from_regex(r"[0-9!.a-z+-]{1,12}", fullmatch=True), st.just("9" * 5_000), _JSON)


@given(
    key=st.sampled_from(["id", "modified", "withdrawn", "affected", "aliases", "summary", "references"]), value=_JSON
)
def test_any_value_of_a_key_gives_an_advisory_or_a_broken_record(key: str, value: Any) -> None:
    _parse_or_refuse(make_record("MAL-1", make_affected("foo")) | {key: value})


@given(key=st.sampled_from(["package", "versions", "ranges"]), value=_JSON, versions=st.lists(_VERSIONS, max_size=3))
def test_any_value_in_an_entry_gives_an_advisory_or_a_broken_record(key: str, value: Any, versions: list[Any]) -> None:
    entry = make_affected("foo", versions=versions, ranges=[make_range(*(("introduced", each) for each in versions))])
    _parse_or_refuse(make_record("MAL-1", entry))
    _parse_or_refuse(make_record("MAL-1", entry) | {"affected": [entry | {key: value}]})


def _parse_or_refuse(record: dict[str, Any]) -> None:
    try:
        advisory = parse_record(read_json_object(json.dumps(record).encode()))
    except BrokenRecordError:
        return
    if advisory is not None:
        assert advisory.covers(NormalizedName("foo"), Version("1.0")) in {True, False}
