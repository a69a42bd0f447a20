"""Tests that the private names of sigstore are unchanged: they fail with a new version.

If a test fails: read the changes in each function, run the attack table, the corpus and the differential tests,
increase `codec.VERIFIER_VERSION`, and only then update the digests.
"""

from __future__ import annotations

import hashlib
import inspect
from importlib.metadata import version

import pytest
from sigstore._internal.sct import verify_sct
from sigstore._internal.trust import Key, Keyring
from sigstore.verify import Verifier

READ = {
    verify_sct: "8ba3bc0d722492d7",
    Key: "13d101253e0f46ea",
    Keyring: "0df0716c17a6f627",
    Verifier._verify_chain_at_time: "13010caf018baa09",
}


@pytest.mark.parametrize(("what", "digest"), READ.items(), ids=lambda one: getattr(one, "__name__", str(one)))
def test_the_source_is_the_one_that_was_read(what: object, digest: str) -> None:
    source = inspect.getsource(what)  # type: ignore[arg-type]  # functions, classes and a module
    assert hashlib.sha256(source.encode()).hexdigest()[:16] == digest


def test_the_version_is_the_one_that_was_read() -> None:
    assert version("sigstore") == "4.5.1"
    assert version("pypi-attestations") == "0.0.30"
