"""Fixtures that several test modules about verification workers share; a module can override them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from assay.attestation.pool.pool import VerifierPool
from tests.world.sigstore.private_sigstore import PrivateSigstore
from tests.world.sigstore.verifiers import run_verifier


@pytest.fixture
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=1)


@pytest.fixture(params=[0, 1, 2], ids=["thread", "one-worker", "two-workers"])
async def verifier(request: pytest.FixtureRequest, sigstore: PrivateSigstore) -> AsyncIterator[VerifierPool]:
    async with run_verifier(sigstore, request.param) as made:
        yield made
