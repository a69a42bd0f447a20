"""Fixtures of every test: no blocking call in the event loop, no environment that changes results; and servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from tests.world.engines.object_storage import HAS_OBJECT_STORAGE, MISSING_OBJECT_STORAGE, S3Server
from tests.world.engines.postgresql import HAS_POSTGRESQL, MISSING_POSTGRESQL, PostgresServer
from tests.world.proxy.loggers import preserve_loggers

settings.register_profile("assay", deadline=None)  # machines are shared and noisy: no timed asserts
settings.load_profile("assay")


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """A blocking call made by `assay` in a running event loop fails the test."""
    with blockbuster_ctx("assay") as blocking:
        # To a socket that does not block, as asyncio's own sendfile, which is excepted there.
        blocking.functions["os.sendfile"].can_block_in("assay/web/socket_io.py", {"send_nonblocking"})
        yield


@pytest.fixture(autouse=True)
def same_loggers() -> Iterator[None]:
    """A command that a test runs in its process configures the log. The next test must not write to its stream."""
    with preserve_loggers():
        yield


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached directly, whatever the machine's environment says."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """PostgreSQL server for the tests of a module. Without PostgreSQL, they are skipped."""
    if not HAS_POSTGRESQL:
        pytest.skip(MISSING_POSTGRESQL)
    with PostgresServer() as started:
        yield started


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """S3 server for the tests of a module. Without one, they are skipped."""
    if not HAS_OBJECT_STORAGE:
        pytest.skip(MISSING_OBJECT_STORAGE)
    with S3Server() as started:
        yield started
