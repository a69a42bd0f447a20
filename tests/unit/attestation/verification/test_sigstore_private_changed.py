"""Tests with a changed sigstore: nothing is verified, no attestation is accepted, and the reason is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sigstore._internal.trust import Keyring
from sigstore.verify import Verifier as SigstoreVerifier

from assay.attestation.pool import pool, processes
from assay.attestation.pool.pool import VerifierPool
from assay.attestation.verification import keys, sigstore_private
from assay.errors import PrivateApiChangedError, VerificationUnavailableError
from tests.world.sigstore.private_sigstore import PrivateSigstore
from tests.world.sigstore.verifiers import make_jobs, make_settings, trust_roots_for

NO_VERIFY_SCT = """
import sys
sys.path[:] = sys.argv[5:]
import runpy, sigstore.verify
from sigstore._internal import sct
del sct.verify_sct
runpy.run_path({bootstrap!r}, run_name="__main__")
"""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    for cached in (sigstore_private.find_change, keys.load_keys, pool._warn_of_change):
        cached.cache_clear()
    yield
    for cached in (sigstore_private.find_change, keys.load_keys, pool._warn_of_change):
        cached.cache_clear()


def accept_all(*_: object, **__: object) -> None:
    """Accept any arguments without an exception."""


def gone(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(SigstoreVerifier, "_verify_chain_at_time")


def another_chain(patch: pytest.MonkeyPatch) -> None:
    verify = SigstoreVerifier._verify_chain_at_time
    patch.setattr(SigstoreVerifier, "_verify_chain_at_time", lambda *given: [given[1], *verify(*given)])


def any_chain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SigstoreVerifier, "_verify_chain_at_time", lambda *_: [])


def any_signature(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keyring, "verify", accept_all)


def another_keyring(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keyring, "__init__", accept_all)


def another_sct(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sigstore_private, "verify_sct", accept_all)


def no_module(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sigstore_private, "_import_error", "No module named 'sigstore._internal'")


CHANGES = [gone, another_chain, any_chain, any_signature, another_keyring, another_sct, no_module]


def test_the_installed_version_has_not_changed() -> None:
    assert sigstore_private.find_change() is None


@pytest.mark.parametrize("change", CHANGES)
async def test_nothing_is_verified_after_a_change_and_it_is_said_once(
    change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    change(monkeypatch)
    sigstore = PrivateSigstore(seed=1)
    roots = trust_roots_for(sigstore)
    with pytest.raises(PrivateApiChangedError):
        await asyncio.to_thread(keys.load_keys, roots.for_index()[0].content)
    verifier = VerifierPool(roots, make_settings(0, timeout=timedelta(seconds=20)))
    await verifier.start()
    for _ in range(2):
        with pytest.raises(VerificationUnavailableError, match=r"private API changed: sigstore 4\.5\.1: "):
            await verifier.verify(make_jobs(sigstore, 1))
    await verifier.close()
    assert caplog.messages == ["private-api-changed"]


async def test_a_worker_whose_sigstore_lacks_a_name_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bootstrap = tmp_path / "bootstrap.py"
    bootstrap.write_text(NO_VERIFY_SCT.format(bootstrap=str(processes.BOOTSTRAP_FILE)))
    sigstore = PrivateSigstore(seed=1)
    verifier = VerifierPool(trust_roots_for(sigstore), make_settings(1), bootstrap=bootstrap)
    await verifier.start()
    with pytest.raises(VerificationUnavailableError, match="verify_sct"):
        await verifier.verify(make_jobs(sigstore, 1))
    await verifier.close()
    assert caplog.messages == ["private-api-changed"]
