"""Provenance object (PEP 740) of uploaded attestations, with publisher blocks from the signing certificates.

The object proves nothing by itself: `verify` checks it afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from assay.attestation.verification.certificate import load_certificate
from assay.attestation.verification.claims import read_claims
from assay.attestation.verification.document import read_attestation
from assay.attestation.verification.errors import CheckFailed, UnknownMaterial, abbreviate_value
from assay.errors import UploadRefusedError
from assay.publishers.signers import describe_signer, make_publisher_block


def make_provenance_object(attestations: Sequence[dict[str, Any]]) -> bytes:
    """Return the provenance object of a file; attestations of one publisher share a bundle.

    Args:
        attestations: attestation objects as parsed JSON; untrusted.

    Raises:
        UploadRefusedError: an attestation is malformed, or its signer is not a Trusted Publisher.
    """
    bundles: dict[str, dict[str, Any]] = {}
    for attestation in attestations:
        block = _read_publisher(attestation)
        bundle = bundles.setdefault(json.dumps(block), {"publisher": block, "attestations": []})
        bundle["attestations"].append(attestation)
    try:
        return json.dumps({"version": 1, "attestation_bundles": list(bundles.values())}).encode()
    except (RecursionError, ValueError) as error:
        raise UploadRefusedError("invalid attestation: its JSON is nested too deeply") from error


def _read_publisher(attestation: dict[str, Any]) -> dict[str, str | None]:
    try:
        claims = read_claims(load_certificate(read_attestation(attestation).certificate))
        block = make_publisher_block(claims)
    except CheckFailed as error:
        message = f"invalid attestation, {error.step}: expected {error.expected}, found {error.found}"
        raise UploadRefusedError(message) from error
    except UnknownMaterial as error:
        raise UploadRefusedError(f"the attestation cannot be verified: {error.reason}") from error
    except Exception as error:
        # Only hostile input causes another error, as in `verify`.
        raise UploadRefusedError(
            f"invalid attestation: {abbreviate_value(f'{type(error).__name__}: {error}')}"
        ) from error
    if block is None:
        raise UploadRefusedError(f"the signer {describe_signer(claims)} is not a Trusted Publisher")
    return block
