"""What is remembered of a certificate: its chain and SCT where they were good, and nothing for anybody else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assay.attestation.verification import sigstore_private
from assay.attestation.verification.keys import load_keys
from assay.attestation.verification.verify import verify
from assay.evidence import Attested, Evidence, Forged
from tests.world.sigstore.attacks import FILENAME, SHA256, listed, put, root_of
from tests.world.sigstore.private_sigstore import WHEN, GitHub, PrivateSigstore, document


@pytest.fixture
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=1)


def attested(evidence: Evidence) -> Attested:
    assert isinstance(evidence, Attested), evidence
    return evidence


class Counting:
    """Counts how often the chain is really verified."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        real = sigstore_private.chain

        def chain(*arguments: object) -> object:
            self.calls += 1
            return real(*arguments)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(sigstore_private, "chain", chain)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    load_keys.cache_clear()
    return Counting(monkeypatch)


def test_the_chain_of_a_release_is_verified_once(sigstore: PrivateSigstore, counting: Counting) -> None:
    for number in range(5):
        filename = f"widget-1.{number}.tar.gz"
        attested(verify(sigstore.provenance(filename, SHA256), listed(filename), [root_of(sigstore)]))
    assert counting.calls == 1


def test_a_failure_is_never_remembered(sigstore: PrivateSigstore, counting: Counting) -> None:
    other = PrivateSigstore(seed=3)
    raw = sigstore.provenance(FILENAME, SHA256, leaf=put(issuer_key=other.intermediate_key))
    for _ in range(2):
        assert isinstance(verify(raw, listed(), [root_of(sigstore)]), Forged)
    assert counting.calls == 2


def test_a_remembered_certificate_vouches_for_nothing_else(sigstore: PrivateSigstore, counting: Counting) -> None:
    """One byte of the certificate, its signature included, and it is another one."""
    root = root_of(sigstore)
    good = sigstore.attestation(FILENAME, SHA256)
    attested(verify(document((GitHub().publisher(), [good])), listed(), [root]))
    for forged in (
        sigstore.provenance(FILENAME, SHA256, leaf=put(issuer_key=PrivateSigstore(seed=3).intermediate_key)),
        sigstore.provenance(FILENAME, SHA256, leaf=put(sct_tail=lambda one: one[:-1] + bytes([one[-1] ^ 1]))),
    ):
        assert isinstance(verify(forged, listed(), [root]), Forged)
    assert counting.calls == 3


def test_a_remembered_certificate_is_still_checked_against_the_time(sigstore: PrivateSigstore) -> None:
    root = root_of(sigstore)
    attested(verify(sigstore.provenance(FILENAME, SHA256), listed(), [root]))
    late = sigstore.provenance(
        FILENAME, SHA256, entry=put(integrated_time=int((WHEN + timedelta(hours=1)).timestamp()))
    )
    evidence = verify(late, listed(), [root])
    assert isinstance(evidence, Forged)
    assert evidence.step == "log time"


def test_the_authoritys_window_holds_for_a_remembered_certificate(sigstore: PrivateSigstore) -> None:
    """The same certificate, logged before and after the authority's last second."""

    def end(content: dict[str, list[dict[str, dict[str, str]]]]) -> None:
        content["certificateAuthorities"][0]["validFor"]["end"] = "2026-06-01T12:05:00Z"

    root = root_of(sigstore, end)
    attested(verify(sigstore.provenance(FILENAME, SHA256), listed(), [root]))
    late = sigstore.provenance(
        FILENAME, SHA256, entry=put(integrated_time=int((WHEN + timedelta(minutes=6)).timestamp()))
    )
    evidence = verify(late, listed(), [root])
    assert isinstance(evidence, Forged)
    assert evidence.step == "certificate chain"


def test_what_one_root_remembers_another_doesnt(sigstore: PrivateSigstore, counting: Counting) -> None:
    raw = sigstore.provenance(FILENAME, SHA256)
    attested(verify(raw, listed(), [root_of(sigstore)]))
    retired = root_of(
        sigstore, lambda content: content["ctlogs"][0]["publicKey"]["validFor"].update(end="2022-01-01T00:00:00Z")
    )
    assert isinstance(verify(raw, listed(), [retired]), Forged)
    assert counting.calls == 2


def test_the_memo_is_bounded(sigstore: PrivateSigstore, monkeypatch: pytest.MonkeyPatch, counting: Counting) -> None:
    monkeypatch.setattr("assay.attestation.verification.keys.REMEMBERED", 2)
    for second in (0, 1, 2, 0):
        raw = sigstore.provenance(FILENAME, SHA256, when=WHEN + timedelta(seconds=second))
        attested(verify(raw, listed(), [root_of(sigstore)]))
    assert counting.calls == 4
