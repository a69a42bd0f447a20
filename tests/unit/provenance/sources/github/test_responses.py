"""Tests of the parser of GitHub's responses: valid ones, malformed ones, and any bytes."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import InvalidResponseError
from assay.provenance.sources.github.responses import (
    MAX_ATTESTATIONS,
    ListedAttestation,
    encode_bundles,
    parse_bulk_listing,
    parse_bundle,
    parse_listing,
)

URL = "https://blobs.example/1.json.sn?sig=x"
INLINE = {"bundle": {"mediaType": "m"}, "repository_id": 1, "bundle_url": URL}
ENTRY = ListedAttestation(bundle={"mediaType": "m"}, url=URL)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.dictionaries(st.sampled_from(["bundle", "bundle_url", "repository_id"]), JSON)


def listing(*entries: Any) -> bytes:
    return json.dumps({"attestations": entries}).encode()


def test_an_attestation_has_a_bundle_or_a_url() -> None:
    assert parse_listing(listing(INLINE)) == (ENTRY,)
    assert parse_listing(listing({**INLINE, "bundle": None})) == (ListedAttestation(bundle=None, url=URL),)
    assert parse_listing(listing({"bundle": {"a": 1}})) == (ListedAttestation(bundle={"a": 1}, url=None),)
    assert parse_listing(listing()) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b"\xff",
        b'{"attestations": {}}',
        listing(1),
        listing({}),
        listing({"bundle": [], "bundle_url": ""}),
        listing({"bundle_url": "https://blobs.example/\n"}),
        listing({"bundle_url": "https://blobs.example/" + "a" * 5000}),
        listing(*[INLINE] * (MAX_ATTESTATIONS + 1)),
        b"[" * 100_000,
    ],
)
def test_a_malformed_listing_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidResponseError):
        parse_listing(body)
    assert len(parse_listing(listing(*[INLINE] * MAX_ATTESTATIONS))) == MAX_ATTESTATIONS


@pytest.mark.parametrize("form", ["object", "list"])
def test_a_bulk_listing_has_attestations_by_digest(form: str) -> None:
    listed: dict[str, Any] = {"sha256:a": [INLINE], "sha256:b": None, "sha256:c": []}
    content: Any = listed if form == "object" else [{key: value} for key, value in listed.items()]
    info = {"has_next": True, "has_previous": False, "next": "cursor", "previous": ""}
    page = parse_bulk_listing(json.dumps({"attestations_subject_digests": content, "page_info": info}).encode())
    assert page.by_digest == {"sha256:a": (ENTRY,), "sha256:b": (), "sha256:c": ()}
    assert page.next_cursor == "cursor"


@pytest.mark.parametrize("info", [None, {}, {"has_next": False, "next": "x"}, {"has_next": "yes", "next": "x"}])
def test_the_last_page_has_no_cursor(info: object) -> None:
    page = parse_bulk_listing(json.dumps({"attestations_subject_digests": {}, "page_info": info}).encode())
    assert page.next_cursor is None


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"attestations_subject_digests": [1]}',
        b'{"attestations_subject_digests": {}, "page_info": {"has_next": true, "next": 7}}',
        b'{"attestations_subject_digests": {}, "page_info": {"has_next": true, "next": "a\\nb"}}',
    ],
)
def test_a_malformed_bulk_listing_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidResponseError):
        parse_bulk_listing(body)


@pytest.mark.parametrize("entries", ["{}", "7", "[7]", '[{"bundle": null, "bundle_url": ""}]'])
def test_malformed_attestations_of_one_digest_leave_the_others(entries: str) -> None:
    good = json.dumps([INLINE])
    page = parse_bulk_listing(
        f'{{"attestations_subject_digests": {{"sha256:a": {entries}, "sha256:b": {good}}}}}'.encode()
    )
    assert page.by_digest == {"sha256:b": (ENTRY,)}
    assert page.unusable.keys() == {"sha256:a"}


def test_the_document_depends_only_on_the_set_of_bundles() -> None:
    first, second = {"a": 1, "b": [2]}, {"b": [2], "a": 2}
    document = encode_bundles([first, second])
    assert document == encode_bundles([second, {"b": [2], "a": 1}, first])
    assert sorted(json.loads(document), key=str) == sorted([first, second], key=str)
    assert parse_bundle(b'{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(("number", "text"), [("1e300", '{"a":1e+300}'), ("1e999", "null"), ("NaN", "null")])
def test_a_bundle_with_a_number_that_json_lacks_leaves_the_others(number: str, text: str) -> None:
    good = parse_bundle(b'{"b": 1}')
    document = encode_bundles([good, parse_bundle(f'{{"a": {number}}}'.encode())]).decode()
    assert sorted(document[1:-1].split(",")) == sorted(['{"b":1}', text])


@given(st.one_of(st.binary(max_size=100), st.lists(ENTRIES, max_size=3).map(lambda entries: listing(*entries))))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    for parse in (parse_listing, parse_bulk_listing, parse_bundle):
        with contextlib.suppress(InvalidResponseError):
            parse(body)
