"""Reference implementation with a chosen trust root: pypi-attestations 0.0.30 with sigstore 4.5.1.

It creates its verifier itself and accepts none as an argument. Only the creation of the verifier is patched here.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache
from unittest import mock

from pydantic import TypeAdapter
from pypi_attestations import Attestation, Distribution, Provenance
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import UnsafeNoOp
from sigstore_models.trustroot.v1 import TrustedRoot as WireTrustedRoot

from assay.simple.model import File


@lru_cache(maxsize=8)
def make_verifier(trusted_root: bytes) -> Verifier:
    """Return sigstore's verifier with this trusted_root.json."""
    return Verifier(trusted_root=TrustedRoot(WireTrustedRoot.from_json(trusted_root)))


def is_accepted(provenance: bytes, file: File, trusted_root: bytes) -> bool:
    """Return True if a document has attestations and the reference accepts all. Any exception is a refusal."""
    with suppress(Exception):
        document = Provenance.model_validate_json(provenance)
        distribution = Distribution(name=file.filename, digest=file.sha256 or "")
        pairs = [(one, bundle.publisher) for bundle in document.attestation_bundles for one in bundle.attestations]
        with mock.patch.object(Verifier, "production", return_value=make_verifier(trusted_root)):
            for attestation, publisher in pairs:
                attestation.verify(publisher, distribution, offline=True)
        return bool(pairs)
    return False


def is_bundle_accepted(bundle: bytes, file: File, trusted_root: bytes) -> bool:
    """Return True if sigstore accepts a bundle, and its statement has one subject with the digest of the file.

    Any exception is a refusal.
    """
    with suppress(Exception):
        _, payload = make_verifier(trusted_root).verify_dsse(Bundle.from_json(bundle), UnsafeNoOp())
        subjects = json.loads(payload)["subject"]
        return [one.get("digest", {}).get("sha256") for one in subjects].count(file.sha256) == 1
    return False


def get_refusal(attestation: bytes, publisher: object, file: File, trusted_root: bytes) -> str | None:
    """Return the name of the exception with which the reference refuses an attestation object; None if it accepts."""
    from pypi_attestations import Publisher  # noqa: PLC0415 - an annotated union, which mypy treats as a value

    try:
        parsed = Attestation.model_validate_json(attestation)
        identity = TypeAdapter(Publisher).validate_python(publisher)
        distribution = Distribution(name=file.filename, digest=file.sha256 or "")
        with mock.patch.object(Verifier, "production", return_value=make_verifier(trusted_root)):
            parsed.verify(identity, distribution, offline=True)
    except Exception as error:  # noqa: BLE001 - the name of any exception is returned
        return type(error).__name__
    return None


def get_first_attestation(provenance: bytes) -> tuple[bytes, object]:
    """Return the first attestation of a document, and its publisher block."""
    bundle = json.loads(provenance)["attestation_bundles"][0]
    return json.dumps(bundle["attestations"][0]).encode(), bundle["publisher"]
