"""Verifiers with the trust root of a private Sigstore, and documents of every kind for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from assay.attestation.config import VerificationSettings
from assay.attestation.pool.pool import VerifierPool
from assay.attestation.trust_roots import TrustRoots
from assay.evidence import Attested, Forged, Unattested, Unverifiable
from assay.ports import VerificationJob, VerificationResult
from tests.world.sigstore.attacks import FILE_SHA256, OTHER_SHA256, trust_root_for
from tests.world.sigstore.private_sigstore import PrivateSigstore, build_provenance


@asynccontextmanager
async def run_verifier(sigstore: PrivateSigstore, workers: int) -> AsyncIterator[VerifierPool]:
    """Run a verifier pool."""
    made = VerifierPool(trust_roots_for(sigstore), make_settings(workers))
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def trust_roots_for(sigstore: PrivateSigstore) -> TrustRoots:
    root = replace(trust_root_for(sigstore), name="default")
    return TrustRoots(default="default", by_name={"default": root})


def make_settings(workers: int, timeout: timedelta = timedelta(seconds=60), queue: int = 64) -> VerificationSettings:
    return VerificationSettings(workers=workers, timeout=timeout, queue=queue)


def make_jobs(sigstore: PrivateSigstore, count: int) -> list[VerificationJob]:
    """Return jobs with good, forged, unverifiable and empty documents in turn, so that a wrong order is noticed."""
    made = []
    for number in range(count):
        filename = f"widget-1.{number}.tar.gz"
        raw = (
            sigstore.provenance(filename, FILE_SHA256),
            sigstore.provenance(filename, OTHER_SHA256),
            sigstore.provenance(filename, FILE_SHA256, predicate_type="https://example.com/sbom"),
            build_provenance(),
        )[number % 4]
        made.append(VerificationJob(filename=filename, sha256=FILE_SHA256, provenance=raw))
    return made


EXPECTED_KINDS = (Attested, Forged, Unverifiable, Unattested)


def assert_findings(found: Sequence[VerificationResult], count: int) -> None:
    """Check that the results are those of the jobs of `make_jobs`, in order."""
    evidence = [one.evidence for one in found]
    assert [type(one) for one in evidence] == [EXPECTED_KINDS[number % 4] for number in range(count)]
    for number, one in enumerate(evidence):
        if isinstance(one, Attested):
            assert one.attestations[0].subject == f"widget-1.{number}.tar.gz"


async def list_worker_pids(verifier: VerifierPool) -> list[int]:
    return [await worker.process.pid() for worker in verifier._workers if worker.process is not None]
