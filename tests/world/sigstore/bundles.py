"""Sigstore bundles, made from the attestations that `PrivateSigstore` signs.

    sigstore = PrivateSigstore(seed=1)
    build_bundle_list(make_bundle(sigstore.attestation("widget-1.0.tar.gz", sha256)))     # bytes of a list of bundles

PEP 740 attestations and bundles have the same signed parts, so each hook of `PrivateSigstore.attestation` works for
bundles too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

BUNDLE_MEDIA_TYPES: Final = {
    "0.1": "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "0.2": "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "0.3": "application/vnd.dev.sigstore.bundle.v0.3+json",
}
IN_TOTO: Final = "application/vnd.in-toto+json"


def make_bundle(
    attestation: dict[str, Any], version: str = "0.3", edit: Callable[[dict[str, Any]], object] | None = None
) -> dict[str, Any]:
    """Return the bundle with the same signed parts as a PEP 740 attestation; `edit` can change the bundle's JSON."""
    material, envelope = attestation["verification_material"], attestation["envelope"]
    leaf = {"rawBytes": material["certificate"]}
    signer = {"certificate": leaf} if version == "0.3" else {"x509CertificateChain": {"certificates": [leaf]}}
    bundle = {
        "mediaType": BUNDLE_MEDIA_TYPES[version],
        "verificationMaterial": {**signer, "tlogEntries": material["transparency_entries"]},
        "dsseEnvelope": {
            "payload": envelope["statement"],
            "payloadType": IN_TOTO,
            "signatures": [{"sig": envelope["signature"]}],
        },
    }
    if edit is not None:
        edit(bundle)
    return bundle


def build_bundle_list(*bundles: object) -> bytes:
    """Return the document that a source of bundles offers: a JSON list."""
    return json.dumps(bundles, separators=(",", ":")).encode()
