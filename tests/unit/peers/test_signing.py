"""Tests of the signature: each fact of a request counts, and headers and paths survive the way to the other replica."""

from __future__ import annotations

from dataclasses import replace

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from assay.peers.signing import (
    PeerRequest,
    format_headers,
    format_target,
    has_valid_signature,
    parse_headers,
    parse_target,
    sign,
)
from assay.simple.location import resolve_address
from assay.simple.model import Sha256

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
DIGEST = Sha256("ab" * 32)
REQUEST = PeerRequest(
    deployment="acme-prod",
    address="10.0.0.2:8081",
    target=format_target(DIGEST, "files.example/packages/a-1.0.whl"),
    start=0,
    time=1_782_907_200,
    nonce="0123456789abcdef" * 2,
)


@pytest.mark.parametrize(
    "changed",
    [
        replace(REQUEST, deployment="acme-test"),
        replace(REQUEST, address="10.0.0.3:8081"),
        replace(REQUEST, target=REQUEST.target + "x"),
        replace(REQUEST, start=1),
        replace(REQUEST, time=REQUEST.time + 1),
        replace(REQUEST, nonce="f" * 32),
        replace(REQUEST, deployment="acme-prod1", address="0.0.0.2:8081"),
    ],
    ids=["deployment", "address", "target", "start", "time", "nonce", "two fields"],
)
def test_a_signature_holds_for_one_request_only(changed: PeerRequest) -> None:
    signature = sign(REQUEST, KEY)
    assert has_valid_signature(REQUEST, signature, [KEY])
    assert not has_valid_signature(changed, signature, [KEY])


def test_either_key_is_accepted_while_keys_are_rotated_and_no_other() -> None:
    signature = sign(REQUEST, KEY)
    assert has_valid_signature(REQUEST, signature, [OTHER_KEY, KEY])
    assert not has_valid_signature(REQUEST, signature, [OTHER_KEY])
    assert not has_valid_signature(REQUEST, signature, [])
    assert not has_valid_signature(REQUEST, "", [KEY])
    assert not has_valid_signature(REQUEST, "\udcff" + signature[1:], [KEY])


@pytest.mark.parametrize("start", [0, 1, 10**12])
def test_headers_carry_every_fact(start: int) -> None:
    request = replace(REQUEST, start=start)
    headers = CIMultiDictProxy(CIMultiDict(format_headers(request, KEY)))
    parsed = parse_headers(headers, target=request.target, address=request.address)
    assert parsed == (request, sign(request, KEY))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Assay-Deployment", None),
        ("Assay-Signature", None),
        ("Assay-Time", None),
        ("Assay-Time", "-1"),
        ("Assay-Time", "1" * 13),
        ("Assay-Time", "\u0661"),
        ("Assay-Nonce", None),
        ("Assay-Nonce", "A" * 32),
        ("Assay-Nonce", "a" * 31),
        ("Range", "bytes=0-"),
        ("Range", "bytes=5-6"),
        ("Range", "bytes=-5"),
        ("Range", "bytes=" + "9" * 19 + "-"),
    ],
)
def test_malformed_headers_are_no_request(name: str, value: str | None) -> None:
    headers = format_headers(replace(REQUEST, start=7), KEY)
    assert parse_headers(headers, target=REQUEST.target, address=REQUEST.address) is not None
    changed = {key: given for key, given in {**headers, name: value}.items() if given is not None}
    assert parse_headers(changed, target=REQUEST.target, address=REQUEST.address) is None


def test_a_path_names_the_file_that_its_page_lists() -> None:
    address = resolve_address("https://files.example/a%20b//c%2Bd-1.0.whl?token=x", "https://files.example/")
    assert parse_target(format_target(DIGEST, address.route)) == (DIGEST, address.location)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/simple/foo/",
        f"/files/{DIGEST}",
        f"/files/{DIGEST}/",
        f"/files/{DIGEST[:-1]}/a",
        f"/files/{DIGEST.upper()}/a",
        f"/files/{DIGEST}/a b",
        f"/files/{DIGEST}/{'a' * 6001}",
        f"/x/files/{DIGEST}/a",
    ],
)
def test_any_other_path_names_no_file(target: str) -> None:
    assert parse_target(target) is None
