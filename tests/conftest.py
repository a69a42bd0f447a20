"""Fixtures of every test: no blocking call in the event loop, no environment that changes results."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

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
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached directly, whatever the machine's environment says."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
