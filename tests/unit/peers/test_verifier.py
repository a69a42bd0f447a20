"""Tests of the verifier: who is refused, and that a request is accepted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from assay.peers.signing import PeerCredentials, PeerRequest, format_headers
from assay.peers.verifier import NonceMemory, PeerRequestVerifier
from tests.unit.peers.test_signing import KEY, OTHER_KEY, REQUEST


def make_verifier(
    *,
    now: float = REQUEST.time,
    keys: Sequence[bytes] = (KEY,),
    deployment: str = REQUEST.deployment,
    address: str = REQUEST.address,
    nonces: NonceMemory | None = None,
) -> PeerRequestVerifier:
    return PeerRequestVerifier(
        credentials=PeerCredentials(deployment=deployment, keys=lambda: keys),
        address=address,
        clock=lambda: datetime.fromtimestamp(now, UTC),
        nonces=nonces,
    )


def sent(request: PeerRequest = REQUEST, key: bytes = KEY) -> Mapping[str, str]:
    return format_headers(request, key)


def is_refused(verifier: PeerRequestVerifier, headers: Mapping[str, str], target: str = REQUEST.target) -> str:
    refused = verifier.verify(headers, target)
    assert isinstance(refused, str), refused
    return refused


def test_a_signed_request_is_accepted_once() -> None:
    verifier = make_verifier()
    assert verifier.verify(sent(), REQUEST.target) == REQUEST
    assert "received before" in is_refused(verifier, sent())
    again = replace(REQUEST, nonce="1" * 32)
    assert verifier.verify(sent(again), REQUEST.target) == again


@pytest.mark.parametrize("difference", [-30, 30])
def test_a_request_of_30_seconds_ago_or_ahead_is_accepted_and_one_of_31_is_not(difference: int) -> None:
    assert make_verifier(now=REQUEST.time + difference).verify(sent(), REQUEST.target) == REQUEST
    later = make_verifier(now=REQUEST.time + difference + (1 if difference > 0 else -1))
    assert "time" in is_refused(later, sent())


def test_a_request_of_another_key_is_refused_and_one_of_the_earlier_key_accepted() -> None:
    assert "signature is wrong" in is_refused(make_verifier(), sent(key=OTHER_KEY))
    assert make_verifier(keys=(KEY, OTHER_KEY)).verify(sent(key=OTHER_KEY), REQUEST.target) == REQUEST


def test_a_request_of_another_deployment_with_the_same_key_is_refused() -> None:
    assert "another deployment" in is_refused(make_verifier(deployment="acme-test"), sent())


def test_a_request_for_another_replica_another_path_or_another_offset_is_refused() -> None:
    assert "wrong" in is_refused(make_verifier(address="10.0.0.3:8081"), sent())
    assert "wrong" in is_refused(make_verifier(), sent(), REQUEST.target + "x")
    assert "wrong" in is_refused(make_verifier(), {**sent(), "Range": "bytes=1-"})


def test_an_unsigned_request_is_refused() -> None:
    assert "missing" in is_refused(make_verifier(), {})


def test_a_refused_request_takes_no_place_in_the_memory() -> None:
    nonces = NonceMemory()
    verifier = make_verifier(nonces=nonces)
    is_refused(verifier, sent(key=OTHER_KEY))
    is_refused(verifier, sent(replace(REQUEST, time=REQUEST.time - 31)))
    assert len(nonces) == 0
    assert verifier.verify(sent(), REQUEST.target) == REQUEST
    assert len(nonces) == 1


def test_the_memory_is_limited_and_forgets_only_what_has_expired() -> None:
    nonces = NonceMemory(max_nonces=2)
    assert nonces.add("a", time=1000, now=1000)
    assert nonces.add("b", time=1010, now=1010)
    assert not nonces.add("c", time=1011, now=1011), "a full memory refuses, and forgets no request that is valid"
    assert not nonces.add("a", time=1000, now=1030), "it is valid until 1030"
    assert nonces.add("c", time=1200, now=1200)
    assert len(nonces) == 1


def test_a_request_cannot_be_repeated_while_its_time_is_accepted() -> None:
    for time in range(900, 1100):
        nonces = NonceMemory()
        assert nonces.add("a", time=time, now=time - 30)
        assert not any(nonces.add("a", time=time, now=now) for now in range(time - 30, time + 31))
