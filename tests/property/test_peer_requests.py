"""Properties of requests between replicas: no input raises, and no two requests have the same signature."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from assay.peers.addresses import parse_peer_address
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

KEY = b"k" * 32
ANY_TEXT = st.text(st.characters(codec=None), max_size=40)
"""Also surrogates, which stand for bytes of a header that are not UTF-8."""
REQUESTS = st.builds(
    PeerRequest,
    deployment=ANY_TEXT,
    address=ANY_TEXT,
    target=ANY_TEXT,
    start=st.integers(0, 10**17),
    time=st.integers(0, 10**12 - 1),
    nonce=st.binary(min_size=16, max_size=16).map(bytes.hex),
)
HEADER_NAMES = st.sampled_from(["Assay-Deployment", "Assay-Time", "Assay-Nonce", "Assay-Signature", "Range"])


@given(REQUESTS)
def test_a_signed_request_arrives_as_it_was_sent(request: PeerRequest) -> None:
    headers = format_headers(request, KEY)
    assert parse_headers(headers, target=request.target, address=request.address) == (request, sign(request, KEY))
    assert has_valid_signature(request, sign(request, KEY), [KEY])


@given(REQUESTS, REQUESTS)
def test_two_requests_have_two_signatures(one: PeerRequest, other: PeerRequest) -> None:
    assume(one != other)
    assert sign(one, KEY) != sign(other, KEY)


@given(REQUESTS, st.integers(0, 40))
def test_no_character_can_move_from_one_field_to_the_next(request: PeerRequest, cut: int) -> None:
    whole = request.deployment + request.address
    moved = replace(request, deployment=whole[:cut], address=whole[cut:])
    assume(moved != request)
    assert not has_valid_signature(moved, sign(request, KEY), [KEY])


@given(st.dictionaries(HEADER_NAMES, ANY_TEXT), ANY_TEXT, ANY_TEXT)
def test_no_header_raises(headers: dict[str, str], target: str, address: str) -> None:
    parsed = parse_headers(headers, target=target, address=address)
    if parsed is not None:
        assert not has_valid_signature(parsed[0], parsed[1], [KEY])


@given(ANY_TEXT)
def test_no_address_and_no_path_raises_another_error(text: str) -> None:
    assert parse_target(text) is None or text.startswith("/files/")
    try:
        address = parse_peer_address(text)
    except ValueError:
        return
    assert parse_peer_address(str(address)) == address


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\"), max_size=40))
def test_each_file_that_a_page_can_list_has_a_path_that_names_it(path: str) -> None:
    address = resolve_address(f"https://files.example/{path}", "https://index.example/simple/a/")
    assume(address.refusal is None)
    assert parse_target(format_target(Sha256("ab" * 32), address.route)) == ("ab" * 32, address.location)
