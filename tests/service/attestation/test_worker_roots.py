"""Tests of the trust roots of workers: those in force when a batch starts, loaded while its documents are fetched."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from assay.attestation.pool import protocol, worker
from assay.attestation.pool.pool import VerifierPool
from assay.attestation.trust_roots import TrustRoot, TrustRoots
from assay.attestation.verification.keys import load_keys
from assay.errors import VerificationUnavailableError
from assay.evidence import Attested, Unverifiable
from assay.ports import VerificationJob
from tests.world.sigstore.attacks import FILE_SHA256, trust_root_for
from tests.world.sigstore.private_sigstore import PrivateSigstore
from tests.world.sigstore.verifiers import assert_findings, list_worker_pids, make_jobs, trust_roots_for


async def test_a_renewed_root_is_in_force_without_restart(verifier: VerifierPool, sigstore: PrivateSigstore) -> None:
    before = verifier.roots_digest
    sigstore.new_rekor_key()
    asked = [
        VerificationJob(
            filename="widget-1.0.tar.gz",
            sha256=FILE_SHA256,
            provenance=sigstore.provenance("widget-1.0.tar.gz", FILE_SHA256),
        )
    ]
    (unknown,) = await verifier.verify(asked)
    assert isinstance(unknown.evidence, Unverifiable)
    running = await list_worker_pids(verifier)
    verifier.update_root(replace(trust_root_for(sigstore), name="default"))
    (known,) = await verifier.verify(asked)
    assert isinstance(known.evidence, Attested)
    assert await list_worker_pids(verifier) == running
    assert verifier.roots_digest != before
    assert verifier.earlier_trust_fingerprints_for(None) != ()
    assert not verifier.is_still_valid(unknown.evidence, None)
    assert verifier.is_still_valid(known.evidence, None)


async def test_a_root_that_there_isnt_is_our_failure(verifier: VerifierPool, sigstore: PrivateSigstore) -> None:
    (job, *_) = make_jobs(sigstore, 1)
    with pytest.raises(VerificationUnavailableError, match=r"name of a trust root \(default\), found acme"):
        await verifier.verify([replace(job, trust="acme")])
    assert_findings(await verifier.verify([job]), 1)


async def test_prepared_or_not_the_answers_are_the_same(verifier: VerifierPool, sigstore: PrivateSigstore) -> None:
    running = await list_worker_pids(verifier)
    for _ in range(2):
        verifier.preload_roots()
        assert all(each.roots is verifier.roots for each in verifier._workers)
        assert_findings(await verifier.verify(make_jobs(sigstore, 8)), 8)
    assert await list_worker_pids(verifier) == running


@pytest.mark.parametrize(
    ("default", "said"), [("default", "trust root"), ("none", r"name of a trust root \(default\), found none")]
)
async def test_a_root_that_cannot_be_used_is_said_of_a_document_and_kills_no_worker(
    verifier: VerifierPool, sigstore: PrivateSigstore, default: str, said: str
) -> None:
    running, good = await list_worker_pids(verifier), verifier.roots
    verifier.replace_roots(TrustRoots(default=default, by_name={"default": TrustRoot(name="default", content=b"{}")}))
    verifier.preload_roots()
    with pytest.raises(VerificationUnavailableError, match=said):
        await verifier.verify(make_jobs(sigstore, 1))
    verifier.replace_roots(good)
    verifier.preload_roots()
    assert_findings(await verifier.verify(make_jobs(sigstore, 8)), 8)
    assert await list_worker_pids(verifier) == running


def test_roots_are_loaded_before_there_is_a_document(sigstore: PrivateSigstore, tmp_path: Path) -> None:
    load_keys.cache_clear()
    orders, answers = tmp_path / "orders", BytesIO()
    orders.write_bytes(protocol.encode_frame(protocol.encode_roots(trust_roots_for(sigstore))))
    with orders.open("rb") as given:
        worker.serve(given, answers)
    assert load_keys.cache_info().currsize == 1
    assert answers.getvalue() == b""
