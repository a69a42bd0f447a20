"""Writer of Sigstore bundles, version 0.3, from the documents of evidence sources.

A PEP 740 attestation and a bundle have the same signed parts, so an attestation can be written as a bundle. Bundles of
the versions 0.1 and 0.2 become bundles of version 0.3. The writer verifies no signature: what it returns is as
untrusted as the document.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final

from assay.attestation.verification.document import (
    IN_TOTO_PAYLOAD_TYPE,
    SignedStatement,
    read_attestation,
    read_document,
)
from assay.attestation.verification.errors import CheckFailed
from assay.attestation.verification.sigstore_bundle import read_bundle, read_bundle_list
from assay.ports import DocumentFormat

BUNDLE_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"


def write_bundles(document: bytes, document_format: DocumentFormat) -> list[str]:
    """Return the attestations or bundles of a document as bundles of version 0.3, each as JSON text.

    Malformed ones, and those that Assay does not support, are left out. The result is empty if the document itself is
    malformed.
    """
    try:
        if document_format is DocumentFormat.BUNDLES:
            values = read_bundle_list(document)
        else:
            values = [each for bundle in read_document(document) for each in bundle.attestations]
    except Exception:  # noqa: BLE001 - only hostile input causes one, as in `verify`
        return []
    convert = _convert_bundle if document_format is DocumentFormat.BUNDLES else _convert_attestation
    bundles = []
    for value in values:
        try:
            bundles.append(json.dumps(convert(value), sort_keys=True, separators=(",", ":")))
        except Exception:  # noqa: BLE001, S112 - as above
            continue
    return bundles


def _convert_attestation(attestation: object) -> dict[str, Any]:
    """Return a PEP 740 attestation as a bundle.

    Raises:
        CheckFailed: the attestation is malformed.
        UnknownMaterial: Assay does not support the attestation.
    """
    signed = read_attestation(attestation)
    return {
        "mediaType": BUNDLE_MEDIA_TYPE,
        "verificationMaterial": {"certificate": _make_certificate(signed), "tlogEntries": [signed.log_entry]},
        "dsseEnvelope": {
            "payload": b64encode(signed.statement).decode("ascii"),
            "payloadType": IN_TOTO_PAYLOAD_TYPE,
            "signatures": [{"sig": b64encode(signed.signature).decode("ascii")}],
        },
    }


def _convert_bundle(value: object) -> dict[str, Any]:
    """Return a bundle of a supported version as one of version 0.3. Members that are null are left out.

    Raises:
        CheckFailed: the bundle is malformed.
        UnknownMaterial: Assay does not support the bundle.
    """
    signed = read_bundle(value)
    if not isinstance(value, dict):  # `read_bundle` has checked it
        raise CheckFailed("bundle", "a JSON object for each bundle", type(value).__name__)
    material = {key: each for key, each in value["verificationMaterial"].items() if each is not None}
    if isinstance(signed, SignedStatement) and material.pop("x509CertificateChain", None) is not None:
        material["certificate"] = _make_certificate(signed)
    others = {key: each for key, each in value.items() if each is not None}
    return {**others, "mediaType": BUNDLE_MEDIA_TYPE, "verificationMaterial": material}


def _make_certificate(signed: SignedStatement) -> dict[str, str]:
    return {"rawBytes": b64encode(signed.certificate).decode("ascii")}
