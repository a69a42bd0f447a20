"""Fixtures for the tests of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.index.distributions import sdist, wheel
from tests.world.index.threaded_index import run_index_in_thread
from tests.world.proxy.cli_sandbox import GADGET_SIGNER, LENIENT_POLICY, WIDGET_SIGNER, CliSandbox
from tests.world.proxy.loggers import preserve_loggers
from tests.world.sigstore.private_sigstore import PrivateSigstore


@pytest.fixture(autouse=True)
def restore_loggers_afterwards() -> Iterator[None]:
    """Restore the root logger, which the commands configure."""
    with preserve_loggers():
        yield


@pytest.fixture
def sandbox(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[CliSandbox]:
    sigstore = PrivateSigstore()
    (tmp_path / "root.json").write_bytes(sigstore.trusted_root())
    with run_index_in_thread() as index:
        (tmp_path / "proxy.toml").write_text(
            f'policy = "policy.toml"\n[storage]\ndirectory = "store"\n[trust]\nroot = "root.json"\nrefresh = false\n'
            f'[verification]\nworkers = 0\n[[indexes]]\nname = "test"\nurl = "{index.url}"\n'
        )
        (tmp_path / "policy.toml").write_text(LENIENT_POLICY)
        made = CliSandbox(tmp_path, index, sigstore, capsys, [])
        made.files = [
            made.publish(wheel("widget", "1.0"), WIDGET_SIGNER),
            made.publish(sdist("widget", "1.0"), WIDGET_SIGNER),
            made.publish(wheel("gadget", "2.0"), GADGET_SIGNER),
            made.publish(wheel("plain", "1.0"), None),
        ]
        yield made
