"""The Sigstore of a test; a module that only reads it has one for all its tests, which goes before this one."""

from __future__ import annotations

import pytest

from tests.world.sigstore.private_sigstore import PrivateSigstore


@pytest.fixture
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=1)
