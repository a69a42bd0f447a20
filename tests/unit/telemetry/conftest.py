"""Fixtures for the tests of log, audit trail and traces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.world.proxy.loggers import preserve_loggers


@pytest.fixture(autouse=True)
def restore_loggers_afterwards() -> Iterator[None]:
    with preserve_loggers():
        yield
