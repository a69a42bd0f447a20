"""Hostile and broken OSV records."""

from __future__ import annotations

import json
from typing import Any

import pytest

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
