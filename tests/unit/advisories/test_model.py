"""Versions that an advisory covers, compared with the algorithm of the OSV schema and with `packaging`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName
from packaging.version import Version

from assay.advisories.model import Advisory
from assay.advisories.record import parse_record
from tests.world.advisories.records import make_affected, make_range, make_record

FOO = NormalizedName("foo")
_TEXTS = [
    *("0.dev0", "0", "0.1", "1.0.dev1", "1.0a1", "1.0rc1", "1", "1.0", "1.0.0+local", "1.0.post1", "1.1", "1.2.3"),
    *("2.0b2", "2.0", "2.0.post1.dev2", "10", "1!0.1", "1!2.0"),
]
versions = st.sampled_from(_TEXTS)
_BOUNDS = st.sampled_from([each for each in _TEXTS if each != "0"])
"""Versions in events. "0" is left out, because `introduced` has another meaning for it."""


def _parse(*affected: dict[str, Any], advisory_id: str = "GHSA-1", **more: Any) -> Advisory:
    advisory = parse_record(make_record(advisory_id, *affected, **more))
    assert advisory is not None
    return advisory


def _covers(advisory: Advisory, version: str) -> bool:
    return advisory.covers(FOO, Version(version))


@given(bounds=st.lists(_BOUNDS, min_size=2, max_size=8, unique_by=Version), asked=versions, data=st.data())
def test_ranges_cover_the_versions_between_introduced_and_fixed(
    bounds: list[str], asked: str, data: st.DataObject
) -> None:
    ordered = sorted(bounds, key=Version)
    pairs = list(zip(ordered[::2], ordered[1::2], strict=False))
    kinds = [data.draw(st.sampled_from(["fixed", "last_affected"])) for _ in pairs]
    events = [
        event for (low, high), kind in zip(pairs, kinds, strict=True) for event in (("introduced", low), (kind, high))
    ]
    shuffled = data.draw(st.permutations(events))
    advisory = _parse(make_affected("foo", ranges=[make_range(*shuffled)]))

    def is_inside(low: str, high: str, kind: str) -> bool:
        version = Version(asked)
        return version >= Version(low) and (version < Version(high) if kind == "fixed" else version <= Version(high))

    assert _covers(advisory, asked) == any(
        is_inside(low, high, kind) for (low, high), kind in zip(pairs, kinds, strict=True)
    )


def _documented(version: Version, events: list[tuple[str, str]]) -> bool:
    """Function IncludedInRanges of the OSV schema, word for word."""

    def order(text: str) -> tuple[int, Version]:
        return (0, Version("0")) if text == "0" else (1, Version(text))

    limits = [text for kind, text in events if kind == "limit"]
    if limits and not any(text == "*" or version < Version(text) for text in limits):
        return False
    vulnerable = False
    for kind, text in sorted((each for each in events if each[0] != "limit"), key=lambda each: order(each[1])):
        if kind == "introduced" and (text == "0" or version >= Version(text)):
            vulnerable = True
        elif (kind == "fixed" and version >= Version(text)) or (kind == "last_affected" and version > Version(text)):
            vulnerable = False
    return vulnerable


_EVENTS = st.one_of(
    st.tuples(st.just("introduced"), st.one_of(st.just("0"), _BOUNDS)),
    st.tuples(st.sampled_from(["fixed", "last_affected"]), _BOUNDS),
    st.tuples(st.just("limit"), st.one_of(st.just("*"), _BOUNDS)),
)


@given(
    ranges=st.lists(st.lists(_EVENTS, max_size=6), max_size=3), listed=st.lists(versions, max_size=3), asked=versions
)
def test_any_events_are_evaluated_as_the_schema_documents(
    ranges: list[list[tuple[str, str]]], listed: list[str], asked: str
) -> None:
    advisory = _parse(make_affected("foo", versions=listed, ranges=[make_range(*each) for each in ranges]))
    version = Version(asked)
    expected = version in map(Version, listed) or any(_documented(version, each) for each in ranges)
    assert advisory.covers(FOO, version) == expected


@given(listed=st.lists(st.sampled_from(_TEXTS), max_size=5), asked=versions)
def test_a_listed_version_is_covered_in_every_spelling(listed: list[str], asked: str) -> None:
    advisory = _parse(make_affected("Foo", versions=[f"v{each}" if each[0] == "1" else each for each in listed]))
    assert _covers(advisory, asked) == (Version(asked) in map(Version, listed))


@pytest.mark.parametrize(
    ("advisory_id", "entry", "covered"),
    [
        ("MAL-2026-1", make_affected("foo"), True),
        ("MAL-2026-1", make_affected("foo", versions=[], ranges=[]), True),
        ("MAL-2026-1", make_affected("foo", ranges=[make_range(("introduced", "0"), kind="GIT")]), True),
        ("MAL-2026-1", make_affected("foo", versions=["9"]), False),
        ("MAL-2026-1", make_affected("foo", ranges=[make_range(("introduced", "9"))]), False),
        ("MAL-2026-1", make_affected("bar"), False),
        ("GHSA-1", make_affected("foo"), False),
        ("GHSA-1", make_affected("foo", ranges=[make_range(("introduced", "0"), kind="GIT")]), False),
        ("GHSA-1", make_affected("foo", ranges=[make_range(("introduced", "0"))]), True),
        ("GHSA-1", make_affected("foo", ranges=[make_range(("introduced", "0"), ("fixed", "no version"))]), False),
        ("GHSA-1", make_affected("foo", ranges=[make_range(("introduced", "no version"))]), True),
    ],
)
def test_only_malware_without_versions_and_ranges_covers_everything(
    advisory_id: str, entry: dict[str, Any], covered: bool
) -> None:
    assert _covers(_parse(entry, advisory_id=advisory_id), "1.0") is covered


def test_a_withdrawn_record_covers_nothing() -> None:
    assert _covers(_parse(make_affected("foo"), advisory_id="MAL-1"), "1.0")
    withdrawn = _parse(make_affected("foo"), advisory_id="MAL-1", withdrawn="2026-11-21T00:00:00Z")
    assert not _covers(withdrawn, "1.0")
    assert not withdrawn.withholds


def test_a_record_about_several_projects_is_matched_by_project() -> None:
    advisory = _parse(make_affected("foo", versions=["1"]), make_affected("bar", versions=["2"]))
    assert advisory.covers(NormalizedName("foo"), Version("1.0"))
    assert not advisory.covers(NormalizedName("foo"), Version("2"))
    assert advisory.covers(NormalizedName("bar"), Version("2"))


def test_only_entries_about_pypi_count() -> None:
    npm = make_affected("foo", ecosystem="npm")
    assert parse_record(make_record("MAL-1", npm)) is None
    assert [each.project for each in _parse(npm, make_affected("Bar_Baz")).affected] == ["bar-baz"]
