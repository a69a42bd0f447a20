"""Tests of the cache of verified chains: it has valid chains only, and each entry counts for one certificate only."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assay.attestation.verification import sigstore_private
from assay.attestation.verification.keys import load_keys
from assay.attestation.verification.verify import verify
from assay.evidence import Attested, Evidence, Forged
from tests.world.sigstore.attacks import FILE_SHA256, FILENAME, make_listed_file, set_fields, trust_root_for
from tests.world.sigstore.private_sigstore import SIGNING_TIME, GitHub, PrivateSigstore, build_provenance


def attested(evidence: Evidence) -> Attested:
    assert isinstance(evidence, Attested), evidence
    return evidence


class Counting:
    """Counter of the calls that verify a chain instead of using the cache."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        real = sigstore_private.verify_chain

        def chain(*arguments: object) -> object:
            self.calls += 1
            return real(*arguments)  # type: ignore[arg-type]  # arguments are passed unchanged

        monkeypatch.setattr(sigstore_private, "verify_chain", chain)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    sigstore_private.find_change()  # the cached self-test verifies chains too, so it must run before the count
    load_keys.cache_clear()
    return Counting(monkeypatch)


def test_the_chain_of_a_release_is_verified_once(sigstore: PrivateSigstore, counting: Counting) -> None:
    for number in range(5):
        filename = f"widget-1.{number}.tar.gz"
        attested(
            verify(sigstore.provenance(filename, FILE_SHA256), make_listed_file(filename), [trust_root_for(sigstore)])
        )
    assert counting.calls == 1


def test_a_failure_is_never_remembered(sigstore: PrivateSigstore, counting: Counting) -> None:
    other = PrivateSigstore(seed=3)
    raw = sigstore.provenance(FILENAME, FILE_SHA256, leaf=set_fields(issuer_key=other.intermediate_key))
    for _ in range(2):
        assert isinstance(verify(raw, make_listed_file(), [trust_root_for(sigstore)]), Forged)
    assert counting.calls == 2


def test_a_remembered_certificate_vouches_for_nothing_else(sigstore: PrivateSigstore, counting: Counting) -> None:
    """A certificate with one changed byte, even in its signature, is a different certificate."""
    root = trust_root_for(sigstore)
    good = sigstore.attestation(FILENAME, FILE_SHA256)
    attested(verify(build_provenance((GitHub().publisher(), [good])), make_listed_file(), [root]))
    for forged in (
        sigstore.provenance(
            FILENAME, FILE_SHA256, leaf=set_fields(issuer_key=PrivateSigstore(seed=3).intermediate_key)
        ),
        sigstore.provenance(
            FILENAME, FILE_SHA256, leaf=set_fields(sct_tail=lambda one: one[:-1] + bytes([one[-1] ^ 1]))
        ),
    ):
        assert isinstance(verify(forged, make_listed_file(), [root]), Forged)
    assert counting.calls == 3


def test_a_remembered_certificate_is_still_checked_against_the_time(sigstore: PrivateSigstore) -> None:
    root = trust_root_for(sigstore)
    attested(verify(sigstore.provenance(FILENAME, FILE_SHA256), make_listed_file(), [root]))
    late = sigstore.provenance(
        FILENAME, FILE_SHA256, entry=set_fields(integrated_time=int((SIGNING_TIME + timedelta(hours=1)).timestamp()))
    )
    evidence = verify(late, make_listed_file(), [root])
    assert isinstance(evidence, Forged)
    assert evidence.step == "log time"


def test_the_authoritys_window_holds_for_a_remembered_certificate(sigstore: PrivateSigstore) -> None:
    """The same certificate is logged before and after the end of the authority's validity."""

    def end(content: dict[str, list[dict[str, dict[str, str]]]]) -> None:
        content["certificateAuthorities"][0]["validFor"]["end"] = "2026-06-01T12:05:00Z"

    root = trust_root_for(sigstore, end)
    attested(verify(sigstore.provenance(FILENAME, FILE_SHA256), make_listed_file(), [root]))
    late = sigstore.provenance(
        FILENAME, FILE_SHA256, entry=set_fields(integrated_time=int((SIGNING_TIME + timedelta(minutes=6)).timestamp()))
    )
    evidence = verify(late, make_listed_file(), [root])
    assert isinstance(evidence, Forged)
    assert evidence.step == "certificate chain"


def test_the_start_of_the_authoritys_window_holds_for_a_remembered_certificate(sigstore: PrivateSigstore) -> None:
    """The same certificate is logged after and before the start of the authority's validity, in either order."""

    def begin(content: dict[str, list[dict[str, dict[str, str]]]]) -> None:
        content["certificateAuthorities"][0]["validFor"]["start"] = (SIGNING_TIME + timedelta(minutes=3)).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )

    root = trust_root_for(sigstore, begin)
    early = sigstore.provenance(FILENAME, FILE_SHA256)
    late = sigstore.provenance(
        FILENAME, FILE_SHA256, entry=set_fields(integrated_time=int((SIGNING_TIME + timedelta(minutes=6)).timestamp()))
    )
    for _ in range(2):
        evidence = verify(early, make_listed_file(), [root])
        assert isinstance(evidence, Forged)
        assert evidence.step == "certificate chain"
        attested(verify(late, make_listed_file(), [root]))


def test_what_one_root_remembers_another_doesnt(sigstore: PrivateSigstore, counting: Counting) -> None:
    raw = sigstore.provenance(FILENAME, FILE_SHA256)
    attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)]))
    retired = trust_root_for(
        sigstore, lambda content: content["ctlogs"][0]["publicKey"]["validFor"].update(end="2022-01-01T00:00:00Z")
    )
    assert isinstance(verify(raw, make_listed_file(), [retired]), Forged)
    assert counting.calls == 2


def test_the_memo_is_bounded(sigstore: PrivateSigstore, monkeypatch: pytest.MonkeyPatch, counting: Counting) -> None:
    monkeypatch.setattr("assay.attestation.verification.keys.MAX_CACHED_CERTIFICATES", 2)
    for second in (0, 1, 2, 0):
        raw = sigstore.provenance(FILENAME, FILE_SHA256, when=SIGNING_TIME + timedelta(seconds=second))
        attested(verify(raw, make_listed_file(), [trust_root_for(sigstore)]))
    assert counting.calls == 4
