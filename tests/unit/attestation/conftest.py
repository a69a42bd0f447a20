"""Sigstore instance for each test; a module that only reads it overrides the fixture with one for all of its tests."""

from __future__ import annotations

import pytest

from tests.world.sigstore.private_sigstore import PrivateSigstore


@pytest.fixture
def sigstore() -> PrivateSigstore:
    return PrivateSigstore(seed=1)
