"""Verifiers over a private Sigstore, and documents of every kind for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from assay.attestation.config import VerificationSettings
from assay.attestation.pool.pool import Job, Verifier
from assay.attestation.pool.protocol import Finding
from assay.attestation.trust_roots import TrustRoots
from assay.evidence import Attested, Forged, Unattested, Unverifiable
from tests.world.sigstore.attacks import OTHER, SHA256, root_of
from tests.world.sigstore.private_sigstore import PrivateSigstore, document


@asynccontextmanager
async def verifying(sigstore: PrivateSigstore, workers: int) -> AsyncIterator[Verifier]:
    """A verifier that runs."""
    made = Verifier(roots_of(sigstore), settings(workers))
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def roots_of(sigstore: PrivateSigstore) -> TrustRoots:
    root = replace(root_of(sigstore), name="default")
    return TrustRoots(default="default", named={"default": root})


def settings(workers: int, timeout: timedelta = timedelta(seconds=60), queue: int = 64) -> VerificationSettings:
    return VerificationSettings(workers=workers, timeout=timeout, queue=queue)


def jobs(sigstore: PrivateSigstore, count: int) -> list[Job]:
    """Good, forged, unverifiable and empty documents by turns, so that an answer out of order is seen."""
    made = []
    for number in range(count):
        filename = f"widget-1.{number}.tar.gz"
        raw = (
            sigstore.provenance(filename, SHA256),
            sigstore.provenance(filename, OTHER),
            sigstore.provenance(filename, SHA256, predicate_type="https://example.com/sbom"),
            document(),
        )[number % 4]
        made.append(Job(filename=filename, sha256=SHA256, provenance=raw))
    return made


KINDS = (Attested, Forged, Unverifiable, Unattested)


def check(found: Sequence[Finding], count: int) -> None:
    """What `jobs` makes was found out, in its order."""
    evidence = [one.evidence for one in found]
    assert [type(one) for one in evidence] == [KINDS[number % 4] for number in range(count)]
    for number, one in enumerate(evidence):
        if isinstance(one, Attested):
            assert one.attestations[0].subject == f"widget-1.{number}.tar.gz"


async def pids(verifier: Verifier) -> list[int]:
    return [await worker.running.pid() for worker in verifier._workers if worker.running is not None]
